//! TLS of clients: which certificate answers, by the name that the client asks for (SNI, RFC 6066 §3), and what is spoken
//! inside (ALPN, RFC 7301). Who asks for a name without a certificate, or for none, gets no connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::RouteTable;
use crate::base::model::DomainName;
use crate::base::secret::Secret;

pub(super) const HTTP_2: &[u8] = b"h2";
pub(super) const HTTP_1: &[u8] = b"http/1.1";
/// What an authority speaks that looks for a challenge (RFC 8737 §4), and nothing beside.
pub(super) const CHALLENGE: &[u8] = b"acme-tls/1";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate is no PEM text")]
    Chain(#[source] pem::Error),
    #[error("the key is no PEM text of a private key")]
    Key(#[source] pem::Error),
    #[error("certificate and key do not serve together")]
    Unusable(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    pub fn is_temporary(&self) -> bool {
        false
    }
}

/// A chain and its key, ready to serve. Cheap to clone.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    trusted: bool,
}

impl Certificate {
    /// `chain` begins with the certificate of the key.
    pub fn from_pem(chain: &str, key: &Secret<String>) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(TlsError::Chain)?;
        if chain.is_empty() {
            return Err(TlsError::Chain(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(TlsError::Key)?;
        let whole = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(TlsError::Unusable)?;
        Ok(Self { key: Arc::new(whole), trusted: true })
    }

    /// As `from_pem`, of one with an extension that only an authority understands: whether key and certificate are of each
    /// other is for who made both.
    pub fn of_challenge(chain: &str, key: &Secret<String>) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(TlsError::Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(TlsError::Key)?;
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(TlsError::Unusable)?;
        Ok(Self { key: Arc::new(CertifiedKey::new(chain, key)), trusted: false })
    }

    /// Clients do not know who signed it.
    #[must_use]
    pub fn untrusted(self) -> Self {
        Self { trusted: false, ..self }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// By the name that a client asks for.
#[derive(Debug, Default)]
pub struct Certificates {
    hosts: HashMap<Box<str>, Certificate>,
    below: HashMap<Box<str>, Certificate>,
}

impl Certificates {
    pub fn new(all: impl IntoIterator<Item = (DomainName, Certificate)>) -> Self {
        let mut certificates = Self::default();
        for (name, certificate) in all {
            let place = if name.below().is_some() { &mut certificates.below } else { &mut certificates.hosts };
            place.insert(name.bare().into(), certificate);
        }
        certificates
    }

    pub fn len(&self) -> usize {
        self.hosts.len() + self.below.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `host` in lower case.
    fn find(&self, host: &str) -> Option<&Certificate> {
        let below = || self.below.get(host.split_once('.')?.1);
        self.hosts.get(host).or_else(below)
    }

    /// Whether clients trust the one for `host`; None: there is none.
    pub(super) fn trusted(&self, host: &str) -> Option<bool> {
        self.find(host).map(|certificate| certificate.trusted)
    }

    /// Whether a connection for `asked` may carry requests for `host`: both have the same certificate (RFC 9110 §7.4).
    pub(super) fn are_one(&self, asked: &str, host: &str) -> bool {
        match (self.find(asked), self.find(host)) {
            (Some(asked), Some(host)) => asked.is(host),
            _ => false,
        }
    }
}

struct BySni(Arc<ArcSwap<RouteTable>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        let table = self.0.load();
        if hello.alpn().is_some_and(|mut all| all.next() == Some(CHALLENGE) && all.next().is_none()) {
            return table.challenges().certificate(&name).map(|certificate| Arc::clone(&certificate.key));
        }
        let found = table.certificates().find(&name);
        if found.is_none() {
            tracing::debug!(tls.name = name, "a client asks for a name that has no certificate");
        }
        found.map(|certificate| Arc::clone(&certificate.key))
    }
}

impl fmt::Debug for BySni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BySni")
    }
}

/// TLS 1.2 and 1.3 with the suites that rustls has: all with forward secrecy. Sessions are resumed by tickets.
pub(super) fn setup(table: Arc<ArcSwap<RouteTable>>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(BySni(table)));
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec(), CHALLENGE.to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    Ok(Arc::new(config))
}
