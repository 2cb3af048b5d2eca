//! Sources that are no push.

use super::calls::within;
use super::{Bytestream, Client, Result, escaped};
use crate::edges::api::types::{BuildView, MannerQuery, NewSourceBody};

impl Client {
    /// An archive of the app's files: tar, tar.gz or zip.
    pub async fn create_build(
        &self,
        name: &str,
        environment: &str,
        archive: Bytestream,
        manner: &MannerQuery,
    ) -> Result<BuildView> {
        let mut query = Vec::new();
        query.extend(manner.dry_run.then(|| "dry_run=true".to_owned()));
        query.extend(manner.no_cache.then(|| "no_cache=true".to_owned()));
        query.extend(manner.message.as_ref().map(|text| format!("message={}", escaped(text))));
        query.extend(manner.strategy.as_ref().map(|text| format!("strategy={}", escaped(text))));
        self.upload(within(name, environment, &format!("/builds?{}", query.join("&"))), archive).await
    }

    /// What lies elsewhere.
    pub async fn create_source(&self, name: &str, environment: &str, body: &NewSourceBody) -> Result<BuildView> {
        self.call("POST", within(name, environment, "/sources"), Some(body)).await
    }
}
