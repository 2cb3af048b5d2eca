//! What is built and deployed from elsewhere.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::base::error::Error;
use crate::product::deploy::{Course, Manner, NewSource};

/// How a build shall be made, beside of what: as the options of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MannerQuery {
    /// Build, and deploy nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Forget what earlier builds left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    /// Of the release, for people: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For this rollout alone: `blue-green`, `rolling`, `canary=10,50`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
}

impl TryFrom<MannerQuery> for Manner {
    type Error = Error;
    fn try_from(asked: MannerQuery) -> Result<Self, Error> {
        let strategy = asked.strategy.map(|text| text.parse()).transpose();
        Ok(Self {
            course: if asked.dry_run { Course::DryRun } else { Course::Deploy },
            no_cache: asked.no_cache,
            message: asked.message,
            strategy: strategy.map_err(|fault| Error::invalid("strategy", format!("{fault}")))?,
            sealed: None,
        })
    }
}

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
    /// How it shall be built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manner: Option<MannerQuery>,
}

impl TryFrom<NewSourceBody> for NewSource {
    type Error = Error;
    fn try_from(body: NewSourceBody) -> Result<Self, Error> {
        Ok(Self {
            image: body.image,
            git: body.git,
            branch: body.branch,
            s3: body.s3,
            endpoint: body.endpoint,
            region: body.region,
            user_variable: body.user_variable,
            password_variable: body.password_variable,
            manner: Manner::try_from(body.manner.unwrap_or_default())?,
        })
    }
}
