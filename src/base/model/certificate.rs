//! A certificate that is kept, with its key sealed beside it.

use serde::{Deserialize, Serialize};

use super::{CertificateId, DomainName, EnvironmentId, OrderId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub id: CertificateId,
    /// None: the platform's own.
    pub environment_id: Option<EnvironmentId>,
    pub origin: CertificateOrigin,
    pub names: Vec<DomainName>,
    /// Who signed it.
    pub issuer: String,
    /// PEM.
    pub chain: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateOrigin {
    Uploaded,
    /// Signed by the platform's own authority.
    SelfSigned,
    /// That authority.
    Authority,
    /// Ordered from an authority of the web.
    Acme,
}

impl CertificateOrigin {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::SelfSigned => "self_signed",
            Self::Authority => "authority",
            Self::Acme => "acme",
        }
    }
}

/// A certificate that is to be had from an authority of the web: there as long as it is not. One for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateOrder {
    pub id: OrderId,
    /// None: the platform's own.
    pub environment_id: Option<EnvironmentId>,
    pub name: DomainName,
    /// Of the authority that was asked last.
    pub directory: Option<String>,
    /// The order's address there, while it may be gone on with.
    pub url: Option<String>,
    /// Failed tries.
    pub attempts: u32,
    /// Of the last one, in words for people.
    pub error: Option<String>,
    pub failed_at: Option<Timestamp>,
    /// No try before.
    pub next_at: Timestamp,
    pub created_at: Timestamp,
}

impl Certificate {
    pub fn covers(&self, name: &DomainName) -> bool {
        let covers = |own: &DomainName| own == name || (name.below().is_none() && own.covers(name.as_str()));
        self.names.iter().any(covers)
    }
}
