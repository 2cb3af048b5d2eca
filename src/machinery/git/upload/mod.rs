//! upload-pack: what clone, fetch, pull and ls-remote talk to, in protocol v2 and v0. Formats: `gitprotocol-v2` and
//! `gitprotocol-pack` of git's documentation. Not offered, and therefore never asked for: shallow and partial clones.

mod listing;
mod negotiation;
mod pack;
mod v0;
mod v2;

use std::io::{self, BufRead, Write};

use gix::ObjectId;
use gix::odb::pack::Find;
use gix_packetline::blocking_io::encode;

use super::{GitError, Part, Repository, Result};

const AGENT: &str = concat!("agent=hythe/", env!("CARGO_PKG_VERSION"));
/// Bounds of one request, far above what git sends.
const MAX_WANTS: usize = 100_000;
const MAX_HAVES: usize = 1_000_000;

/// Serves one conversation, or the part of it, to its end.
pub fn serve_upload(
    repo: &Repository,
    (part, protocol_v2): (Part, bool),
    mut r: impl BufRead,
    w: impl Write,
) -> Result<()> {
    let mut w = io::BufWriter::new(w);
    let outcome =
        if protocol_v2 { v2::serve(repo, part, &mut r, &mut w) } else { v0::serve(repo, part, &mut r, &mut w) };
    // What a client may know is said in the one packet that it prints as it is.
    let said = match &outcome {
        Err(GitError::Disconnected(_)) | Ok(()) => Ok(()),
        Err(error) => {
            let text =
                error.public().unwrap_or_else(|| "the server cannot read its repository now; try again later".into());
            encode::error_to_write(text.as_bytes(), &mut w).map(drop)
        }
    };
    let flushed = said.and_then(|()| w.flush()).map_err(GitError::Disconnected);
    outcome.and(flushed)
}

/// What a client asks for and what it says it has.
#[derive(Debug, Default)]
struct Wishes {
    wants: Vec<ObjectId>,
    /// Only those that are here too.
    common: Vec<ObjectId>,
    haves: usize,
    done: bool,
    progress: bool,
    include_tags: bool,
}

impl Wishes {
    /// Takes one line that both protocols share; false when it is another.
    fn take(&mut self, line: &[u8], objects: &gix::odb::Handle) -> Result<bool> {
        if let Some(hex) = line.strip_prefix(b"want ") {
            let id = parse_id(hex)?;
            if self.wants.len() == MAX_WANTS {
                return Err(GitError::TooLarge(format!("more than {MAX_WANTS} wants in one fetch")));
            }
            if !objects.contains(&id) {
                return Err(GitError::Refused(format!("upload-pack: not our ref {id}")));
            }
            self.wants.push(id);
        } else if let Some(hex) = line.strip_prefix(b"have ") {
            self.haves += 1;
            if self.haves > MAX_HAVES {
                return Err(GitError::TooLarge(format!("more than {MAX_HAVES} haves in one fetch")));
            }
            let id = parse_id(hex)?;
            if objects.contains(&id) {
                self.common.push(id);
            }
        } else if line == b"done" {
            self.done = true;
        } else if line == b"no-progress" {
            self.progress = false;
        } else if line == b"include-tag" {
            self.include_tags = true;
        } else if line.starts_with(b"shallow ") || line.starts_with(b"deepen") {
            return Err(GitError::Refused("shallow clones are not supported; leave out --depth".into()));
        } else if line.starts_with(b"filter ") {
            return Err(GitError::Refused("partial clones are not supported; leave out --filter".into()));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

fn parse_id(hex: &[u8]) -> Result<ObjectId> {
    ObjectId::from_hex(hex)
        .map_err(|_| GitError::Protocol(format!("{:?} is not an object id", String::from_utf8_lossy(hex))))
}

fn early_end() -> GitError {
    GitError::Disconnected(io::ErrorKind::UnexpectedEof.into())
}
