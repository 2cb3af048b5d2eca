//! Asking a replica its checks, as often as they are due, until its standing changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::questions::{Answer, Questions};
use super::vital::Vital;
use crate::base::clock::Clock;
use crate::base::model::{Check, HealthCheck, Replica};
use crate::machinery::runtime::{Ended, EngineError};
use crate::product::builds;

/// What is told at the latest while a replica comes up, and afterwards.
const SPAN_COMING_UP: i64 = 2_000;
const SPAN: i64 = 30_000;

/// Of what a command said, in characters.
const LONGEST_WORDS: usize = 200;

/// Returns when the standing has changed, when told to stop, or after a while in which nothing is open any more.
pub async fn ask(
    questions: Questions,
    replica: Replica,
    mut vital: Vital,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Vital {
    let span = if vital.standing.passed { SPAN } else { SPAN_COMING_UP };
    let until = clock.now().plus_millis(span);
    let (mut open, mut answers) = (BTreeSet::new(), FuturesUnordered::new());
    while !vital.is_settled() && (clock.now() < until || !open.is_empty()) {
        for (index, check) in vital.due(clock.now()) {
            if open.insert(index) {
                let (questions, replica, clock) = (&questions, &replica, &*clock);
                answers.push(async move { (index, one(questions, replica, &check, clock).await) });
            }
        }
        let next = if open.is_empty() { Some(until) } else { None }.into_iter().chain(vital.next_due(&open)).min();
        let asleep = async {
            match next {
                Some(due) => tokio::time::sleep(millis(due.since(clock.now()))).await,
                None => std::future::pending().await,
            }
        };
        let mut heard = tokio::select! {
            () = stop.cancelled() => return vital,
            () = asleep => None,
            heard = answers.next(), if !open.is_empty() => heard,
        };
        let before = vital.standing.clone();
        while let Some((index, answer)) = heard {
            open.remove(&index);
            match answer {
                Some(answer) => vital.answered(index, answer, clock.now()),
                None => vital.unanswered(index, clock.now()),
            }
            heard = answers.next().now_or_never().flatten();
        }
        let flags = |v: &super::vital::Standing| (v.started, v.passed, v.ready, v.dead);
        if flags(&before) != flags(&vital.standing) {
            return vital;
        }
    }
    vital
}

async fn one(questions: &Questions, replica: &Replica, check: &HealthCheck, clock: &dyn Clock) -> Answer {
    let Check::Alive { millis } = &check.check else { return questions.ask(replica, check).await };
    Some(match replica.started_at {
        Some(at) if clock.now().since(at) >= *millis => Ok(()),
        _ => Err("has not run for long enough".into()),
    })
}

fn millis(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// What a command's end says of the replica that it ran in.
pub fn judged(command: &[String], ended: Result<Ended, EngineError>, within: Duration) -> Answer {
    let words = || shlex::try_join(builds::bare(command).iter().map(String::as_str)).unwrap_or_default();
    match ended {
        Ok(Ended { code: Some(0), .. }) => Some(Ok(())),
        Ok(ended) => Some(Err(format!("fails its check: {} {}", words(), how(&ended, within)))),
        Err(EngineError::NotFound { .. }) => None,
        Err(error) if error.is_temporary() => None,
        Err(error) => Some(Err(format!("fails its check: {}: {}", words(), root(&error)))),
    }
}

fn how(ended: &Ended, within: Duration) -> String {
    let how = match ended.code {
        Some(code) => format!("exits with {code}"),
        None => format!("does not end in {} ms", within.as_millis()),
    };
    let last = ended.tail.lines().last().map(|line| line.chars().take(LONGEST_WORDS).collect::<String>());
    let said = last.map(|line| format!(": {line}")).unwrap_or_default();
    format!("{how}{said}")
}

pub(super) fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    deepest.to_string()
}
