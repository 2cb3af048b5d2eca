//! Who changes the DNS so that an authority finds the answer to DNS-01 (RFC 8555 §8.4) there.

mod acme_dns;
mod update;

use async_trait::async_trait;

use crate::base::clock::Timestamp;

pub use acme_dns::AcmeDns;
pub use update::Updates;

/// Faults are in words that complete "cannot be changed: …".
#[async_trait]
pub trait DnsChanger: Send + Sync {
    /// Whether records that prove `name` are this one's to change.
    fn keeps(&self, name: &str) -> bool;

    /// A TXT record beside those that are there; adding it twice is adding it once.
    async fn add(&self, record: &str, text: &str, now: Timestamp) -> Result<(), String>;

    async fn remove(&self, record: &str, text: &str, now: Timestamp) -> Result<(), String>;
}
