//! Lines of a replica's stdout and stderr. The engine stores a line longer than 16 KiB in parts, each with a
//! time of its own: they are put together again, up to a bound.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

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

    /// Of a container that is known to be ours.
    pub(super) fn lines_of(
        &self,
        replica: &str,
        options: LogsOptionsBuilder,
    ) -> Result<BoxStream<'static, Result<LogLine>>> {
        let options = options.stdout(true).stderr(true).timestamps(true).build();
        let parts = self.api()?.logs(replica, Some(options));
        let (docker, replica) = (self.clone(), replica.to_owned());
        let lines = parts.map(Some).chain(stream::iter([None])).scan(Assembler::default(), move |assembler, part| {
            let lines = match part {
                Some(Ok(part)) => assembler.take(part).into_iter().map(Ok).collect(),
                // Removed since: there is nothing more to come.
                Some(Err(error)) if faults::status(&error) == Some(404) => Vec::new(),
                Some(Err(error)) => vec![Err(docker.fault("read the log of", &replica, error))],
                None => assembler.finish().into_iter().map(Ok).collect(),
            };
            std::future::ready(Some(stream::iter(lines)))
        });
        Ok(lines.flatten().boxed())
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

    #[test]
    fn a_line_without_end_is_cut() {
        let mut assembler = Assembler::default();
        let part = format!("1970-01-01T00:00:01Z {}", "x".repeat(LONGEST_LINE / 2));
        assert!(assembler.take(out(&part)).is_none());
        assert_eq!(assembler.take(out(&part)).expect("cut").text.len(), LONGEST_LINE);
    }
}
