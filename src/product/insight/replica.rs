//! Following one replica: from where its kept lines end to its own end, at a bounded rate.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::bucket::Bucket;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{Replica, ReplicaState};
use crate::machinery::runtime::{Engine, LogLine};
use crate::product::Ctx;
use crate::state::logs::kept::{Cursor, Mark, Record, Source};

/// Lines that are taken together.
const BATCH: usize = 256;
/// The engine's times of two channels may be this far out of order.
const SKEW_MILLIS: i64 = 2_000;
/// A line costs as many lines as it has pieces of this length.
const PIECE: usize = 512;
/// How often dropped lines are told.
const TELL_MILLIS: i64 = 10_000;
const PAUSE: Duration = Duration::from_millis(500);

/// Names of the streams of both channels, in the order of `Channel`.
pub(super) fn streams(replica: &str) -> [String; 2] {
    let id = &replica[..replica.len().min(12)];
    [format!("{id}o"), format!("{id}e")]
}

pub(super) struct Follow {
    ctx: Ctx,
    engine: Arc<dyn Engine>,
    replica: Replica,
    streams: [String; 2],
    bucket: Bucket,
    dropped: Dropped,
}

#[derive(Default)]
struct Dropped {
    count: u64,
    told_at: Timestamp,
    /// Of the last dropped line of each channel.
    last: [Option<i64>; 2],
}

impl Follow {
    pub(super) fn new(ctx: Ctx, engine: Arc<dyn Engine>, replica: Replica) -> Self {
        let rate = f64::from(ctx.config.logs.lines_per_second);
        let bucket = Bucket::new(rate, ctx.now());
        let streams = streams(&replica.id);
        Self { ctx, engine, replica, streams, bucket, dropped: Dropped::default() }
    }

    /// Returns when the replica has ended and all it wrote is kept, or it is gone.
    pub(super) async fn run(mut self) {
        let mut told = false;
        loop {
            match self.follow().await {
                Ok(()) => told = false,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(environment.id = %self.replica.workload.environment, replica = self.called(),
                            error = error.for_log(), "lines of a replica cannot be kept now");
                    }
                    tokio::time::sleep(PAUSE * 10).await;
                }
            }
            if let Ok(all) = self.engine.observe().await {
                match all.into_iter().find(|r| r.id == self.replica.id) {
                    None => return,
                    Some(now) if matches!(now.state, ReplicaState::Exited { .. }) && !told => return,
                    // The engine went away, or the replica had not started yet.
                    Some(_) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<()> {
        let environment = self.replica.workload.environment.clone();
        let logs = self.ctx.insight.logs.clone();
        let mut kept = [logs.cursor(&environment, &self.streams[0])?, logs.cursor(&environment, &self.streams[1])?];
        let last = kept.iter().flatten().map(|cursor| cursor.position).max();
        let since = last.map_or(Timestamp(0), |nanos| Timestamp(nanos.div_euclid(1_000_000) - SKEW_MILLIS));
        let Ok(lines) = self.engine.output(&self.replica.id, since).await else { return Ok(()) };
        let mut batches = lines.ready_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let mut records = Vec::with_capacity(batch.len());
            for line in batch {
                let Ok(line) = line else { break };
                if is_new(&mut kept[line.channel as usize], line.nanos) {
                    self.take(line, &mut records);
                }
            }
            logs.append(&environment, &records)?;
        }
        let mut records = Vec::new();
        self.tell_dropped(&mut records);
        logs.append(&environment, &records)
    }

    fn take(&mut self, line: LogLine, records: &mut Vec<Record>) {
        let now = self.ctx.now();
        let cost = 1.0 + (line.text.len() / PIECE) as f64;
        if !self.bucket.takes(cost, now) {
            self.dropped.count += 1;
            self.dropped.last[line.channel as usize] = Some(line.nanos);
            if now.since(self.dropped.told_at) >= TELL_MILLIS {
                self.tell_dropped(records);
            }
            return;
        }
        self.tell_dropped(records);
        records.push(Record {
            at: line.at,
            source: Source::App,
            name: self.called(),
            mark: Some(Mark { stream: self.streams[line.channel as usize].clone(), position: line.nanos }),
            text: line.text,
        });
    }

    fn tell_dropped(&mut self, records: &mut Vec<Record>) {
        let count = std::mem::take(&mut self.dropped.count);
        if count == 0 {
            return;
        }
        self.dropped.told_at = self.ctx.now();
        let (name, most) = (self.called(), self.bucket.rate);
        let mut text = format!(
            "{count} lines of {name} were dropped: it writes more than {most} lines in a second (logs.lines_per_second)"
        );
        // The places of dropped lines are kept as well: they are not to come again.
        for (channel, last) in std::mem::take(&mut self.dropped.last).into_iter().enumerate() {
            let Some(position) = last else { continue };
            let mark = Some(Mark { stream: self.streams[channel].clone(), position });
            let at = Timestamp(position.div_euclid(1_000_000));
            let name = Source::System.as_str().to_owned();
            records.push(Record { at, source: Source::System, name, text: std::mem::take(&mut text), mark });
            if channel == 0 {
                text = "the last of them on its error output".to_owned();
            }
        }
    }

    fn called(&self) -> String {
        format!("{}.{}", self.replica.workload.process, self.replica.ordinal)
    }
}

/// Whether the line stands behind what is kept. `kept` is used up by the lines that it stands for.
fn is_new(kept: &mut Option<Cursor>, nanos: i64) -> bool {
    let Some(cursor) = kept else { return true };
    if nanos < cursor.position || (nanos == cursor.position && cursor.count > 0) {
        if nanos == cursor.position {
            cursor.count -= 1;
        }
        return false;
    }
    *kept = None;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_kept_are_known_by_time_and_number() {
        let mut kept = Some(Cursor { position: 5, count: 2 });
        let new: Vec<bool> = [3, 5, 5, 5, 6, 6].map(|nanos| is_new(&mut kept, nanos)).into();
        assert_eq!(new, [false, false, false, true, true, true]);
        assert!(is_new(&mut None, 1));
    }
}
