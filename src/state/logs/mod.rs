//! Append and follow.
#![allow(unused)]

use std::path::Path;
use std::pin::Pin;

use futures_util::Stream;

use crate::base::error::Result;
use crate::base::model::{Id, JobId};

/// Name of a log's file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogName(String);

impl LogName {
    pub fn job(id: &JobId) -> Self {
        Self(id.as_str().to_owned())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    Line(String),
    End,
}

pub type LogStream = Pin<Box<dyn Stream<Item = LogEvent> + Send>>;

#[derive(Clone)]
pub struct LogStore {}

impl LogStore {
    /// `dir` is the data directory.
    pub fn open(dir: &Path) -> Result<Self> {
        todo!()
    }

    pub fn append(&self, name: &LogName, text: &str) -> Result<()> {
        todo!()
    }

    /// The lines from `from_line` (0 is the first) on, live, then `End`.
    pub fn follow(&self, name: &LogName, from_line: usize) -> LogStream {
        todo!()
    }

    pub fn close(&self, name: &LogName) -> Result<()> {
        todo!()
    }

    /// The lines so far.
    pub async fn read(&self, name: &LogName) -> Result<Vec<String>> {
        todo!()
    }

    pub async fn delete(&self, name: &LogName) -> Result<()> {
        todo!()
    }
}
