//! The last build of an app, for pushes that change nothing. What a build of the platform's own buildpacks makes depends on the
//! tree, the variables and the platform; when those are as they were, and its layers are still in the store, it is not run
//! again. `SOURCE_VERSION` differs with every commit: a tree that speaks of it is built for each.
//!
//! In memory only: another process may be another version of the platform, and builds once.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memmem;

use super::builder::Builder;
use super::place::Place;
use super::{BuildFailure, BuildLog, BuildRequest, Built, Detected, Origin, Source};
use crate::base::model::ImageDigest;

/// Variable of a build that has the commit.
const COMMIT: &[u8] = b"SOURCE_VERSION";

pub(super) struct Last {
    origin: Origin,
    /// Where the tree speaks of it.
    commit: Option<String>,
    /// In which it was built: base, tools, buildpacks and driver.
    image: ImageDigest,
    pub detected: Detected,
    pub built: Built,
}

impl Last {
    /// None where something else may decide as well.
    pub fn of(request: &BuildRequest, detected: &Detected, built: &Built, image: ImageDigest) -> Option<Self> {
        let is_own = request.wishes.buildpacks.is_empty() && detected.members.iter().all(|part| !part.foreign);
        let origin = request.origin.clone().filter(|_| is_own)?;
        let commit = detected.names_commit.then(|| request.commit.clone());
        Some(Self { origin, commit, image, detected: detected.clone(), built: built.clone() })
    }

    fn is_of(&self, request: &BuildRequest) -> bool {
        let same_commit = self.commit.as_ref().is_none_or(|commit| *commit == request.commit);
        request.origin.as_ref() == Some(&self.origin) && request.wishes.buildpacks.is_empty() && same_commit
    }
}

impl Builder {
    /// The last build in `place`, if the one that is asked for would be the same.
    pub(super) async fn unchanged<'p>(
        &self,
        place: &'p Place,
        request: &BuildRequest,
        log: &dyn BuildLog,
    ) -> Result<Option<&'p Last>, BuildFailure> {
        let Some(last) = place.last.as_ref().filter(|last| last.is_of(request)) else { return Ok(None) };
        let mut stored = last.built.layers.iter().map(|layer| layer.digest.parse());
        let is_stored = stored.all(|digest| digest.is_ok_and(|digest| self.blobs.has(&digest)));
        let is_same = is_stored && self.images.build_image(&last.detected.build_ingredients, log).await? == last.image;
        Ok(Some(last).filter(|_| is_same))
    }
}

/// The source, and where it is told whether it speaks of its commit once it was read.
pub(super) fn watched(source: Source) -> (Source, Arc<AtomicBool>) {
    let spoken = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&spoken);
    let watched: Source = Arc::new(move |out| {
        let mut seeking = Seeking { out, tail: Vec::new(), found: false };
        let read = source(&mut seeking);
        tell.fetch_or(seeking.found, Ordering::SeqCst);
        read
    });
    (watched, spoken)
}

/// Looks for the name in what passes.
struct Seeking<'a> {
    out: &'a mut dyn Write,
    /// The end of what has passed: too short to hold the name.
    tail: Vec<u8>,
    found: bool,
}

impl Seeking<'_> {
    fn look(&mut self, bytes: &[u8]) {
        const REST: usize = COMMIT.len() - 1;
        let start = &bytes[..bytes.len().min(REST)];
        self.tail.extend_from_slice(start);
        self.found = memmem::find(&self.tail, COMMIT).is_some() || memmem::find(bytes, COMMIT).is_some();
        if bytes.len() >= REST {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - REST..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(REST));
        }
    }
}

impl Write for Seeking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        if !self.found {
            self.look(&bytes[..taken]);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks(pieces: &[&[u8]]) -> bool {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let (source, spoken) = watched(Arc::new(move |out| pieces.iter().try_for_each(|piece| out.write_all(piece))));
        let mut out = Vec::new();
        source(&mut out).unwrap();
        spoken.load(Ordering::SeqCst)
    }

    #[test]
    fn the_name_is_found_however_it_is_cut() {
        let text = b"echo $SOURCE_VERSION >version";
        for one in 0..text.len() {
            for other in one..text.len() {
                assert!(speaks(&[&text[..one], &text[one..other], &text[other..]]), "{one} {other}");
            }
        }
        assert!(speaks(&text.chunks(1).collect::<Vec<_>>()));
        assert!(!speaks(&[b"SOURCE_", b"-VERSION", b"SOURCE_VERSIO", b""]) && !speaks(&[]));
    }
}
