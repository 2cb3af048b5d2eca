//! How certificates are ordered from an authority (ACME, RFC 8555), and how it is shown that names lead here.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::base::model::Host;
use crate::base::secret::Secret;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Of the authority that is asked first.
    pub directory: String,
    /// Of one that is asked when the first has failed several times.
    pub second_directory: Option<String>,
    /// Told to the authorities.
    pub contact: Option<String>,
    /// The operator has read what the authorities want to be agreed to.
    pub terms_agreed: bool,
    /// Authorities whose directory is served with a certificate of one of these (PEM) are trusted too.
    pub root_ca: Option<PathBuf>,
    /// In the order of preference; a try that fails is followed by one with the next.
    pub challenges: Vec<ChallengeChoice>,
    pub key_type: KeyType,
    /// After the first failed try; doubled with each, up to six hours.
    pub retry_seconds: u32,
    /// Who changes the DNS for DNS-01.
    pub dns: DnsChoice,
    /// Names at and below it (with acme-dns: at it) are proven by DNS-01. Where the base domain is one of them, its apps
    /// have one certificate.
    pub dns_zone: Option<Host>,
    /// Takes dynamic updates (RFC 2136).
    pub dns_server: Option<SocketAddr>,
    /// Address of an acme-dns server.
    pub dns_api: Option<String>,
    /// Record of the acme-dns server that `_acme-challenge` of the zone is an alias (CNAME) of: its first label.
    pub dns_subdomain: Option<String>,
    /// Name of the TSIG key, or user of the acme-dns server.
    pub dns_user: Option<String>,
    /// The TSIG key (HMAC-SHA256) in base64, or the user's key at the acme-dns server.
    #[serde(deserialize_with = "secret")]
    pub dns_key: Option<Secret<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ChallengeChoice {
    #[serde(rename = "http-01")]
    Http,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
    #[serde(rename = "dns-01")]
    Dns,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum KeyType {
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsChoice {
    #[default]
    None,
    /// Dynamic updates (RFC 2136), signed (TSIG, RFC 8945).
    Rfc2136,
    AcmeDns,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            second_directory: None,
            contact: None,
            terms_agreed: false,
            root_ca: None,
            challenges: vec![ChallengeChoice::Http, ChallengeChoice::TlsAlpn, ChallengeChoice::Dns],
            key_type: KeyType::default(),
            retry_seconds: 120,
            dns: DnsChoice::default(),
            dns_zone: None,
            dns_server: None,
            dns_api: None,
            dns_subdomain: None,
            dns_user: None,
            dns_key: None,
        }
    }
}

impl Acme {
    /// Only what is in use is judged.
    pub(super) fn validate(&self, in_use: bool, faults: &mut Vec<String>) {
        if !in_use {
            return;
        }
        if !self.terms_agreed {
            faults.push("acme.terms_agreed: must be true: read what the authority wants to be agreed to".into());
        }
        let directories = [("directory", Some(&self.directory)), ("second_directory", self.second_directory.as_ref())];
        for (key, url) in directories {
            if url.is_some_and(|url| !url.starts_with("https://")) {
                faults.push(format!("acme.{key}: must begin with https://"));
            }
        }
        if self.challenges.is_empty() {
            faults.push("acme.challenges: must name one at least".into());
        }
        if self.retry_seconds == 0 {
            faults.push("acme.retry_seconds: must be 1 at least".into());
        }
        if self.contact.as_ref().is_some_and(|text| !text.contains('@') || text.contains(char::is_whitespace)) {
            faults.push("acme.contact: must be an e-mail address".into());
        }
        let needs: &[(&str, bool)] = match self.dns {
            DnsChoice::None => &[],
            DnsChoice::Rfc2136 => &[
                ("dns_zone", self.dns_zone.is_some()),
                ("dns_server", self.dns_server.is_some()),
                ("dns_user", self.dns_user.is_some()),
                ("dns_key", self.dns_key.is_some()),
            ],
            DnsChoice::AcmeDns => &[
                ("dns_zone", self.dns_zone.is_some()),
                ("dns_api", self.dns_api.is_some()),
                ("dns_subdomain", self.dns_subdomain.is_some()),
                ("dns_user", self.dns_user.is_some()),
                ("dns_key", self.dns_key.is_some()),
            ],
        };
        for (key, _) in needs.iter().filter(|(_, there)| !there) {
            faults.push(format!("acme.{key}: must be set with this acme.dns"));
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::new))
}
