//! Domains.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::ProofMethod;
use crate::product::deploy::{DomainState, DomainView, Publication};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDomainBody {
    /// `shop.example.com`, or `*.shop.example.com` for all one label below it; other scripts become ASCII.
    pub domain: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DomainItem {
    pub id: String,
    pub domain: String,
    /// `unverified`; `routed`: requests come here; `unrouted`: verified, but the live release is from before it.
    pub state: String,
    /// `dns` or `http`.
    pub verified_by: Option<String>,
    pub verified_at: Option<String>,
    pub created_at: String,
    /// While it is unverified: publish one of these.
    pub proofs: Vec<ProofItem>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProofItem {
    /// `dns`: a TXT record; `http`: a file on the web server that the domain leads to now.
    pub method: String,
    /// Name of the record, or address of the file.
    pub place: String,
    /// The record, or a line of the file.
    pub text: String,
}

fn word(method: ProofMethod) -> String {
    method.as_str().to_ascii_lowercase()
}

impl From<&DomainView> for DomainItem {
    fn from(view: &DomainView) -> Self {
        let (domain, proof) = (&view.domain, view.domain.proof.as_ref());
        let state = match view.state {
            DomainState::Unverified => "unverified",
            DomainState::Routed => "routed",
            DomainState::Unrouted => "unrouted",
        };
        Self {
            id: domain.id.to_string(),
            domain: domain.name.to_string(),
            state: state.into(),
            verified_by: proof.map(|proof| word(proof.method)),
            verified_at: proof.map(|proof| proof.at.to_string()),
            created_at: domain.created_at.to_string(),
            proofs: view.publications.iter().map(ProofItem::from).collect(),
        }
    }
}

impl From<&Publication> for ProofItem {
    fn from(of: &Publication) -> Self {
        Self { method: word(of.method), place: of.place.clone(), text: of.text.clone() }
    }
}
