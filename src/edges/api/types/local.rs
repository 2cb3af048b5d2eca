//! A request that never leaves the process: how verbs over SSH reach the API as somebody who has
//! proved who they are already.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::io::DuplexStream;

pub struct LocalRequest {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Path and query, escaped.
    pub path: String,
    /// JSON.
    pub body: Option<Vec<u8>>,
    /// Any bytes, in place of `body`.
    pub upload: Option<BoxStream<'static, std::io::Result<Bytes>>>,
    /// What an upgraded connection is elsewhere.
    pub stream: Option<DuplexStream>,
}

pub struct LocalAnswer {
    pub status: u16,
    pub body: BoxStream<'static, std::io::Result<Bytes>>,
}

pub type Local = Arc<dyn Fn(LocalRequest) -> BoxFuture<'static, LocalAnswer> + Send + Sync>;
