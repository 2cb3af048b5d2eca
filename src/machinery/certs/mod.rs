//! Certificates: read and judged as somebody uploads them, made by an authority of the platform's own, ordered from one of
//! the web.
//!
//! Left to others: which names need one, keeping them and their keys, serving them.

mod acme;
mod authority;
mod dns;
mod issuer;
mod keys;
mod read;
mod renew;

use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

pub use acme::{Acme, Means, Method, Place, account_key, host_of};
pub use authority::Authority;
pub use dns::{AcmeDns, DnsChanger, Updates};
pub use issuer::{Answer, Desk, DeskError, Draft, IssueError, Issuer, NoDesk, Wish};
pub use keys::KeyKind;
pub use read::{Facts, judge, read};
pub use renew::{Pace, renew_at};

#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("a certificate cannot be made")]
    Make(#[source] rcgen::Error),
    #[error("what is kept of the authority cannot be read")]
    Open(#[source] rcgen::Error),
    /// In words that complete the sentence "the certificate …".
    #[error("the certificate {0}")]
    Unfit(String),
}

impl CertError {
    pub fn is_temporary(&self) -> bool {
        false
    }
}

pub type Result<T, E = CertError> = std::result::Result<T, E>;

/// A certificate and what it was made with; PEM.
pub struct Issued {
    /// The certificate of the key first, then what leads from it to the authority.
    pub chain: String,
    pub key: Secret<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}
