//! What is in images.

use serde_json::Value;

use super::calls::within;
use super::{Client, Result, escaped};
use crate::edges::api::types::{ContentsView, FoundView, Page};

impl Client {
    pub async fn contents(&self, name: &str, environment: &str, release: Option<&str>) -> Result<ContentsView> {
        self.get(within(name, environment, &query("packages", release))).await
    }

    /// `format`: `cyclonedx` or `spdx`.
    pub async fn bill(&self, name: &str, environment: &str, format: &str, release: Option<&str>) -> Result<Value> {
        self.get(within(name, environment, &query(format, release))).await
    }

    pub async fn with_package(&self, condition: &str) -> Result<Page<FoundView>> {
        self.get(format!("/v1/packages?package={}", escaped(condition))).await
    }
}

fn query(format: &str, release: Option<&str>) -> String {
    let release = release.map_or_else(String::new, |release| format!("&release={}", escaped(release)));
    format!("/sbom?format={format}{release}")
}
