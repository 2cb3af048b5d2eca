//! A command: one run of something beside the replicas, from the image and with the variables of a release. A person
//! asked for it, a deployment or a schedule did.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{CommandId, CronId, DeploymentId, EnvironmentId, Process, ReleaseId, UserId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Somebody holds its streams; it ends with them.
    Run,
    /// Goes on by itself; its output is kept.
    Detached,
    Cron,
    /// `scripts.predeploy` of `app.json`, before the rollout.
    Predeploy,
    /// The process type `release`, before the rollout.
    Release,
    /// `scripts.postdeploy` of `app.json`, after the rollout.
    Postdeploy,
}

impl CommandKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Detached => "detached",
            Self::Cron => "cron",
            Self::Predeploy => "predeploy",
            Self::Release => "release",
            Self::Postdeploy => "postdeploy",
        }
    }

    /// Whether a job of a deployment works it.
    pub fn of_deployment(self) -> bool {
        matches!(self, Self::Predeploy | Self::Release | Self::Postdeploy)
    }
}

/// queued → running → succeeded or failed; queued → skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    Queued,
    Running,
    /// It exited with 0.
    Succeeded,
    /// Another exit code, or none at all: `reason` says why.
    Failed,
    /// It was due and not run: `reason` says why.
    Skipped,
}

impl CommandState {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped)
    }
}

#[derive(Debug, Clone)]
pub struct Command {
    pub id: CommandId,
    pub environment_id: EnvironmentId,
    pub release_id: Option<ReleaseId>,
    pub kind: CommandKind,
    pub process: Process,
    pub state: CommandState,
    pub exit_code: Option<i64>,
    /// Why it failed or was skipped, for people.
    pub reason: Option<String>,
    pub deployment_id: Option<DeploymentId>,
    pub cron_id: Option<CronId>,
    /// When the schedule asked for it; none when a person did.
    pub due_at: Option<Timestamp>,
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CronOrigin {
    /// `app.json` of the live release: replaced with it.
    Manifest,
    /// Somebody added it by hand: nobody else touches it.
    Person,
}

/// A command that is run again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub id: CronId,
    pub environment_id: EnvironmentId,
    /// Unique in its environment.
    pub name: String,
    /// Five fields, or a word such as `@daily`.
    pub schedule: String,
    pub command: String,
    /// IANA name.
    pub timezone: String,
    pub origin: CronOrigin,
    /// When it is run next; none: its schedule has no further time.
    pub next_due: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub columns: u16,
    pub rows: u16,
}

/// What happens at a terminal, or at whoever holds a command's streams, beside their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Resized(Window),
    Signalled(Signal),
    /// Nobody is there any more.
    Gone,
}

/// How a process ended; signals count as 128 and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub out_of_memory: bool,
}

/// What may be sent to a process (POSIX.1-2017 `<signal.h>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Hup,
    Int,
    Quit,
    Usr1,
    Usr2,
    Term,
    Kill,
}

impl Signal {
    const ALL: [Self; 7] = [Self::Hup, Self::Int, Self::Quit, Self::Usr1, Self::Usr2, Self::Term, Self::Kill];

    /// Without `SIG`, as ssh has it (RFC 4254 §6.9).
    pub fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Term => "TERM",
            Self::Kill => "KILL",
        }
    }

    /// As on Linux.
    pub fn number(self) -> i64 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no signal of that name is passed on")]
pub struct UnknownSignal;

impl FromStr for Signal {
    type Err = UnknownSignal;
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let bare = text.strip_prefix("SIG").unwrap_or(text);
        Self::ALL.into_iter().find(|signal| signal.name() == bare).ok_or(UnknownSignal)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
