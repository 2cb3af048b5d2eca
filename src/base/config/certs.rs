//! Where certificates are from that nobody uploads.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certs {
    pub issuer: IssuerChoice,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerChoice {
    #[default]
    None,
    /// The platform's own authority, which nobody trusts but who was told to.
    SelfSigned,
    /// An authority of the web (RFC 8555), as the section `acme` says.
    Acme,
}
