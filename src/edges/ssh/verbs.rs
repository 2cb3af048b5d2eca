//! The platform's verbs over SSH. What they do is the CLI's own code, handed in by the composition
//! root; this file only connects it to the channel.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::AsyncWrite;

use crate::base::access::Actor;

/// Where a verb writes.
pub struct VerbIo {
    pub out: Box<dyn AsyncWrite + Send + Unpin>,
    pub err: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Runs the words of a verb as the actor; returns the exit code.
pub type Verbs = Arc<dyn Fn(Actor, Vec<String>, VerbIo) -> BoxFuture<'static, u32> + Send + Sync>;
