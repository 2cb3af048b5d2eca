//! An authority of the web (ACME, RFC 8555): the account there, and the walk of an order.
//!
//! Each try talks to it anew: nothing is kept between them but what the desk keeps.

mod order;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use instant_acme::{Account, Error, Key, Problem};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::dns::DnsChanger;
use super::issuer::{Desk, IssueError, Issuer, Wish};
use super::{Issued, KeyKind};
use crate::base::model::DomainName;
use crate::base::secret::Secret;
use transport::{Heard, Transport};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Http,
    TlsAlpn,
    Dns,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP-01",
            Self::TlsAlpn => "TLS-ALPN-01",
            Self::Dns => "DNS-01",
        }
    }
}

/// How names are shown to lead here.
#[derive(Clone)]
pub struct Means {
    /// In the order of preference.
    pub methods: Vec<Method>,
    pub dns: Option<Arc<dyn DnsChanger>>,
    pub key: KeyKind,
    /// From one look at an order to the next, where the authority says nothing.
    pub poll: Duration,
    /// How long an authority may take for one step before the try is put off.
    pub patience: Duration,
}

impl Means {
    /// Those that serve for the name, the one first whose turn it is.
    fn methods(&self, name: &DomainName, attempts: u32) -> Vec<Method> {
        let zone = self.dns.as_ref().is_some_and(|dns| dns.keeps(name.bare()));
        let serves = |method: &&Method| match method {
            Method::Dns => zone,
            Method::Http | Method::TlsAlpn => name.below().is_none(),
        };
        let mut all: Vec<_> = self.methods.iter().filter(serves).copied().collect();
        if !all.is_empty() {
            let turn = usize::try_from(attempts).unwrap_or(0) % all.len();
            all.rotate_left(turn);
        }
        all
    }

    /// In words, where none serves.
    pub fn fault(&self, name: &DomainName) -> Option<String> {
        if !self.methods(name, 0).is_empty() {
            return None;
        }
        Some(match name.below() {
            Some(_) => format!(
                "a wildcard is proven by DNS-01, and the platform does not change the DNS of {}; upload a certificate \
                 (hythe certs:add), or let an administrator set acme.dns and acme.dns_zone",
                name.bare()
            ),
            None => format!("none of the methods in acme.challenges serves for {name}"),
        })
    }
}

/// Where the authority is and whom it knows.
#[derive(Clone)]
pub struct Place {
    pub directory: String,
    /// PEM of authorities that are trusted beside the machine's own.
    pub roots: Option<Vec<u8>>,
}

/// The key of an account, PKCS #8.
pub fn account_key() -> Result<Secret<Vec<u8>>, IssueError> {
    let (_, der) = Key::generate_pkcs8().map_err(|_| IssueError::Desk("no key can be made".into()))?;
    Ok(Secret::new(der.secret_pkcs8_der().to_vec()))
}

/// An authority that knows the account.
pub struct Acme {
    account: Account,
    heard: Heard,
    host: String,
    means: Means,
}

impl Acme {
    /// Asks for the account of the key, which is made where there is none yet; the result has its address.
    pub async fn register(place: &Place, key: &Secret<Vec<u8>>, contact: Option<&str>) -> Result<String, IssueError> {
        let (transport, heard) = Transport::open(place)?;
        let host = host_of(&place.directory);
        let builder = Account::builder_with_http(Box::new(transport));
        let made = builder.create_from_key(pair(key)?, place.directory.clone()).await;
        let (account, _) = made.map_err(|error| told(&host, &heard, error))?;
        if let Some(contact) = contact {
            let mail = format!("mailto:{contact}");
            account.update_contacts(&[&mail]).await.map_err(|error| told(&host, &heard, error))?;
        }
        Ok(account.id().to_owned())
    }

    pub async fn open(place: &Place, key: &Secret<Vec<u8>>, url: &str, means: Means) -> Result<Self, IssueError> {
        let (transport, heard) = Transport::open(place)?;
        let host = host_of(&place.directory);
        let der = PrivatePkcs8KeyDer::from(key.reveal().as_slice());
        let builder = Account::builder_with_http(Box::new(transport));
        let opened = builder.from_parts(url.to_owned(), der, place.directory.clone()).await;
        let account = opened.map_err(|error| told(&host, &heard, error))?;
        Ok(Self { account, heard, host, means })
    }

    fn told(&self, error: Error) -> IssueError {
        told(&self.host, &self.heard, error)
    }
}

#[async_trait]
impl Issuer for Acme {
    async fn issue(&self, wanted: &Wish<'_>, desk: &dyn Desk) -> Result<Issued, IssueError> {
        order::walk(self, wanted, desk).await
    }
}

/// A host and its port: what people know an authority by.
pub fn host_of(directory: &str) -> String {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

fn pair(key: &Secret<Vec<u8>>) -> Result<(Key, rustls::pki_types::PrivateKeyDer<'static>), IssueError> {
    let unreadable = |_| IssueError::Desk("the key of the account cannot be read".into());
    let der = PrivatePkcs8KeyDer::from(key.reveal().clone());
    let open = Key::from_pkcs8_der(der.clone_key()).map_err(unreadable)?;
    Ok((open, der.into()))
}

fn told(host: &str, heard: &Heard, error: Error) -> IssueError {
    let host = host.to_owned();
    match error {
        Error::Api(problem) => judged(host, heard, problem),
        Error::Timeout(_) => IssueError::Slow { host, after: heard.after() },
        // What is no problem document comes from a server in between, or one in trouble.
        other => {
            let cause = heard.status().map_or_else(|| chain(&other), |status| format!("it answered {status}"));
            IssueError::Unreachable { host, cause }
        }
    }
}

fn judged(host: String, heard: &Heard, problem: Problem) -> IssueError {
    let kind = problem.r#type.as_deref().and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:"));
    let (kind, detail, after) = (kind.unwrap_or_default(), words(&problem), heard.after());
    match kind {
        "rateLimited" => IssueError::Limited { host, detail, after },
        "accountDoesNotExist" => IssueError::NoAccount { host },
        "serverInternal" | "badNonce" => IssueError::Unreachable { host, cause: detail },
        _ => IssueError::Refused { host, detail, after },
    }
}

/// Of a problem, in one line.
fn words(problem: &Problem) -> String {
    let mut parts: Vec<_> = problem.detail.iter().cloned().collect();
    parts.extend(problem.subproblems.iter().filter_map(|sub| sub.detail.clone()));
    if parts.is_empty() {
        parts.extend(problem.r#type.clone());
    }
    clean(&parts.join("; "))
}

/// What comes from elsewhere is shown in one line of bounded length.
fn clean(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect();
    line.trim().to_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    clean(&text)
}

#[cfg(test)]
mod tests;
