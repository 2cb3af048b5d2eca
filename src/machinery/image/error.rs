//! What can go wrong with images, one variant per operation.

use std::io;
use std::path::{Path, PathBuf};

use super::{Beyond, Digest};

pub type Result<T, E = ImageError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("cannot {operation} {path}")]
    Store {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("blob {0} is not in the store")]
    Missing(Digest),
    #[error("blob {digest} is not what it should be: {reason}")]
    Invalid { digest: Digest, reason: String },
    /// A manifest or config cannot be made of these values.
    #[error("cannot write the image: {0}")]
    Document(String),
    /// The tree holds something that no layer may hold. `path` is as the stream names it.
    #[error("{path:?} {reason}")]
    Entry { path: String, reason: String },
    #[error("the tree is too large: {0}")]
    TooLarge(String),
    /// What layers that are made together may take.
    #[error("{0}")]
    Beyond(Beyond),
    #[error("the tar stream cannot be read")]
    Stream(#[source] io::Error),
    /// A value that would reach a command line or an address and has not its grammar.
    #[error("{field} {value:?} {reason}")]
    Argument { field: &'static str, value: String, reason: &'static str },
    #[error("{program} is not installed: install the Debian package {program}, or name a base image of a registry")]
    NoProgram { program: &'static str },
    /// `evidence` is the end of what the program wrote to stderr.
    #[error("{program} failed ({status}): {evidence}")]
    Bootstrap { program: &'static str, status: String, evidence: String },
    /// A pushed image that cannot be run here; the text is for its pusher.
    #[error("the image cannot be run here: {0}")]
    Unfit(String),
    /// `reason` names the request and the answer.
    #[error("pull of {reference}: {reason}")]
    Registry { reference: String, reason: String, temporary: bool },
}

impl ImageError {
    /// Whether the same call can succeed later without anything being changed by hand.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Store { .. } => self.is_disk_full(),
            Self::Beyond(bound) => matches!(bound, Beyond::Space(_) | Beyond::Files(_)),
            Self::Registry { temporary, .. } => *temporary,
            Self::Stream(_) | Self::Bootstrap { .. } => true,
            _ => false,
        }
    }

    pub fn is_disk_full(&self) -> bool {
        let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        match self {
            Self::Store { source, .. } | Self::Stream(source) => full(source),
            _ => false,
        }
    }

    pub(super) fn store(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Store { operation, path: path.to_owned(), source }
    }

    pub(super) fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry { path: String::from_utf8_lossy(path).into_owned(), reason: reason.into() }
    }
}
