//! What can go wrong with a repository, split by who has to act on it.

use std::io;
use std::path::PathBuf;

pub type Result<T, E = GitError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The client sent what git would not send.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The connection ended in the middle.
    #[error("the connection was lost")]
    Disconnected(#[source] io::Error),
    /// More than this server takes. The text names the limit and what to do.
    #[error("{0}")]
    TooLarge(String),
    /// The pushed objects or the exported tree break a rule. The text names the object or path, the fault and the remedy.
    #[error("{0}")]
    Refused(String),
    /// A ref is not, or no longer, what the caller believed.
    #[error("{name} has changed meanwhile; fetch, merge and push again")]
    Moved { name: String },
    /// A name that no ref can have.
    #[error("{name:?} is not a valid ref name")]
    Name { name: String },
    #[error("{operation} {}", path.display())]
    Storage {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl GitError {
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::Disconnected(_))
    }

    /// The text for the person at the other end; none when the fault is the server's and only its log may have the details.
    pub fn public(&self) -> Option<String> {
        match self {
            Self::Storage { .. } => None,
            other => Some(other.to_string()),
        }
    }
}
