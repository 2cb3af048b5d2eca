//! What is built and deployed from elsewhere.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::product::deploy::NewSource;

/// One of `image`, `git` and `s3`. Credentials are values of the app's variables, which are named here.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSourceBody {
    /// An image of a registry, deployed as it is: `host/name:tag` or `host/name@sha256:…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A git repository: `https://host/owner/repository.git`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Of the git repository; the environment's own when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// An archive in a bucket: `s3://bucket/key.tar.gz`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<String>,
    /// Of a store that is S3-compatible: `https://host[:port]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Of the bucket; `us-east-1` when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The variable with the user, or with the id of the key; for s3 `AWS_ACCESS_KEY_ID` when it is left out and there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_variable: Option<String>,
    /// The variable with the password, the token or the secret key; for s3 `AWS_SECRET_ACCESS_KEY`, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_variable: Option<String>,
}

impl From<NewSourceBody> for NewSource {
    fn from(body: NewSourceBody) -> Self {
        Self {
            image: body.image,
            git: body.git,
            branch: body.branch,
            s3: body.s3,
            endpoint: body.endpoint,
            region: body.region,
            user_variable: body.user_variable,
            password_variable: body.password_variable,
        }
    }
}
