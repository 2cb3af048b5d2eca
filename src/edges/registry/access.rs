//! The registry's callers are those of the API: an API token as a bearer, or as the password of any user.

use async_trait::async_trait;

use super::{Access, Credentials, Tag};
use crate::base::Result;
use crate::base::access::Actor;
use crate::base::error::Error;
use crate::base::model::{ImageDigest, Release};
use crate::product::{Ctx, accounts, apps};

/// Tags reach back this far; digests of older releases are not found by name.
const NEWEST: i64 = 200;

/// Releases of `production`, as images of `<organization>/<app>`.
pub struct ImageAccess(Ctx);

impl ImageAccess {
    pub fn new(ctx: Ctx) -> Self {
        Self(ctx)
    }

    async fn actor(&self, credentials: Option<&Credentials>) -> Result<Actor> {
        let credentials = credentials.ok_or_else(Error::unauthenticated)?;
        accounts::actor_by_token(&self.0, credentials.secret.reveal()).await
    }

    async fn releases(&self, credentials: Option<&Credentials>, org: &str, app: &str) -> Result<Vec<Release>> {
        let actor = self.actor(credentials).await?;
        let app = apps::resolve(&self.0, &actor, &format!("{org}/{app}")).await?;
        let production = apps::environment(&self.0, &actor, &app, "production").await?;
        apps::releases(&self.0, &actor, &app, &production, None, NEWEST).await
    }
}

#[async_trait]
impl Access for ImageAccess {
    async fn enter(&self, credentials: Option<&Credentials>) -> Result<()> {
        self.actor(credentials).await.map(drop)
    }

    async fn tags(&self, credentials: Option<&Credentials>, org: &str, app: &str) -> Result<Vec<Tag>> {
        let mut releases = self.releases(credentials, org, app).await?;
        releases.retain(|release| release.image_gone_at.is_none());
        let latest = releases.first().map(|r| Tag { name: "latest".into(), image: r.image.clone() });
        let numbered = releases.iter().map(|r| Tag { name: format!("v{}", r.number), image: r.image.clone() });
        Ok(numbered.chain(latest).collect())
    }

    async fn images(&self, credentials: Option<&Credentials>, org: &str, app: &str) -> Result<Vec<ImageDigest>> {
        let releases = self.releases(credentials, org, app).await?;
        Ok(releases.into_iter().map(|release| release.image).collect())
    }
}
