//! What is seen of running apps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::Event;

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
