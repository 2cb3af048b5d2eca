//! Lines of a replica's stdout and stderr. The engine stores a line longer than 16 KiB in parts, each with a
//! time of its own: they are put together again, up to a bound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use super::super::{Channel, LogLine, Result};
use super::{Docker, faults};
use crate::base::clock::Timestamp;

/// A longer line is cut into several.
const LONGEST_LINE: usize = 256 << 10;

impl Docker {
    pub(super) async fn replica_logs(
        &self,
        replica: &str,
        tail: usize,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.lines(replica, LogsOptionsBuilder::new().follow(follow).tail(&tail.to_string())).await
    }

    pub(super) async fn replica_output(
        &self,
        replica: &str,
        since: Timestamp,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        // The engine takes whole seconds; none means from the first line.
        let since = i32::try_from(since.0.div_euclid(1000)).unwrap_or(0).max(0);
        self.lines(replica, LogsOptionsBuilder::new().follow(true).since(since)).await
    }

    async fn lines(&self, replica: &str, options: LogsOptionsBuilder) -> Result<BoxStream<'static, Result<LogLine>>> {
        self.inspect_ours(replica).await?;
        self.lines_of(replica, options)
    }

    /// Of a container that is known to be ours. A follower of an engine before 23 may miss the last lines: when they and
    /// the end come at once, it hears of either first. So what came after the last line seen is read once more.
    pub(super) fn lines_of(
        &self,
        replica: &str,
        options: LogsOptionsBuilder,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        let options = options.stdout(true).stderr(true).timestamps(true).build();
        if !options.follow {
            let lines = self.assembled(self.api()?, replica, options, true);
            return Ok(lines.boxed());
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let followed = self.assembled(self.api()?, replica, options.clone(), false);
        let mark = Arc::clone(&seen);
        let followed = followed.inspect(move |line| lock(&mark).note(line));
        let (docker, replica) = (self.clone(), replica.to_owned());
        let missed = async move {
            let seen = std::mem::take(&mut *lock(&seen));
            if seen.failed {
                return stream::empty().boxed();
            }
            let mut options = LogsOptions { follow: false, ..options };
            if let Some((nanos, _)) = seen.last {
                options.tail = "all".into();
                // A second early: the two channels may be out of order a little.
                options.since = i32::try_from(nanos.div_euclid(1_000_000_000) - 1).unwrap_or(0).max(0);
            }
            let api = match docker.api() {
                Ok(api) => api,
                Err(error) => return stream::iter([Err(error)]).boxed(),
            };
            let lines = docker.assembled(api, &replica, options, true);
            let mut behind = Behind::of(seen.last);
            lines.filter(move |line| std::future::ready(line.as_ref().map_or(true, |line| behind.is(line)))).boxed()
        };
        Ok(followed.chain(stream::once(missed).flatten()).boxed())
    }

    /// The lines of one answer. `to_end`: what has no end of line yet is a line as well.
    fn assembled(
        &self,
        api: bollard::Docker,
        replica: &str,
        options: LogsOptions,
        to_end: bool,
    ) -> impl Stream<Item = Result<LogLine>> + Send + 'static {
        let parts = api.logs(replica, Some(options));
        let (docker, replica) = (self.clone(), replica.to_owned());
        let lines = parts.map(Some).chain(stream::iter([None])).scan(Assembler::default(), move |assembler, part| {
            let lines = match part {
                Some(Ok(part)) => assembler.take(part).into_iter().map(Ok).collect(),
                // Removed since: there is nothing more to come.
                Some(Err(error)) if faults::status(&error) == Some(404) => Vec::new(),
                Some(Err(error)) => vec![Err(docker.fault("read the log of", &replica, error))],
                None if to_end => assembler.finish().into_iter().map(Ok).collect(),
                None => Vec::new(),
            };
            std::future::ready(Some(stream::iter(lines)))
        });
        lines.flatten()
    }
}

/// How far a follower came.
#[derive(Default)]
struct Seen {
    last: Option<(i64, Channel)>,
    failed: bool,
}

impl Seen {
    fn note(&mut self, line: &Result<LogLine>) {
        match line {
            Ok(line) => self.last = Some((line.nanos, line.channel)),
            Err(_) => self.failed = true,
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a line stands behind the last one seen, in a log that is read again.
struct Behind {
    last: Option<(i64, Channel)>,
    passed: Option<bool>,
}

impl Behind {
    fn of(last: Option<(i64, Channel)>) -> Self {
        Self { last, passed: None }
    }

    fn is(&mut self, line: &LogLine) -> bool {
        let Some(last) = self.last else { return true };
        // What begins later has lost that line: the engine threw old ones away.
        let passed = *self.passed.get_or_insert(line.nanos > last.0);
        if !passed && (line.nanos, line.channel) == last {
            self.passed = Some(true);
        }
        passed
    }
}

/// A line whose end has not come yet, per channel.
#[derive(Default)]
struct Assembler([Option<(i64, Vec<u8>)>; 2]);

impl Assembler {
    fn take(&mut self, part: LogOutput) -> Option<LogLine> {
        let (channel, message) = match part {
            LogOutput::StdErr { message } => (Channel::Err, message),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                (Channel::Out, message)
            }
        };
        let (at, text) = stamped(&message);
        let open = &mut self.0[channel as usize];
        let (_, line) = open.get_or_insert_with(|| (at.unwrap_or_default(), Vec::new()));
        line.extend_from_slice(text);
        if line.last() == Some(&b'\n') || line.len() >= LONGEST_LINE { line_of(channel, open.take()?) } else { None }
    }

    fn finish(&mut self) -> Vec<LogLine> {
        [Channel::Out, Channel::Err].into_iter().filter_map(|c| line_of(c, self.0[c as usize].take()?)).collect()
    }
}

fn line_of(channel: Channel, (nanos, mut text): (i64, Vec<u8>)) -> Option<LogLine> {
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(LogLine {
        at: Timestamp(nanos.div_euclid(1_000_000)),
        nanos,
        channel,
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

/// `2026-11-21T06:47:00.123456789Z text`; what has no time before it is all text.
fn stamped(message: &Bytes) -> (Option<i64>, &[u8]) {
    let space = message.iter().take(40).position(|b| *b == b' ');
    let parsed = space.and_then(|space| {
        let time: jiff::Timestamp = std::str::from_utf8(&message[..space]).ok()?.parse().ok()?;
        Some((i64::try_from(time.as_nanosecond()).ok()?, &message[space + 1..]))
    });
    match parsed {
        Some((at, text)) => (Some(at), text),
        None => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: Bytes::copy_from_slice(text.as_bytes()) }
    }

    #[test]
    fn parts_of_a_long_line_become_one_line_with_the_time_of_the_first() {
        let mut assembler = Assembler::default();
        assert!(assembler.take(out("1970-01-01T00:00:01.5Z aaa")).is_none());
        let other = LogOutput::StdErr { message: Bytes::from_static(b"1970-01-01T00:00:02Z e\n") };
        assert_eq!(assembler.take(other).expect("line").text, "e");
        let line = assembler.take(out("1970-01-01T00:00:03Z bbb\n")).expect("line");
        assert_eq!((line.at, line.nanos, line.text.as_str()), (Timestamp(1500), 1_500_000_000, "aaabbb"));
        assert!(assembler.take(out("1970-01-01T00:00:04Z no end")).is_none());
        assert_eq!(assembler.finish()[0].text, "no end");
    }

    fn line(nanos: i64, channel: Channel) -> LogLine {
        LogLine { at: Timestamp(nanos / 1_000_000), nanos, channel, text: String::new() }
    }

    fn behind(last: Option<(i64, Channel)>, log: &[(i64, Channel)]) -> Vec<i64> {
        let mut behind = Behind::of(last);
        log.iter().filter(|(nanos, channel)| behind.is(&line(*nanos, *channel))).map(|(nanos, _)| *nanos).collect()
    }

    #[test]
    fn what_a_follower_missed_is_what_stands_behind_its_last_line() {
        use Channel::{Err, Out};
        let log = [(1, Out), (3, Err), (2, Out), (4, Out)];
        assert_eq!(behind(None, &log), [1, 3, 2, 4]);
        assert_eq!(behind(Some((1, Out)), &log), [3, 2, 4]);
        assert_eq!(behind(Some((3, Err)), &log), [2, 4]);
        assert_eq!(behind(Some((2, Out)), &log), [4]);
        assert_eq!(behind(Some((4, Out)), &log), [] as [i64; 0]);
        // The engine rotated the log meanwhile.
        assert_eq!(behind(Some((0, Out)), &log), [1, 3, 2, 4]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut assembler = Assembler::default();
        let part = format!("1970-01-01T00:00:01Z {}", "x".repeat(LONGEST_LINE / 2));
        assert!(assembler.take(out(&part)).is_none());
        assert_eq!(assembler.take(out(&part)).expect("cut").text.len(), LONGEST_LINE);
    }
}
