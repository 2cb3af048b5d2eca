//! Certificates.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::product::routing::{CertificateView, NameView};

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCertificateBody {
    /// PEM: the certificate of the key first, then those that lead to its authority.
    pub certificate: String,
    /// PEM, without a password.
    pub key: String,
}

impl fmt::Debug for NewCertificateBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCertificateBody").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CertificateItem {
    pub id: String,
    /// `uploaded`, `self_signed` or `acme`.
    pub origin: String,
    pub names: Vec<String>,
    /// Names of the environment that it is good for.
    pub covers: Vec<String>,
    pub issuer: String,
    pub not_before: String,
    pub not_after: String,
    pub created_at: String,
}

/// A name that an environment answers on, and how it stands to a certificate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NameItem {
    pub name: String,
    /// `served`, `ordering`, `failed` (and tried again), `off`, `unfit` (none can be ordered), `waiting` (for the first
    /// deployment) or `none` (this server orders none).
    pub state: String,
    /// Why the last try failed, or none can be ordered.
    pub reason: Option<String>,
    /// Id of the one that answers.
    pub certificate: Option<String>,
    pub issuer: Option<String>,
    pub not_after: Option<String>,
    /// When the platform has it made anew.
    pub renews_at: Option<String>,
    /// Failed tries.
    pub attempts: u32,
    pub failed_at: Option<String>,
    pub next_at: Option<String>,
    /// Host of the authority that was asked last.
    pub authority: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// Whether certificates are ordered. True has what waits tried at once.
    pub ordered: bool,
    /// One name of the environment; all when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorityView {
    /// PEM.
    pub certificate: String,
}

impl From<&NameView> for NameItem {
    fn from(view: &NameView) -> Self {
        let one = view.certificate.as_ref();
        Self {
            name: view.name.to_string(),
            state: view.state.as_str().into(),
            reason: view.reason.clone(),
            certificate: one.map(|one| one.id.to_string()),
            issuer: one.map(|one| one.issuer.clone()),
            not_after: one.map(|one| one.not_after.to_string()),
            renews_at: view.renews_at.map(|at| at.to_string()),
            attempts: view.attempts,
            failed_at: view.failed_at.map(|at| at.to_string()),
            next_at: view.next_at.map(|at| at.to_string()),
            authority: view.authority.clone(),
        }
    }
}

impl From<&CertificateView> for CertificateItem {
    fn from(view: &CertificateView) -> Self {
        let one = &view.certificate;
        Self {
            id: one.id.to_string(),
            origin: one.origin.as_str().into(),
            names: one.names.iter().map(ToString::to_string).collect(),
            covers: view.covers.iter().map(ToString::to_string).collect(),
            issuer: one.issuer.clone(),
            not_before: one.not_before.to_string(),
            not_after: one.not_after.to_string(),
            created_at: one.created_at.to_string(),
        }
    }
}
