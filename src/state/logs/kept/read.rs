//! Looking back from the end of a log, and going on from there.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::record::{Record, Source};
use super::shelf::{Place, Shelf};
use super::unusable;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};

/// Text of an answer to a search, in bytes: the oldest of more is left out.
const LARGEST_ANSWER: usize = 8 << 20;
/// Bytes that a follower reads at once.
const CHUNK: u64 = 64 << 10;

/// Which records. Everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// How many to look back for.
    pub tail: usize,
    pub source: Option<Source>,
    /// `web` or `web.1`.
    pub process: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Stands in the text, whatever its case.
    pub word: Option<String>,
}

impl Query {
    fn matches(&self, record: &Record) -> bool {
        let process = |wanted: &String| {
            record.name == *wanted || record.name.split_once('.').is_some_and(|(process, _)| process == wanted)
        };
        self.source.is_none_or(|source| record.source == source)
            && self.process.as_ref().is_none_or(process)
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && self.word.as_ref().is_none_or(|word| contains(&record.text, word))
    }
}

fn contains(text: &str, word: &str) -> bool {
    text.contains(word) || text.to_lowercase().contains(&word.to_lowercase())
}

/// Blocks. Not beyond `end`.
pub(super) fn search(shelf: &Shelf, query: &Query, end: Place) -> Result<Vec<Record>> {
    let mut found = VecDeque::new();
    let mut bytes = 0;
    for (number, size) in shelf.parts().into_iter().rev().filter(|(number, _)| *number <= end.part) {
        if found.len() >= query.tail || bytes >= LARGEST_ANSWER {
            break;
        }
        let size = if number == end.part { end.offset } else { size };
        let Some(text) = part(shelf, number, 0, size)? else { break };
        for line in text.lines().rev() {
            let Some(record) = Record::read(line).filter(|record| query.matches(record)) else { continue };
            if found.len() >= query.tail || bytes >= LARGEST_ANSWER {
                break;
            }
            bytes += line.len();
            found.push_front(record);
        }
    }
    // Streams are written as they come in: a moment's disorder between them is put right here.
    let mut found: Vec<Record> = found.into();
    found.sort_by_key(|record| record.at);
    Ok(found)
}

/// None: the part is gone.
fn part(shelf: &Shelf, number: u64, from: u64, to: u64) -> Result<Option<String>> {
    let path = shelf.path(number);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(&path, e)),
    };
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from).map_err(|e| unusable(&path, e))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

struct Follower {
    shelf: Arc<Shelf>,
    query: Query,
    grown: watch::Receiver<Place>,
    place: Place,
    ready: VecDeque<Record>,
    begun: bool,
}

pub(super) fn follow(shelf: Arc<Shelf>, query: Query) -> BoxStream<'static, Record> {
    let grown = shelf.subscribe();
    let place = shelf.end();
    let follower = Follower { shelf, query, grown, place, ready: VecDeque::new(), begun: false };
    stream::unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }).boxed()
}

impl Follower {
    async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            if !std::mem::replace(&mut self.begun, true) {
                let (shelf, query, end) = (Arc::clone(&self.shelf), self.query.clone(), self.place);
                let found = tokio::task::spawn_blocking(move || search(&shelf, &query, end)).await;
                self.ready.extend(told(found)?);
                continue;
            }
            let end = *self.grown.borrow_and_update();
            if self.place == end {
                self.grown.changed().await.ok()?;
                continue;
            }
            let (shelf, place) = (Arc::clone(&self.shelf), self.place);
            let read = tokio::task::spawn_blocking(move || onwards(&shelf, place, end)).await;
            let (lines, place, missed) = told(read)?;
            self.place = place;
            if let Some(at) = missed {
                let text = "lines are missing here: they came faster than they were read".to_owned();
                let name = Source::System.as_str().to_owned();
                self.ready.push_back(Record { at, source: Source::System, name, text, mark: None });
            }
            let query = &self.query;
            self.ready.extend(lines.lines().filter_map(Record::read).filter(|record| query.matches(record)));
        }
    }
}

/// The next whole lines behind `place`, the place behind them, and, when parts went away unread, the time to tell it.
fn onwards(shelf: &Shelf, place: Place, end: Place) -> Result<(String, Place, Option<Timestamp>)> {
    let parts = shelf.parts();
    let Some((number, size)) = parts.iter().copied().find(|(number, _)| *number >= place.part) else {
        return Ok((String::new(), end, None));
    };
    let missed = number > place.part && place.part > 0 && !parts.iter().any(|(n, _)| n + 1 == number);
    let from = if number == place.part { place.offset } else { 0 };
    let size = if number == end.part { end.offset.min(size) } else { size };
    if from >= size {
        let next = parts.iter().find(|(n, _)| *n > number).map_or(end, |(n, _)| Place { part: *n, offset: 0 });
        return Ok((String::new(), next, None));
    }
    let Some(mut text) = part(shelf, number, from, size.min(from + CHUNK))? else {
        return Ok((String::new(), Place { part: number + 1, offset: 0 }, Some(Timestamp::default())));
    };
    // A line is shorter than a chunk, so there is an end of line in it.
    let whole = text.rfind('\n').map_or(text.len(), |at| at + 1);
    text.truncate(whole);
    let at = text.lines().find_map(Record::read).map(|record| record.at);
    Ok((text, Place { part: number, offset: from + whole as u64 }, at.filter(|_| missed)))
}

fn told<T>(read: std::result::Result<Result<T>, tokio::task::JoinError>) -> Option<T> {
    match read.map_err(Error::internal).and_then(|read| read) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(cause = %error.for_log(), "a log of an app cannot be read");
            None
        }
    }
}
