//! Bases of images.

use super::calls::{app, within};
use super::{Client, Result, escaped};
use crate::edges::api::types::{BaseUpdatedView, BaseView, DeploymentView, GroundView, Page};

impl Client {
    pub async fn base(&self) -> Result<BaseView> {
        self.get("/v1/base".into()).await
    }

    pub async fn update_base(&self) -> Result<BaseUpdatedView> {
        self.call("POST", "/v1/base/update".into(), None::<&()>).await
    }

    /// Of all apps that the caller may deploy.
    pub async fn grounds(&self) -> Result<Vec<GroundView>> {
        let mut all = Vec::new();
        let mut after = None::<String>;
        loop {
            let cursor = after.map_or_else(String::new, |name| format!("&after={}", escaped(&name)));
            let page: Page<GroundView> = self.get(format!("/v1/rebase?limit=100{cursor}")).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    pub async fn ground(&self, name: &str) -> Result<Page<GroundView>> {
        self.get(format!("{}/rebase", app(name))).await
    }

    pub async fn rebase(&self, name: &str, environment: &str) -> Result<DeploymentView> {
        self.call("POST", within(name, environment, "/rebase"), None::<&()>).await
    }
}
