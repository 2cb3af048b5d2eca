//! The platform's verbs over SSH. What they do is the CLI's own code, handed in by the composition
//! root; this file only connects it to the channel.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::base::access::Actor;
use crate::base::model::{Happening, Window};

/// What a verb reads and writes.
pub struct VerbIo {
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    pub out: Box<dyn AsyncWrite + Send + Unpin>,
    pub err: Box<dyn AsyncWrite + Send + Unpin>,
    /// The client's, if it asked for one.
    pub terminal: Option<PseudoTerminal>,
    pub happenings: mpsc::Receiver<Happening>,
}

pub struct PseudoTerminal {
    /// Value of `TERM`.
    pub name: String,
    pub window: Window,
    /// Set by a verb that wants keys and output as they are.
    pub raw: Arc<AtomicBool>,
}

/// Runs the words of a verb as the actor; returns the exit code.
pub type Verbs = Arc<dyn Fn(Actor, Vec<String>, VerbIo) -> BoxFuture<'static, u32> + Send + Sync>;
