//! What holds for the requests of an environment.

use super::calls::within;
use super::{Client, Result};
use crate::edges::api::types::{TrafficChangeBody, TrafficView};

impl Client {
    pub async fn traffic(&self, name: &str, environment: &str) -> Result<TrafficView> {
        self.get(within(name, environment, "/traffic")).await
    }

    pub async fn change_traffic(&self, name: &str, environment: &str, body: &TrafficChangeBody) -> Result<TrafficView> {
        self.call("PATCH", within(name, environment, "/traffic"), Some(body)).await
    }
}
