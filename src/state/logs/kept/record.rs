//! One line of a kept log, and its shape in the file:
//!
//! ```text
//! 1763719323123 a web.1 3f2a9c1b2d3eo 1763719323123456789 the text     a record
//! = 3f2a9c1b2d3eo 1763719323123456789 1                                how far a stream was kept before this file
//! ```

use std::fmt;
use std::str::FromStr;

use super::super::line;
use super::Cursor;
use crate::base::clock::Timestamp;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    App,
    Build,
    Deploy,
    Proxy,
    System,
}

impl Source {
    pub const ALL: [Self; 5] = [Self::App, Self::Build, Self::Deploy, Self::Proxy, Self::System];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Build => "build",
            Self::Deploy => "deploy",
            Self::Proxy => "proxy",
            Self::System => "system",
        }
    }

    fn letter(self) -> char {
        self.as_str().chars().next().unwrap_or('s')
    }

    fn of_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| letter.starts_with(source.letter()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| format!("must be one of {}", names()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: Timestamp,
    pub source: Source,
    /// `web.1` for a replica, else the name of the source.
    pub name: String,
    pub text: String,
    /// Where in its stream it stood; none for what cannot be read again.
    pub mark: Option<Mark>,
}

/// A place in a stream that can be read again from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Without spaces; unique in its environment.
    pub stream: String,
    /// Never falls along the stream.
    pub position: i64,
}

/// `2026-01-31T12:00:00.000Z web.1: text`
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.name, self.text)
    }
}

impl Record {
    pub(super) fn write(&self, out: &mut String) {
        let (stream, position) = self.mark.as_ref().map_or(("-", 0), |mark| (mark.stream.as_str(), mark.position));
        let text = line::clean(&self.text.replace('\n', " "));
        out.push_str(&format!("{} {} {} {stream} {position} {text}", self.at.0, self.source.letter(), self.name));
    }

    /// None is a line that is no record.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(6, ' ');
        let at = Timestamp(parts.next()?.parse().ok()?);
        let source = Source::of_letter(parts.next()?)?;
        let name = parts.next()?.to_owned();
        let (stream, position) = (parts.next()?, parts.next()?.parse().ok()?);
        let mark = (stream != "-").then(|| Mark { stream: stream.to_owned(), position });
        Some(Self { at, source, name, text: parts.next()?.to_owned(), mark })
    }
}

pub(super) fn write_cursor(stream: &str, cursor: Cursor, out: &mut String) {
    out.push_str(&format!("= {stream} {} {}\n", cursor.position, cursor.count));
}

pub(super) fn read_cursor(line: &str) -> Option<(String, Cursor)> {
    let mut parts = line.strip_prefix("= ")?.split(' ');
    let stream = parts.next()?.to_owned();
    Some((stream, Cursor { position: parts.next()?.parse().ok()?, count: parts.next()?.parse().ok()? }))
}
