//! Buildpacks of an environment.

use super::calls::within;
use super::{Client, Result};
use crate::edges::api::types::BuildpacksView;

impl Client {
    pub async fn buildpacks(&self, name: &str, environment: &str) -> Result<BuildpacksView> {
        self.get(within(name, environment, "/buildpacks")).await
    }

    pub async fn set_buildpacks(&self, name: &str, environment: &str, body: &BuildpacksView) -> Result<BuildpacksView> {
        self.call("PUT", within(name, environment, "/buildpacks"), Some(body)).await
    }
}
