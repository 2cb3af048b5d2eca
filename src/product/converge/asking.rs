//! Asking a replica its checks, as often as they are due, until its standing changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::vital::Vital;
use crate::base::clock::Clock;
use crate::base::model::{Check, HealthCheck, Replica};
use crate::machinery::runtime::{self, Ended, Engine, EngineError};

/// What is told at the latest while a replica comes up, and afterwards.
const SPAN_COMING_UP: i64 = 2_000;
const SPAN: i64 = 30_000;

/// Of what a command said, in characters.
const LONGEST_WORDS: usize = 200;

/// Returns when the standing has changed, when told to stop, or after a while.
pub async fn ask(
    engine: Arc<dyn Engine>,
    replica: Replica,
    mut vital: Vital,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Vital {
    let span = if vital.standing.passed { SPAN } else { SPAN_COMING_UP };
    let until = clock.now().plus_millis(span);
    while let Some(due) = vital.next_due().filter(|_| !vital.is_settled()) {
        let wait = due.min(until).since(clock.now());
        let asleep = tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0)));
        tokio::select! {
            () = stop.cancelled() => return vital,
            () = asleep => {}
        }
        let asked = vital.due(clock.now());
        let answers = asked.iter().map(|(_, check)| one(&*engine, &replica, check, &*clock));
        let answers = tokio::select! {
            () = stop.cancelled() => return vital,
            answers = join_all(answers) => answers,
        };
        let now = clock.now();
        let before = vital.standing.clone();
        for ((index, _), answer) in asked.iter().zip(answers) {
            match answer {
                Some(answer) => vital.answered(*index, answer, now),
                None => vital.unanswered(*index, now),
            }
        }
        let flags = |v: &super::vital::Standing| (v.started, v.passed, v.ready, v.dead);
        if flags(&before) != flags(&vital.standing) || now >= until {
            return vital;
        }
    }
    vital
}

/// None when the question did not reach it: the engine is away, or the replica is.
async fn one(
    engine: &dyn Engine,
    replica: &Replica,
    check: &HealthCheck,
    clock: &dyn Clock,
) -> Option<Result<(), String>> {
    let within = Duration::from_millis(u64::try_from(check.timeout_millis).unwrap_or(0));
    let answer = match &check.check {
        Check::Alive { millis } => match replica.started_at {
            Some(at) if clock.now().since(at) >= *millis => Ok(()),
            _ => Err("has not run for long enough".into()),
        },
        Check::Command { command } => {
            let words = shlex::try_join(command.iter().map(String::as_str)).unwrap_or_default();
            match engine.exec_in(&replica.id, command, within).await {
                Ok(Ended { code: Some(0), .. }) => Ok(()),
                Ok(ended) => Err(format!("fails its check: {words} {}", how(&ended, within))),
                Err(EngineError::NotFound { .. }) => return None,
                Err(error) if error.is_temporary() => return None,
                Err(error) => Err(format!("fails its check: {words}: {}", root(&error))),
            }
        }
        Check::Tcp | Check::Http { .. } => match replica.address {
            Some(address) => {
                runtime::probe::ready(address, &check.check, within).await.map_err(|fault| fault.to_string())
            }
            None => Err("has no port to be asked on; only web has".into()),
        },
    };
    Some(answer)
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

fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    deepest.to_string()
}
