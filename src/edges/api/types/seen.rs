//! What is seen of running apps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::Event;
use crate::product::insight::{Link, Side, Why};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    pub id: String,
    pub at: String,
    /// Such as `deployment.failed` or `replica.exited`.
    pub kind: String,
    /// The event in one line.
    pub text: String,
    /// What it is about: `web.1`, `v42`.
    pub subject: String,
    pub app: String,
    /// None is about the app as a whole.
    pub environment: Option<String>,
    /// Name of the user who did it.
    pub actor: Option<String>,
    /// Id of the event that brought it about.
    pub cause: Option<String>,
    /// What there is to know, by kind.
    pub details: serde_json::Value,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        let mut stored = serde_json::to_value(&event.happened).unwrap_or_default();
        Self {
            id: event.id.to_string(),
            at: event.at.to_string(),
            kind: event.happened.kind().to_owned(),
            text: event.happened.text(),
            subject: event.subject.clone(),
            app: event.app_id.to_string(),
            environment: event.environment_id.as_ref().map(ToString::to_string),
            actor: event.actor_name.as_ref().map(ToString::to_string),
            cause: event.cause.as_ref().map(ToString::to_string),
            details: stored["document"].take(),
        }
    }
}

/// Why an environment is as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// Nothing is wrong.
    pub well: bool,
    pub summary: String,
    /// In the order of time; each brought about the next.
    pub chain: Vec<WhyLink>,
    pub wanted: WhySide,
    pub seen: WhySide,
    /// Where the two differ.
    pub drift: Vec<String>,
    /// What a person can do.
    pub next: Option<String>,
    /// All of it as lines for people.
    pub lines: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhyLink {
    pub at: String,
    pub text: String,
    /// Lines of a log, or of a reason.
    pub evidence: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhySide {
    /// Number of the release.
    pub release: Option<i64>,
    /// Replicas per process: those wanted, or those that are ready.
    pub processes: BTreeMap<String, u32>,
    /// Addresses that lead to a replica, or that shall.
    pub urls: Vec<String>,
}

impl From<&Why> for WhyView {
    fn from(why: &Why) -> Self {
        let side =
            |side: &Side| WhySide { release: side.release, processes: side.processes.clone(), urls: side.urls.clone() };
        let link =
            |link: &Link| WhyLink { at: link.at.to_string(), text: link.text.clone(), evidence: link.evidence.clone() };
        Self {
            well: why.well,
            summary: why.summary.clone(),
            chain: why.chain.iter().map(link).collect(),
            wanted: side(&why.wanted),
            seen: side(&why.seen),
            drift: why.drift.clone(),
            next: why.next.clone(),
            lines: why.lines(),
        }
    }
}
