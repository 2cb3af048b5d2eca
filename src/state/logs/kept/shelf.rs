//! The files of one environment: numbered, the last one is written to.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::record::{self, Record};
use super::{Bounds, unusable};
use crate::base::clock::Timestamp;
use crate::base::error::Result;

/// Files that share the bounds; the oldest one goes as a whole.
const PARTS: u64 = 8;
/// Streams that are carried from file to file. Of more, those that stood still longest are read anew after a restart.
const MOST_STREAMS: usize = 512;

/// How far a stream is kept: the last position, and how many records of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub position: i64,
    pub count: u64,
}

pub(super) struct Shelf {
    dir: PathBuf,
    bounds: Bounds,
    state: Mutex<State>,
    grown: watch::Sender<Place>,
}

/// A place between two records. The order is that of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) part: u64,
    pub(super) offset: u64,
}

#[derive(Default)]
struct State {
    parts: VecDeque<Part>,
    file: Option<File>,
    cursors: HashMap<String, Cursor>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    bytes: u64,
    /// Of its records; zero before the first.
    oldest: Timestamp,
    newest: Timestamp,
}

impl Shelf {
    pub(super) fn open(dir: PathBuf, bounds: Bounds) -> Result<Self> {
        let state = State::find(&dir).map_err(|e| unusable(&dir, e))?;
        let end = state.end();
        Ok(Self { dir, bounds, state: Mutex::new(state), grown: watch::Sender::new(end) })
    }

    pub(super) fn append(&self, records: &[Record]) -> Result<()> {
        let mut state = self.lock();
        let newest = records.iter().map(|r| r.at).max().unwrap_or_default();
        if self.wants_new_part(&state, newest) {
            self.begin_part(&mut state).map_err(|e| unusable(&self.dir, e))?;
        }
        let mut text = String::new();
        records.iter().for_each(|record| record.write(&mut text));
        self.write(&mut state, &text).map_err(|e| unusable(&self.dir, e))?;
        if let Some(part) = state.parts.back_mut() {
            part.newest = part.newest.max(newest);
            if part.oldest == Timestamp::default() {
                part.oldest = newest;
            }
        }
        for record in records {
            state.advance(record);
        }
        self.shrink(&mut state);
        let end = state.end();
        drop(state);
        self.grown.send_replace(end);
        Ok(())
    }

    pub(super) fn cursor(&self, stream: &str) -> Option<Cursor> {
        self.lock().cursors.get(stream).copied()
    }

    pub(super) fn forget(&self, stream: &str) {
        self.lock().cursors.remove(stream);
    }

    pub(super) fn end(&self) -> Place {
        self.lock().end()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Place> {
        self.grown.subscribe()
    }

    /// Numbers and sizes, oldest first.
    pub(super) fn parts(&self) -> Vec<(u64, u64)> {
        self.lock().parts.iter().map(|part| (part.number, part.bytes)).collect()
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.log"))
    }

    /// Removes the files whose newest record is too old.
    pub(super) fn age(&self, now: Timestamp) -> Result<()> {
        let mut state = self.lock();
        let old = |part: &Part| now.since(part.newest) > self.bounds.age_millis;
        if state.parts.back().is_some_and(|part| part.bytes > 0 && old(part)) {
            self.begin_part(&mut state).map_err(|e| unusable(&self.dir, e))?;
        }
        while state.parts.len() > 1 && state.parts.front().is_some_and(old) {
            self.drop_oldest(&mut state);
        }
        Ok(())
    }

    fn wants_new_part(&self, state: &State, now: Timestamp) -> bool {
        let parts = i64::try_from(PARTS).unwrap_or(1);
        state.parts.back().is_none_or(|part| {
            part.bytes >= self.bounds.bytes / PARTS
                || (part.oldest.0 > 0 && now.since(part.oldest) > self.bounds.age_millis / parts)
        })
    }

    fn begin_part(&self, state: &mut State) -> std::io::Result<()> {
        let number = state.parts.back().map_or(1, |part| part.number + 1);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(number))?;
        state.file = Some(file);
        let newest = state.parts.back().map_or(Timestamp::default(), |part| part.newest);
        state.parts.push_back(Part { number, bytes: 0, oldest: Timestamp::default(), newest });
        state.keep_few_cursors();
        let mut head = String::new();
        state.cursors.iter().for_each(|(stream, cursor)| record::write_cursor(stream, *cursor, &mut head));
        self.write(state, &head)
    }

    /// One write call. What could not be written whole is taken back.
    fn write(&self, state: &mut State, text: &str) -> std::io::Result<()> {
        let Some(part) = state.parts.back().copied() else { return Ok(()) };
        let file = match &mut state.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().append(true).open(self.path(part.number))?),
        };
        if let Err(fault) = file.write_all(text.as_bytes()) {
            let _ = file.set_len(part.bytes);
            state.file = None;
            return Err(fault);
        }
        if let Some(part) = state.parts.back_mut() {
            part.bytes += text.len() as u64;
        }
        Ok(())
    }

    fn shrink(&self, state: &mut State) {
        while state.parts.len() > 1 && state.parts.iter().map(|part| part.bytes).sum::<u64>() > self.bounds.bytes {
            self.drop_oldest(state);
        }
    }

    fn drop_oldest(&self, state: &mut State) {
        let Some(part) = state.parts.pop_front() else { return };
        let path = self.path(part.number);
        match fs::remove_file(&path) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), %fault, "an old log cannot be removed");
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(dir: &Path) -> std::io::Result<Self> {
        let mut numbers = Vec::new();
        match fs::read_dir(dir) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry?.file_name();
                    numbers.extend(name.to_str().and_then(|n| n.strip_suffix(".log")?.parse::<u64>().ok()));
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        numbers.sort_unstable();
        let mut state = Self::default();
        let last = numbers.last().copied();
        for number in numbers {
            let path = dir.join(format!("{number:010}.log"));
            let bytes = fs::read(&path)?;
            let mut part = Part { number, bytes: 0, oldest: Timestamp::default(), newest: Timestamp::default() };
            // What stands behind the last line feed was never told to be kept.
            part.bytes = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
            if Some(number) == last {
                state.cursors.clear();
                if part.bytes < bytes.len() as u64 {
                    OpenOptions::new().write(true).open(&path)?.set_len(part.bytes)?;
                }
            }
            let whole = &bytes[..usize::try_from(part.bytes).unwrap_or(bytes.len())];
            for line in String::from_utf8_lossy(whole).lines() {
                if let Some((stream, cursor)) = record::read_cursor(line) {
                    state.cursors.insert(stream, cursor);
                } else if let Some(record) = Record::read(line) {
                    part.newest = part.newest.max(record.at);
                    if part.oldest == Timestamp::default() {
                        part.oldest = record.at;
                    }
                    state.advance(&record);
                }
            }
            state.parts.push_back(part);
        }
        Ok(state)
    }

    fn advance(&mut self, record: &Record) {
        let Some(mark) = &record.mark else { return };
        let fresh = Cursor { position: mark.position, count: 0 };
        let cursor = self.cursors.entry(mark.stream.clone()).or_insert(fresh);
        if cursor.position != mark.position {
            *cursor = fresh;
        }
        cursor.count += 1;
    }

    fn keep_few_cursors(&mut self) {
        if self.cursors.len() <= MOST_STREAMS {
            return;
        }
        let mut positions: Vec<i64> = self.cursors.values().map(|cursor| cursor.position).collect();
        positions.sort_unstable();
        let least = positions[positions.len() - MOST_STREAMS];
        self.cursors.retain(|_, cursor| cursor.position >= least);
    }

    fn end(&self) -> Place {
        self.parts.back().map_or_else(Place::default, |part| Place { part: part.number, offset: part.bytes })
    }
}
