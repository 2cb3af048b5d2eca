//! SCRATCH
use crate::base::error::Result;
use crate::base::model::JobId;
use futures_util::Stream;
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogName(String);
impl LogName {
    pub fn job(id: &JobId) -> Self {
        Self(id.to_string())
    }
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    Line(String),
    End,
}
pub type LogStream = Pin<Box<dyn Stream<Item = LogEvent> + Send>>;
struct One {
    lines: Vec<String>,
    closed: bool,
    tick: tokio::sync::watch::Sender<u64>,
}
#[derive(Clone, Default)]
pub struct LogStore {
    all: Arc<Mutex<HashMap<LogName, One>>>,
}
impl LogStore {
    pub fn open(_dir: &Path) -> Result<Self> {
        Ok(Self::default())
    }
    fn with<T>(&self, name: &LogName, f: impl FnOnce(&mut One) -> T) -> T {
        let mut all = self.all.lock().expect("lock");
        f(all.entry(name.clone()).or_insert_with(|| One {
            lines: vec![],
            closed: false,
            tick: tokio::sync::watch::Sender::new(0),
        }))
    }
    pub fn append(&self, name: &LogName, text: &str) -> Result<()> {
        self.with(name, |o| {
            for l in text.lines() {
                o.lines.push(l.to_owned());
            }
            o.tick.send_modify(|t| *t += 1);
        });
        Ok(())
    }
    pub fn follow(&self, name: &LogName, from_line: usize) -> LogStream {
        let me = self.clone();
        let name = name.clone();
        let rx = self.with(&name, |o| o.tick.subscribe());
        Box::pin(futures_util::stream::unfold(
            (me, name, rx, from_line, false),
            |(me, name, mut rx, at, over)| async move {
                if over {
                    return None;
                }
                loop {
                    rx.mark_unchanged();
                    let next = me.with(&name, |o| {
                        if at < o.lines.len() {
                            Some(LogEvent::Line(o.lines[at].clone()))
                        } else if o.closed {
                            Some(LogEvent::End)
                        } else {
                            None
                        }
                    });
                    match next {
                        Some(LogEvent::End) => return Some((LogEvent::End, (me, name, rx, at, true))),
                        Some(l) => return Some((l, (me, name, rx, at + 1, false))),
                        None => {
                            rx.changed().await.ok()?;
                        }
                    }
                }
            },
        ))
    }
    pub fn close(&self, name: &LogName) -> Result<()> {
        self.with(name, |o| {
            o.closed = true;
            o.tick.send_modify(|t| *t += 1);
        });
        Ok(())
    }
    pub async fn read(&self, name: &LogName) -> Result<Vec<String>> {
        Ok(self.with(name, |o| o.lines.clone()))
    }
    pub async fn delete(&self, _: &LogName) -> Result<()> {
        Ok(())
    }
}
