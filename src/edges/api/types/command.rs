//! Commands beside the replicas, and schedules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::clock::Timestamp;
use crate::base::model::{Command, CommandState, Cron, CronOrigin};
use crate::product::builds;

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommandBody {
    /// Argument vector; a single word that holds more than a word is a line for the shell of the image, one that is a
    /// process type is that, none is a shell.
    #[serde(default)]
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachBody {
    /// As for a command that goes on by itself.
    #[serde(default)]
    pub command: Vec<String>,
    /// The terminal that it shall have; without one, output and errors come apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalBody>,
    /// A running replica to enter, such as `web.1`; without one, the command has a container of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalBody {
    pub columns: u16,
    pub rows: u16,
    /// Value of `TERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommandView {
    pub id: String,
    /// `run`, `detached`, `cron`, `predeploy`, `release` or `postdeploy`.
    pub kind: String,
    pub command: Vec<String>,
    /// `queued`, `running`, `succeeded`, `failed` or `skipped`.
    pub state: String,
    pub exit_code: Option<i64>,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// The time of the schedule that asked for it.
    pub due_at: Option<String>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// Milliseconds from start to end.
    pub duration: Option<i64>,
    /// What it wrote, where that is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl From<&Command> for CommandView {
    fn from(command: &Command) -> Self {
        let state = match command.state {
            CommandState::Queued => "queued",
            CommandState::Running => "running",
            CommandState::Succeeded => "succeeded",
            CommandState::Failed => "failed",
            CommandState::Skipped => "skipped",
        };
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id: command.id.to_string(),
            kind: command.kind.word().to_owned(),
            command: builds::bare(&command.process.command).to_vec(),
            state: state.to_owned(),
            exit_code: command.exit_code,
            reason: command.reason.clone(),
            due_at: time(command.due_at),
            created_at: command.created_at.to_string(),
            started_at: time(command.started_at),
            finished_at: time(command.finished_at),
            duration: command.started_at.zip(command.finished_at).map(|(start, end)| end.since(start)),
            output: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCronBody {
    /// Unique in its environment; the command stands for it when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Five fields, such as `0 3 * * *`, or a word such as `@daily`.
    pub schedule: String,
    /// A line for the shell of the image.
    pub command: String,
    /// IANA name such as `Europe/Zurich`; UTC when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CronView {
    pub name: String,
    pub schedule: String,
    pub command: String,
    pub timezone: String,
    /// `app.json` or `person`.
    pub origin: String,
    pub next_due: Option<String>,
    pub last_run: Option<CommandView>,
}

impl CronView {
    pub fn new(cron: &Cron, last: Option<&Command>) -> Self {
        let origin = match cron.origin {
            CronOrigin::Manifest => "app.json",
            CronOrigin::Person => "person",
        };
        Self {
            name: cron.name.clone(),
            schedule: cron.schedule.clone(),
            command: cron.command.clone(),
            timezone: cron.timezone.clone(),
            origin: origin.to_owned(),
            next_due: cron.next_due.map(|at| at.to_string()),
            last_run: last.map(CommandView::from),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CronDetail {
    #[serde(flatten)]
    pub cron: CronView,
    /// Newest first.
    pub runs: Vec<CommandView>,
}
