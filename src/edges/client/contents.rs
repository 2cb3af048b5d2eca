//! What is in images.

use serde_json::Value;

use super::calls::within;
use super::{Client, Result, escaped};
use crate::edges::api::types::{BuildBomView, ContentsView, FoundView, Page};

impl Client {
    pub async fn contents(&self, name: &str, environment: &str, release: Option<&str>) -> Result<ContentsView> {
        self.get(within(name, environment, &query("packages", release))).await
    }

    /// `format`: `cyclonedx` or `spdx`.
    pub async fn bill(&self, name: &str, environment: &str, format: &str, release: Option<&str>) -> Result<Value> {
        self.get(within(name, environment, &query(format, release))).await
    }

    pub async fn build_bills(&self, name: &str) -> Result<Page<BuildBomView>> {
        self.get(format!("/v1/apps/{}/build-sbom", escaped(name))).await
    }

    pub async fn with_package(&self, condition: &str) -> Result<Vec<FoundView>> {
        let mut all = Vec::new();
        let mut after = None::<String>;
        loop {
            let cursor = after.map_or_else(String::new, |name| format!("&after={}", escaped(&name)));
            let path = format!("/v1/packages?package={}&limit=100{cursor}", escaped(condition));
            let page: Page<FoundView> = self.get(path).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }
}

fn query(format: &str, release: Option<&str>) -> String {
    let release = release.map_or_else(String::new, |release| format!("&release={}", escaped(release)));
    format!("/sbom?format={format}{release}")
}
