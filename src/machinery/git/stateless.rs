//! What is particular to git over HTTP (`gitprotocol-http`): a conversation is taken apart, and nothing is remembered between its
//! parts.

use std::io::{self, BufRead, BufReader, Write};

use flate2::bufread::MultiGzDecoder;

use super::{GitError, Result, pktline};

/// What of a conversation is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it, over one connection.
    Both,
    /// What is advertised, and no more.
    Advertisement,
    /// One request, by somebody who knows what was advertised.
    Answer,
}

impl Part {
    pub fn advertises(self) -> bool {
        self != Self::Answer
    }

    pub fn answers(self) -> bool {
        self != Self::Advertisement
    }
}

/// What an advertisement begins with where it is not one of protocol v2: `service` is `git-receive-pack` or `git-upload-pack`.
pub fn announce(service: &str, mut w: impl Write) -> Result<()> {
    let mut write = || -> io::Result<()> {
        pktline::line(&mut w, format!("# service={service}"))?;
        pktline::flush(&mut w)
    };
    write().map_err(GitError::Disconnected)
}

/// A request as it was before its client compressed it (gzip, RFC 1952). Whoever reads it has to bound what comes out.
pub fn gunzip(r: impl BufRead) -> impl BufRead {
    BufReader::with_capacity(64 << 10, MultiGzDecoder::new(r))
}
