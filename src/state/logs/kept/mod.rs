//! What apps write, kept per environment beyond the life of whoever wrote it: bounded in size and age, searched and
//! followed.
//!
//! Invariants:
//! - A record is in its file when `append` returns. Records of one call are written at once, so that a process that is
//!   killed leaves whole records; a torn end is cut off when the file is opened again.
//! - How far a stream was read (`Mark`) stands in the record itself, and at the head of each file for the streams before
//!   it: after a crash a writer goes on exactly behind what is kept, without gap or double.
//! - An environment never takes more than its bounds; the oldest file goes first.
//! - Text holds no control characters (see `super::line`).
//!
//! Followers wait for the writer in this process. Left to others: who may read, what is worth keeping.

mod read;
mod record;
mod shelf;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::BoxStream;

use super::unusable;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, Id};

pub use read::Query;
pub use record::{Mark, Record, Source};
pub use shelf::Cursor;

use shelf::Shelf;

/// Of one environment.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub bytes: u64,
    pub age_millis: i64,
}

/// Cheap to clone; clones share writers and followers.
#[derive(Clone)]
pub struct AppLogs {
    dir: Arc<Path>,
    bounds: Bounds,
    shelves: Arc<Mutex<HashMap<EnvironmentId, Arc<Shelf>>>>,
}

impl AppLogs {
    /// `dir` holds the logs of apps and nothing else.
    pub fn open(dir: &Path, bounds: Bounds) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| unusable(dir, e))?;
        Ok(Self { dir: dir.into(), bounds, shelves: Arc::default() })
    }

    /// Blocks for one write.
    pub fn append(&self, environment: &EnvironmentId, records: &[Record]) -> Result<()> {
        if records.is_empty() { Ok(()) } else { self.shelf(environment)?.append(records) }
    }

    /// How far the stream is kept; none when nothing of it is.
    pub fn cursor(&self, environment: &EnvironmentId, stream: &str) -> Result<Option<Cursor>> {
        Ok(self.shelf(environment)?.cursor(stream))
    }

    /// The stream has ended for good: what is known of it need not be carried on.
    pub fn forget(&self, environment: &EnvironmentId, stream: &str) -> Result<()> {
        self.shelf(environment)?.forget(stream);
        Ok(())
    }

    /// The last `query.tail` records that match, oldest first.
    pub async fn search(&self, environment: &EnvironmentId, query: &Query) -> Result<Vec<Record>> {
        let (shelf, query) = (self.shelf(environment)?, query.clone());
        tokio::task::spawn_blocking(move || read::search(&shelf, &query, shelf.end())).await.map_err(Error::internal)?
    }

    /// As `search`, then the records to come, until the follower goes away. A follower that is slower than the log is
    /// told that it missed some.
    pub fn follow(&self, environment: &EnvironmentId, query: &Query) -> Result<BoxStream<'static, Record>> {
        Ok(read::follow(self.shelf(environment)?, query.clone()))
    }

    /// Removes what is too old, and all of the environments that are not in `there`.
    pub fn sweep(&self, there: &HashSet<EnvironmentId>, now: Timestamp) -> Result<()> {
        for entry in fs::read_dir(&self.dir).map_err(|e| unusable(&self.dir, e))?.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<EnvironmentId>().ok()) else { continue };
            if there.contains(&id) {
                self.shelf(&id)?.age(now)?;
            } else {
                self.shelves().remove(&id);
                fs::remove_dir_all(entry.path()).map_err(|e| unusable(&entry.path(), e))?;
            }
        }
        Ok(())
    }

    fn shelf(&self, environment: &EnvironmentId) -> Result<Arc<Shelf>> {
        let mut shelves = self.shelves();
        if let Some(shelf) = shelves.get(environment) {
            return Ok(Arc::clone(shelf));
        }
        let shelf = Arc::new(Shelf::open(self.dir.join(environment.as_str()), self.bounds)?);
        shelves.insert(environment.clone(), Arc::clone(&shelf));
        Ok(shelf)
    }

    fn shelves(&self) -> std::sync::MutexGuard<'_, HashMap<EnvironmentId, Arc<Shelf>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
