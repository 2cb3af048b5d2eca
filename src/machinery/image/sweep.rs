//! Removing blobs that nobody needs, beside everybody who makes and reads them.
//!
//! A writer's blobs are named by nobody until its work is written down elsewhere, and a blob it finds there is not written
//! again. So a blob is removed only if it is neither reached from what the caller names nor was used since a *horizon*.
//! The order is the argument:
//!
//! 1. `horizon`: the grace ago, or the begin of the oldest pin, whichever is earlier. Whoever makes something of blobs
//!    holds a pin while it does; a pin that was let go counts for the grace more, because what it made is written down
//!    only then.
//! 2. The caller reads what is reached, after the horizon is known.
//! 3. `sweep` judges each blob that is not reached by its last use, under the lock that also whoever finds one takes.
//!
//! A use before the horizon belongs to work that was written down before step 2, and is reached if it is still needed;
//! a use after it, also one in the middle of step 3, keeps the blob for another time. A crash leaves some blobs removed
//! and others not, all of them unneeded. Pins die with the process: work that was interrupted begins its step anew.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::settle::{fresh, settled};
use super::{BlobStore, Digest, ImageError, Result};
use crate::base::clock::{Clock, SystemClock};

/// Of the pins of one store.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    pins: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    /// The same moment, by the clock that can be set and by the one that cannot.
    since: (SystemTime, Instant),
    /// When it was let go.
    until: Option<Instant>,
}

/// As files are stamped, never later.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(SystemClock.now().0).unwrap_or_default())
}

impl Held {
    /// Its begin as times of files would show it now: earlier than any use since, also when the clock was set.
    fn begin(&self) -> SystemTime {
        let (wall, steady) = self.since;
        let reckoned = now().checked_sub(steady.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
        wall.min(reckoned).checked_sub(COARSE).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// The kernel stamps files by a clock that lags by up to a tick.
const COARSE: Duration = Duration::from_millis(50);

/// Blobs that are used while this is held, and for the grace after it, stay.
#[derive(Debug)]
pub struct Pin {
    blobs: BlobStore,
    number: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(pin) = self.blobs.pins().lock().pins.get_mut(&self.number) {
            pin.until = Some(Instant::now());
        }
    }
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies in the store.
#[derive(Debug, Clone, Copy)]
pub struct StoredBlob {
    pub digest: Digest,
    pub bytes: u64,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub blobs: u64,
    pub bytes: u64,
    /// Not reached either, but used since the horizon.
    pub young: u64,
}

impl BlobStore {
    pub fn pin(&self) -> Pin {
        let mut state = self.pins().lock();
        let number = state.next;
        state.next += 1;
        state.pins.insert(number, Held { since: (now(), Instant::now()), until: None });
        Pin { blobs: self.clone(), number }
    }

    /// What was used since then stays. Ask before what is reached is read.
    pub fn horizon(&self, grace: Duration) -> SystemTime {
        let mut state = self.pins().lock();
        state.pins.retain(|_, held| held.until.is_none_or(|at| at.elapsed() < grace));
        let ago = now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        state.pins.values().map(Held::begin).fold(ago, SystemTime::min)
    }

    /// All of them; no use of any.
    pub fn list(&self) -> Result<Vec<StoredBlob>> {
        let mut all = BTreeMap::new();
        // In the order in which a blob moves, so that none is missed.
        for place in ["fresh", "sha256"] {
            let place = self.dir().join(place);
            for entry in fs::read_dir(&place).map_err(ImageError::store("list", &place))? {
                let entry = entry.map_err(ImageError::store("list", &place))?;
                let name = entry.file_name();
                let Some(digest) = name.to_str().and_then(|name| format!("sha256:{name}").parse::<Digest>().ok())
                else {
                    continue;
                };
                // What went meanwhile is not there.
                if let Ok(metadata) = entry.metadata() {
                    all.insert(digest, metadata.len());
                }
            }
        }
        Ok(all.into_iter().map(|(digest, bytes)| StoredBlob { digest, bytes }).collect())
    }

    /// Removes what is neither in `reached` nor was used since `horizon`.
    pub fn sweep(&self, reached: &HashSet<Digest>, horizon: SystemTime) -> Result<Swept> {
        let mut swept = Swept::default();
        for StoredBlob { digest, bytes } in self.list()? {
            if reached.contains(&digest) {
                continue;
            }
            let _alone = self.judging();
            if self.last_use(&digest)?.is_some_and(|used| used >= horizon) {
                swept.young += 1;
                continue;
            }
            self.remove(&digest)?;
            swept.blobs += 1;
            swept.bytes += bytes;
        }
        Ok(swept)
    }

    fn last_use(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        let used = |path: &Path| match fs::metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(at) => Ok(Some(at)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::store("read", path)(error)),
        };
        // It moves from the first place to the second, with its time.
        let (before, after) = (used(&fresh(self.dir(), digest))?, used(&settled(self.dir(), digest))?);
        Ok(before.max(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;
    const HOUR: Duration = Duration::from_secs(3600);

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        (dir, blobs)
    }

    fn in_an_hour() -> SystemTime {
        now() + HOUR
    }

    #[test]
    fn what_is_reached_and_what_is_young_stays() {
        let (_dir, blobs) = store();
        let (kept, dropped) = (blobs.put_bytes(b"kept").unwrap(), blobs.put_bytes(b"dropped").unwrap());
        let reached = HashSet::from([kept]);
        let young = blobs.sweep(&reached, blobs.horizon(HOUR)).unwrap();
        assert_eq!(young, Swept { blobs: 0, bytes: 0, young: 1 });
        let swept = blobs.sweep(&reached, in_an_hour()).unwrap();
        assert_eq!(swept, Swept { blobs: 1, bytes: 7, young: 0 });
        assert!(blobs.has(&kept) && !blobs.has(&dropped));
        assert_eq!(blobs.sweep(&reached, in_an_hour()).unwrap(), Swept::default(), "twice is once");
    }

    #[test]
    fn what_is_found_again_counts_as_used() {
        let (_dir, blobs) = store();
        let old = blobs.put_bytes(b"old").unwrap();
        let horizon = now();
        std::thread::sleep(2 * COARSE);
        assert!(blobs.has(&old));
        assert_eq!(blobs.sweep(&HashSet::new(), horizon).unwrap().young, 1);
        std::thread::sleep(Duration::from_millis(20));
        let horizon = now();
        assert_eq!(blobs.size(&old).unwrap(), 3);
        assert_eq!(blobs.sweep(&HashSet::new(), horizon).unwrap().blobs, 1, "a look at its size is no use");
    }

    #[test]
    fn work_under_way_keeps_all_that_it_used_since_it_began() {
        let (_dir, blobs) = store();
        let before = now();
        let pin = blobs.pin();
        let early = blobs.put_bytes(b"early").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(blobs.horizon(NONE) < now() - Duration::from_millis(10), "the pin holds it back");
        assert!(blobs.horizon(NONE) >= before - 2 * COARSE);
        assert_eq!(blobs.sweep(&HashSet::new(), blobs.horizon(NONE)).unwrap().young, 1);
        drop(pin);
        assert_eq!(blobs.sweep(&HashSet::new(), blobs.horizon(HOUR)).unwrap().young, 1, "not written down yet");
        assert_eq!(blobs.sweep(&HashSet::new(), blobs.horizon(NONE)).unwrap().blobs, 1);
        assert!(!blobs.has(&early));
    }

    /// Writers that take a blob they find for theirs, and a sweeper that names none of them: what a writer holds a pin for
    /// is there until it lets go. What they write comes back just when it is old enough to be removed.
    #[test]
    fn a_writer_never_loses_what_it_was_told_is_there() {
        use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
        const ENOUGH: u64 = 40;
        let (_dir, blobs) = store();
        let (began, swept) = (Instant::now(), AtomicU64::new(0));
        let goes_on = || swept.load(SeqCst) < ENOUGH && began.elapsed() < Duration::from_secs(60);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while goes_on() {
                    let done = blobs.sweep(&HashSet::new(), blobs.horizon(NONE)).unwrap();
                    swept.fetch_add(done.blobs, SeqCst);
                }
            });
            for _ in 0..3 {
                scope.spawn(|| {
                    while goes_on() {
                        let _pin = blobs.pin();
                        let turn = began.elapsed().as_millis() / COARSE.as_millis() % 3;
                        let content: Vec<_> = (0..3).map(|n| format!("{n} {turn}")).collect();
                        let made: Vec<_> = content.iter().map(|c| blobs.put_bytes(c.as_bytes()).unwrap()).collect();
                        for (digest, content) in made.iter().zip(&content) {
                            assert_eq!(blobs.read(digest).unwrap(), content.as_bytes());
                        }
                    }
                });
            }
        });
        assert!(swept.load(SeqCst) >= ENOUGH, "something was removed meanwhile");
    }
}
