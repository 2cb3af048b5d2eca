//! The disk, and build caches.

use super::calls::app;
use super::{Client, Result};
use crate::edges::api::types::{CleanView, DiskView};

impl Client {
    pub async fn disk(&self) -> Result<DiskView> {
        self.get("/v1/disk".into()).await
    }

    pub async fn clean_disk(&self) -> Result<CleanView> {
        self.call("POST", "/v1/disk/clean".into(), None::<&()>).await
    }

    pub async fn clear_cache(&self, name: &str) -> Result<()> {
        self.send("DELETE", format!("{}/cache", app(name)), None::<&()>).await.map(drop)
    }
}
