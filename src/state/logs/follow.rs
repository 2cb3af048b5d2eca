//! One follower: reads what is written, then waits to be told of more.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::live::{Live, Progress};
use super::{LogEvent, LogStream, line};
use crate::base::error::Error;

/// Bytes read at once; a follower holds no more than this and one line.
const CHUNK: u64 = 64 << 10;

struct Follower {
    live: Arc<Live>,
    news: watch::Receiver<Progress>,
    file: Option<Arc<File>>,
    /// Bytes of the file that were read.
    read: u64,
    /// Lines still to be left out.
    skip: usize,
    /// The beginning of a line whose end was not read yet.
    partial: Vec<u8>,
    lines: VecDeque<String>,
    over: bool,
}

pub(super) fn stream(live: Arc<Live>, from_line: usize) -> LogStream {
    let news = live.subscribe();
    let follower = Follower {
        live,
        news,
        file: None,
        read: 0,
        skip: from_line,
        partial: Vec::new(),
        lines: VecDeque::new(),
        over: false,
    };
    Box::pin(stream::unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }))
}

pub(super) fn unreadable(error: &Error) -> LogStream {
    stream::iter([told(error), LogEvent::End]).boxed()
}

fn told(error: &Error) -> LogEvent {
    tracing::error!(cause = %error.for_log(), "a log cannot be followed");
    LogEvent::Line(format!(" !     {error}"))
}

impl Follower {
    async fn next(&mut self) -> Option<LogEvent> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(LogEvent::Line(line));
            }
            if self.over {
                return None;
            }
            let Progress { written, ended, .. } = *self.news.borrow_and_update();
            if self.read < written {
                if let Err(fault) = self.fill(written).await {
                    self.over = true;
                    self.lines.clear();
                    return Some(told(&super::unusable(&self.live.path, fault)));
                }
            } else if ended || self.news.changed().await.is_err() {
                self.over = true;
                return Some(LogEvent::End);
            }
        }
    }

    async fn fill(&mut self, written: u64) -> std::io::Result<()> {
        let (path, opened) = (self.live.path.clone(), self.file.clone());
        let (from, length) = (self.read, (written - self.read).min(CHUNK));
        let reading = tokio::task::spawn_blocking(move || {
            let file = match opened {
                Some(file) => file,
                None => Arc::new(File::open(path)?),
            };
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut bytes, from)?;
            Ok::<_, std::io::Error>((file, bytes))
        });
        let (file, bytes) = reading.await.map_err(std::io::Error::other)??;
        self.file = Some(file);
        self.read += length;
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.pop_if(|b| *b == b'\n').is_some() {
                self.push();
            }
        }
        Ok(())
    }

    fn push(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if line::is_end(&line) {
            return;
        }
        match self.skip.checked_sub(1) {
            Some(fewer) => self.skip = fewer,
            None => self.lines.push_back(String::from_utf8_lossy(&line).into_owned()),
        }
    }
}
