//! Durable work with a first and a last step. The queue lives in `state::jobs`.

use serde::{Deserialize, Serialize};

use super::JobId;
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Succeeded,
    Failed,
}

impl JobState {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub kind: String,
    /// Jobs of one subject run one after the other, oldest first.
    pub subject: String,
    pub payload: serde_json::Value,
    pub state: JobState,
    /// Why it failed, for people.
    pub reason: Option<String>,
    /// Why it shall end before its end, for people: somebody called it off.
    pub called_off: Option<String>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Pending,
    Running,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone)]
pub struct JobStep {
    pub name: String,
    pub state: StepState,
    pub attempt: i64,
    /// What the step hands to the steps after it.
    pub output: serde_json::Value,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}
