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

    /// Somewhere below lies a write for which there was no space.
    fn is_full(&self) -> bool {
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let full = cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
            // Libraries in between may have kept the text only (strerror of ENOSPC).
            if full || cause.to_string().contains("No space left on device") {
                return true;
            }
            next = cause.source();
        }
        false
    }

    /// The text for the person at the other end; none when the fault is the server's and only its log may have the details.
    pub fn public(&self) -> Option<String> {
        match self {
            Self::Storage { .. } if self.is_full() => {
                Some("the disk of the server is full; nothing was changed. Free space there, then push again".into())
            }
            Self::Storage { .. } => None,
            other => Some(other.to_string()),
        }
    }
}
