//! Why a rollout cannot become live, in words for the pusher: the cause in the first line, then the
//! last log lines, then what to do next.

use futures_util::StreamExt;

use super::plan::Cause;
use crate::base::model::{Check, Replica};
use crate::machinery::runtime::Engine;

const LAST_LINES: usize = 12;

/// The text that goes into `EnvironmentStatus::reason`. First line: short cause; then evidence and remedy.
pub async fn gather(engine: &dyn Engine, replica: Option<&Replica>, cause: Cause, check: &Check, port: u16) -> String {
    let process = replica.map_or("web", |r| r.workload.process.as_str());
    let mut text = match cause {
        Cause::Exited { out_of_memory: true, .. } => format!("{process} ran out of memory and was killed\n"),
        Cause::Exited { code, .. } => format!("{process} exited with {code} before it was ready\n"),
        Cause::NotReady { millis } => not_ready(process, check, port, millis),
    };
    let lines = match replica {
        Some(replica) => last_lines(engine, &replica.id).await,
        None => Vec::new(),
    };
    if lines.is_empty() {
        text.push_str("It wrote nothing to its log.\n");
    } else {
        text.push_str("Last lines of its log:\n");
        for line in lines {
            text.push_str("    ");
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.push_str(&remedy(cause, check, port));
    text
}

async fn last_lines(engine: &dyn Engine, replica: &str) -> Vec<String> {
    let Ok(stream) = engine.logs(replica, LAST_LINES, false).await else { return Vec::new() };
    stream.take(LAST_LINES).filter_map(|line| async { line.ok().map(|l| l.text) }).collect().await
}

fn not_ready(process: &str, check: &Check, port: u16, millis: i64) -> String {
    let seconds = millis / 1000;
    match check {
        Check::Tcp => format!("{process} did not accept connections on port {port} within {seconds} s\n"),
        Check::Http { path } => {
            format!("{process} did not answer GET {path} on port {port} below 500 within {seconds} s\n")
        }
        Check::Alive { .. } => format!("{process} was not running after {seconds} s\n"),
    }
}

fn remedy(cause: Cause, check: &Check, port: u16) -> String {
    match (cause, check) {
        (Cause::Exited { out_of_memory: true, .. }, _) => "Give it more memory, or make it use less.".into(),
        (Cause::Exited { .. }, _) => {
            "Start the same command on your machine, with PORT set, and mend what it says.".into()
        }
        (Cause::NotReady { .. }, Check::Http { .. }) => {
            "See what the path answers, and on which port the app listens.".into()
        }
        (Cause::NotReady { .. }, _) => {
            format!("Listen on 0.0.0.0 and on the port named by the variable PORT (here {port}).")
        }
    }
}
