//! People, keys, tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::{ApiToken, SshKey, User};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupBody {
    /// The one-time token that the server printed at its first start.
    pub token: String,
    /// Name of the first administrator: a-z, 0-9 and -.
    pub name: String,
    pub email: String,
    /// One line in OpenSSH format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SetupView {
    pub user: UserView,
    /// An API token; shown this once.
    pub token: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    pub id: String,
    pub name: String,
    pub email: String,
    pub platform_admin: bool,
    pub created_at: String,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name.to_string(),
            email: user.email.clone(),
            platform_admin: user.platform_admin,
            created_at: user.created_at.to_string(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    /// The key's comment when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One line in OpenSSH format.
    pub public_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    pub id: String,
    pub name: String,
    pub fingerprint: String,
    pub created_at: String,
}

impl From<&SshKey> for KeyView {
    fn from(key: &SshKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            fingerprint: key.fingerprint.clone(),
            created_at: key.created_at.to_string(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    pub name: String,
    /// Never, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<i64>,
    /// The one app that it is for. All that the caller may, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What it may at most there: `viewer` or `developer`, which it is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub last_used_at: Option<String>,
    /// The one app that it is for, and its role there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl From<&ApiToken> for TokenView {
    fn from(token: &ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.clone(),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|t| t.to_string()),
            last_used_at: token.last_used_at.map(|t| t.to_string()),
            app: token.grant.as_ref().map(|grant| grant.app_name.to_string()),
            role: token.grant.as_ref().map(|grant| grant.role.to_string()),
            token: None,
        }
    }
}
