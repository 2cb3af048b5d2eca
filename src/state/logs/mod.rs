//! Logs of jobs: append and follow. One stream serves the pusher, the API and the CLI.
//!
//! Invariants:
//! - An appended line is in its file when `append` returns: it survives the end of the process, not a
//!   power cut (no sync per line, because a pusher waits for it).
//! - Lines hold text only: escape sequences and control characters are taken out before a line is
//!   written, so that no follower's terminal obeys a log. See `line`.
//! - The end of a log is in its file: who follows it again after a restart sees it end. A line
//!   appended after the end opens the log again (a step that runs twice after a crash).
//! - Lines and files are bounded; the last line of a full log says so.
//!
//! Followers wait for the writer in this process; nothing polls. Left to others: whose log it is.

mod follow;
pub mod kept;
mod line;
mod live;
mod passed;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::Stream;

use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{CommandId, Id, JobId};
use live::Live;

pub use passed::{JobLine, JobLines};

/// Name of a log's file, made of what has a grammar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogName(String);

impl LogName {
    pub fn job(id: &JobId) -> Self {
        Self(id.as_str().to_owned())
    }

    pub fn command(id: &CommandId) -> Self {
        Self(id.as_str().to_owned())
    }

    /// The id it is of.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    Line(String),
    /// The last event.
    End,
}

pub type LogStream = Pin<Box<dyn Stream<Item = LogEvent> + Send>>;

/// Cheap to clone; clones share their followers.
#[derive(Clone)]
pub struct LogStore {
    dir: Arc<Path>,
    live: Arc<Mutex<HashMap<LogName, Arc<Live>>>>,
    passage: Arc<passed::Passage>,
}

/// Logs that are known in memory before the idle ones among them are forgotten.
const REMEMBERED: usize = 128;

impl LogStore {
    /// `dir` holds the logs and nothing else.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| unusable(dir, e))?;
        Ok(Self { dir: dir.into(), live: Arc::default(), passage: Arc::default() })
    }

    /// Appends the lines of `text`; an empty text is an empty line.
    pub fn append(&self, name: &LogName, text: &str) -> Result<()> {
        self.live(name)?.append(text)
    }

    /// Lines of jobs are passed on from now on; none when they are passed on to somebody already.
    pub fn job_lines(&self) -> Option<JobLines> {
        self.passage.open()
    }

    pub(super) fn pass_on(&self, job: &JobId, step: &'static str, text: &str) {
        self.passage.pass_on(job, step, text);
    }

    /// The lines from `from_line` (0 is the first) on, as they come, then `End`. A log that does not
    /// exist yet is waited for.
    pub fn follow(&self, name: &LogName, from_line: usize) -> LogStream {
        match self.live(name) {
            Ok(live) => follow::stream(live, from_line),
            Err(error) => follow::unreadable(&error),
        }
    }

    /// Marks the end; no change when the log has ended.
    pub fn close(&self, name: &LogName) -> Result<()> {
        self.live(name)?.close()
    }

    /// The lines so far; none when there is no such log.
    pub async fn read(&self, name: &LogName) -> Result<Vec<String>> {
        let path = self.path(name);
        let read = tokio::task::spawn_blocking(move || match fs::read(&path) {
            Ok(bytes) => Ok(line::split(&bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(unusable(&path, e)),
        });
        read.await.map_err(Error::internal)?
    }

    /// Removes the log; whoever follows it sees it end.
    pub async fn delete(&self, name: &LogName) -> Result<()> {
        let live = self.live(name)?;
        live.delete()
    }

    /// Logs that nothing was written to since then.
    pub async fn older_than(&self, time: Timestamp) -> Result<Vec<LogName>> {
        let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(time.0).unwrap_or(0));
        let dir = Arc::clone(&self.dir);
        let list = move || -> std::io::Result<Vec<LogName>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&dir)?.flatten() {
                // What is removed meanwhile is not there any more.
                let Ok(metadata) = entry.metadata() else { continue };
                let is_old = metadata.modified()? < time;
                if let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(".log"))
                    && is_old
                {
                    names.push(LogName(name.to_owned()));
                }
            }
            Ok(names)
        };
        let listed = tokio::task::spawn_blocking(list).await.map_err(Error::internal)?;
        listed.map_err(|e| unusable(&self.dir, e))
    }

    fn live(&self, name: &LogName) -> Result<Arc<Live>> {
        let mut known = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = known.get(name) {
            return Ok(Arc::clone(live));
        }
        if known.len() >= REMEMBERED {
            // What nobody else holds is idle, and nobody can come to hold it while the map is locked.
            known.retain(|_, live| Arc::strong_count(live) > 1);
        }
        let live = Arc::new(Live::find(self.path(name))?);
        known.insert(name.clone(), Arc::clone(&live));
        Ok(live)
    }

    fn path(&self, name: &LogName) -> PathBuf {
        self.dir.join(format!("{}.log", name.0))
    }
}

fn unusable(path: &Path, fault: std::io::Error) -> Error {
    let text = match fault.kind() {
        std::io::ErrorKind::StorageFull => "the disk of the logs is full; free some space and try again".to_owned(),
        _ => format!("the log {} cannot be used", path.display()),
    };
    Error::unavailable(text, fault)
}

#[cfg(test)]
mod tests;
