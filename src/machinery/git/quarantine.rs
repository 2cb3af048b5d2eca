//! Where pushed objects wait until the push is accepted.

use std::io::BufRead;

use gix::ObjectId;

use super::{Repository, Result};

#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the pack as it comes over the wire.
    pub pack_bytes: u64,
    /// Objects in the pack, as its header says.
    pub objects: u32,
    /// Bytes of any single object, unpacked.
    pub object_bytes: usize,
}

/// The objects of one push, in `<repository>/incoming/<key>/`: a directory of packs that names the repository's own
/// objects as its alternate. Dropping it removes it, unless it was [kept](Self::keep).
#[derive(Debug)]
pub struct Quarantine {}

impl Quarantine {
    /// Reads a pack, completes it where it is thin, indexes it and makes it durable. `key` must be a plain word, such as an id.
    pub fn receive(
        _repo: &Repository,
        _key: &str,
        _r: &mut impl BufRead,
        _limits: &Limits,
        _progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        todo!()
    }

    /// The quarantine that an earlier process left under `key`. It counts as kept.
    pub fn reopen(_repo: &Repository, _key: &str) -> Result<Option<Self>> {
        todo!()
    }

    /// Refuses malformed objects, hostile trees, and tips of which anything reachable is missing; names the first fault.
    pub fn check(&self, _tips: &[ObjectId]) -> Result<()> {
        todo!()
    }

    /// From now on dropping leaves it in place.
    pub fn keep(&mut self) {
        todo!()
    }

    /// Moves the objects into the repository and removes the quarantine. May be repeated, also after a crash in the middle.
    pub fn migrate(self) -> Result<()> {
        todo!()
    }

    pub fn discard(self) -> Result<()> {
        todo!()
    }
}
