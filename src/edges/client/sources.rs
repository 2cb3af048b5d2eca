//! Sources that are no push.

use super::calls::within;
use super::{Bytestream, Client, Result};
use crate::edges::api::types::BuildView;

impl Client {
    /// An archive of the app's files: tar, tar.gz or zip.
    pub async fn create_build(&self, name: &str, environment: &str, archive: Bytestream) -> Result<BuildView> {
        self.upload(within(name, environment, "/builds"), archive).await
    }
}
