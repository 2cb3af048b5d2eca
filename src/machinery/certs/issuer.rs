//! Who makes certificates, and what is lent to them while they do.

use std::time::Duration;

use async_trait::async_trait;

use super::{CertError, Issued};
use crate::base::clock::Timestamp;
use crate::base::model::DomainName;
use crate::base::secret::Secret;

/// The own authority signs at once. One of the web is asked step by step, each of them told to the desk first, so that who
/// begins again with what the desk kept goes on with the same order.
#[async_trait]
pub trait Issuer: Send + Sync {
    async fn issue(&self, wanted: &Wish<'_>, desk: &dyn Desk) -> Result<Issued, IssueError>;
}

pub struct Wish<'a> {
    /// A host, or `*.` and one.
    pub name: &'a DomainName,
    pub now: Timestamp,
    /// Tries that failed before.
    pub attempts: u32,
}

/// What an order needs of the platform while it is under way.
#[async_trait]
pub trait Desk: Send + Sync {
    async fn draft(&self) -> Result<Draft, DeskError>;

    /// Durable when it returns.
    async fn keep(&self, draft: &Draft) -> Result<(), DeskError>;

    /// The proxy answers so for as long as the result lives.
    fn show(&self, name: &DomainName, answer: Answer) -> Result<Box<dyn Send + Sync>, DeskError>;
}

pub type DeskError = Box<dyn std::error::Error + Send + Sync>;

/// Of an order under way.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The order at the authority.
    pub url: Option<String>,
    /// PEM, of the certificate to come.
    pub key: Option<Secret<String>>,
}

/// What an authority looks for at a name.
#[derive(Debug)]
pub enum Answer {
    /// RFC 8555 §8.3
    Http { token: String, text: String },
    /// RFC 8737: PEM of the certificate that is shown, and its key.
    Tls { chain: String, key: Secret<String> },
}

/// Where nothing is kept nor shown.
pub struct NoDesk;

#[async_trait]
impl Desk for NoDesk {
    async fn draft(&self) -> Result<Draft, DeskError> {
        Ok(Draft::default())
    }

    async fn keep(&self, _: &Draft) -> Result<(), DeskError> {
        Ok(())
    }

    fn show(&self, name: &DomainName, _: Answer) -> Result<Box<dyn Send + Sync>, DeskError> {
        Err(format!("nothing answers for {name} here").into())
    }
}

/// Why there is no certificate; in words for whoever waits for it.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the authority {host} cannot be reached: {cause}")]
    Unreachable { host: String, cause: String },
    /// In its own words.
    #[error("the authority {host} refuses: {detail}")]
    Refused { host: String, detail: String, after: Option<Duration> },
    #[error("the authority {host} takes no more orders now: {detail}")]
    Limited { host: String, detail: String, after: Option<Duration> },
    /// The account is unknown there.
    #[error("the authority {host} does not know the account of this platform")]
    NoAccount { host: String },
    #[error("{method} was tried and failed: {detail}")]
    Unproven { method: &'static str, detail: String },
    #[error("{0}")]
    NoMethod(String),
    #[error("the DNS of {name} cannot be changed: {cause}")]
    Dns { name: String, cause: String },
    #[error("the authority {host} is still at work on the order")]
    Slow { host: String, after: Option<Duration> },
    #[error("what the authority sent cannot serve: {0}")]
    Unfit(#[from] CertError),
    #[error("what was reached cannot be kept")]
    Desk(#[source] DeskError),
}

impl IssueError {
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Slow { .. } | Self::Desk(_))
    }

    /// The authority's own word on when to come again.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Refused { after, .. } | Self::Limited { after, .. } | Self::Slow { after, .. } => *after,
            _ => None,
        }
    }

    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Limited { .. })
    }
}
