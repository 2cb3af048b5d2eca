//! Why a rollout cannot become or stay live, in words for the pusher: the cause in the first line, then what the
//! check saw, which ports were listening, the last log lines, and what to do next.

use std::time::Duration;

use futures_util::StreamExt;

use super::observed::Tally;
use super::plan::Cause;
use super::sockets::{self, Listener};
use super::vital::{Death, overfull_text};
use crate::base::model::{CheckKind, Replica, ReplicaState};
use crate::machinery::runtime::Engine;

const LAST_LINES: usize = 12;
const LOOK: Duration = Duration::from_secs(3);

pub struct Evidence<'a> {
    pub engine: &'a dyn Engine,
    pub replica: Option<&'a Replica>,
    pub process: &'a str,
    pub cause: Cause,
    /// What the last failing check saw.
    pub fault: Option<(CheckKind, String)>,
    pub port: u16,
    /// The limit of a replica.
    pub memory_bytes: i64,
}

impl Evidence<'_> {
    /// The text that goes into `EnvironmentStatus::reason`. First line: short cause; then evidence and remedy.
    pub async fn gather(self) -> String {
        let mut text = self.headline();
        text.push('\n');
        if let Some(exit) = self.exit() {
            text.push_str(&exit);
        }
        if matches!(self.cause, Cause::Aborted | Cause::Forgotten { .. }) {
            return text + &self.remedy(&[]);
        }
        let is_told = matches!(self.cause, Cause::Exited { .. } | Cause::NotReady { .. });
        if let Some((kind, fault)) = self.fault.as_ref().filter(|_| !is_told) {
            text.push_str(&format!("When last asked ({kind}), it {fault}.\n"));
        }
        let listeners = self.listeners().await;
        if let Some(listeners) = &listeners {
            text.push_str(&sockets::sentence(listeners));
        }
        let lines = match self.replica {
            Some(replica) => last_lines(self.engine, &replica.id).await,
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
        text.push_str(&self.remedy(listeners.as_deref().unwrap_or_default()));
        text
    }

    fn headline(&self) -> String {
        let process = self.process;
        match self.cause {
            Cause::Exited { out_of_memory: true, .. } => format!("{process} ran out of memory and was killed"),
            Cause::Exited { code, .. } => format!("{process} exited with {code} before it was ready"),
            Cause::NotReady { millis } => {
                let seconds = millis as f64 / 1000.0;
                match &self.fault {
                    Some((_, fault)) => format!("{process} was not ready within {seconds} s: it {fault}"),
                    None => format!("{process} was not ready within {seconds} s"),
                }
            }
            Cause::Dead(Death::Overfull { bytes, most }) => format!("{process} {}", overfull_text(bytes, most)),
            Cause::Dead(Death::Late { millis }) => format!("{process} was not ready within {} s", millis / 1000),
            Cause::Dead(Death::Check) => {
                format!("{process} failed its liveness check before all of the release was ready")
            }
            Cause::Loops { times, seconds } => {
                format!("{process} crashed {times} times in the {seconds} s after the switch")
            }
            Cause::Worse { new, old, seconds, percent } => {
                let old = if old.requests == 0 { "none known".to_owned() } else { share(old) };
                format!("{} failed {}, {old} {}", share(new), within(seconds, percent), before(percent))
            }
            Cause::Slower { new, old, seconds, percent } => format!(
                "one request in twenty took {new} ms or longer {}, at most {old} ms {}",
                within(seconds, percent),
                before(percent)
            ),
            Cause::Fell { out_of_memory: true, percent, .. } => {
                format!("{process} ran out of memory and was killed while {percent} % of the requests went to it")
            }
            Cause::Fell { code, percent, .. } => {
                format!("{process} exited with {code} while {percent} % of the requests went to it")
            }
            Cause::Forgotten { seconds } => {
                format!("nobody let it go on within {}", crate::base::model::seconds(seconds * 1000))
            }
            Cause::Aborted => "aborted, as was asked for".to_owned(),
            Cause::Unsettled { seconds } => {
                format!("{process} was not ready any more {seconds} s after the switch, when its watch ended")
            }
        }
    }

    fn exit(&self) -> Option<String> {
        let ReplicaState::Exited { code, out_of_memory, .. } = self.replica?.state else { return None };
        if out_of_memory {
            return Some(format!("It was killed at its limit of {} MB.\n", self.memory_bytes >> 20));
        }
        (!matches!(self.cause, Cause::Exited { .. } | Cause::Fell { .. })).then(|| format!("It exited with {code}.\n"))
    }

    /// Of a replica that runs and should listen; none when that cannot be seen.
    async fn listeners(&self) -> Option<Vec<Listener>> {
        let replica = self.replica.filter(|r| r.address.is_some() && r.state == ReplicaState::Running)?;
        if !matches!(self.cause, Cause::NotReady { .. } | Cause::Unsettled { .. }) {
            return None;
        }
        let command = ["cat", "/proc/net/tcp", "/proc/net/tcp6"].map(str::to_owned);
        let ended = self.engine.exec_in(&replica.id, &command, LOOK).await.ok()?;
        // One of the two files may be missing where a protocol is.
        ended.tail.contains("local_address").then(|| sockets::listening(&ended.tail))
    }

    fn remedy(&self, listeners: &[Listener]) -> String {
        let port = self.port;
        match self.cause {
            Cause::Exited { out_of_memory: true, .. } | Cause::Fell { out_of_memory: true, .. } => {
                format!(
                    "Give it more memory (hythe sizes, then hythe ps:size {}=SIZE), or make it use less.",
                    self.process
                )
            }
            Cause::Aborted => "To try it again, push it again.".into(),
            Cause::Forgotten { .. } => "Push it again, and let it go on with: hythe releases:continue".into(),
            Cause::Slower { .. } => {
                "See which of its requests take long: hythe logs -s proxy, and hythe metrics.".into()
            }
            Cause::Exited { .. } | Cause::Fell { .. } | Cause::Loops { .. } => {
                "Start the same command on your machine, with PORT set, and mend what it says.".into()
            }
            Cause::Worse { .. } => "See what it answers with 500 and above: the lines above, and hythe logs.".into(),
            Cause::Dead(Death::Overfull { .. }) => format!(
                "Keep what it writes on a volume (hythe volumes:create), write less, or give it more (hythe sizes, then hythe ps:size {}=SIZE).",
                self.process
            ),
            Cause::Dead(Death::Check | Death::Late { .. }) => "See what its liveness check asks: hythe checks".into(),
            Cause::NotReady { .. } | Cause::Unsettled { .. } => match self.fault {
                _ if listeners.iter().any(|l| l.port == port && l.only_inside) => {
                    format!("It listens on {port} for itself only: listen on 0.0.0.0.")
                }
                _ if !listeners.is_empty() && listeners.iter().all(|l| l.port != port) => {
                    format!("Listen on 0.0.0.0 and on the port named by the variable PORT (here {port}).")
                }
                Some((_, ref fault)) if !fault.contains("port") => "See what its check asks: hythe checks".into(),
                _ => format!("Listen on 0.0.0.0 and on the port named by the variable PORT (here {port})."),
            },
        }
    }
}

fn within(seconds: i64, percent: u8) -> String {
    if percent == 100 {
        format!("in the {seconds} s after the switch")
    } else {
        format!("in the {seconds} s in which {percent} % of all went to it")
    }
}

fn before(percent: u8) -> &'static str {
    if percent == 100 { "before it" } else { "of those of the release before" }
}

/// `12 of 40 requests (30 %)`
fn share(answers: Tally) -> String {
    let percent = answers.faults * 100 / answers.requests.max(1);
    format!("{} of {} requests ({percent} %)", answers.faults, answers.requests)
}

async fn last_lines(engine: &dyn Engine, replica: &str) -> Vec<String> {
    let Ok(stream) = engine.logs(replica, LAST_LINES, false).await else { return Vec::new() };
    stream.take(LAST_LINES).filter_map(|line| async { line.ok().map(|l| l.text) }).collect().await
}
