//! Sources that are no push.

use super::calls::within;
use super::{Bytestream, Client, Result};
use crate::edges::api::types::{BuildView, NewSourceBody};

impl Client {
    /// An archive of the app's files: tar, tar.gz or zip.
    pub async fn create_build(&self, name: &str, environment: &str, archive: Bytestream) -> Result<BuildView> {
        self.upload(within(name, environment, "/builds"), archive).await
    }

    /// What lies elsewhere.
    pub async fn create_source(&self, name: &str, environment: &str, body: &NewSourceBody) -> Result<BuildView> {
        self.call("POST", within(name, environment, "/sources"), Some(body)).await
    }
}
