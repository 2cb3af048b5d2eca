//! Webhooks and their deliveries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::{Delivery, Environment, Webhook};
use crate::product::insight::Standing;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhookBody {
    /// `https://[USER:PASSWORD@]HOST[:PORT][/PATH]` or `http://…`
    pub url: String,
    /// Kinds such as `deployment.failed`, or groups such as `deployment.*`; all when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Only this environment; all of the app when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    pub id: String,
    /// Without credentials, path and query.
    pub address: String,
    /// Empty: all kinds.
    pub events: Vec<String>,
    /// None: all environments, and the app as a whole.
    pub environment: Option<String>,
    pub created_at: String,
    /// Events that are still to be delivered.
    pub waiting: i64,
    /// Events that were given up.
    pub failed: i64,
    /// What posts are signed with (Standard Webhooks 1.0.0); only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl WebhookView {
    pub fn new(webhook: &Webhook, standing: Standing, environments: &[Environment]) -> Self {
        let environment = webhook.environment_id.as_ref();
        let named = environments.iter().find(|e| Some(&e.id) == environment).map(|e| e.name.to_string());
        Self {
            id: webhook.id.to_string(),
            address: webhook.shown.clone(),
            events: webhook.kinds.words().to_vec(),
            environment: named.or_else(|| environment.map(ToString::to_string)),
            created_at: webhook.created_at.to_string(),
            waiting: standing.waiting,
            failed: standing.failed,
            secret: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// Id of the event, and of the message.
    pub event: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    pub attempts: i64,
    /// When it is tried next.
    pub due_at: Option<String>,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    pub finished_at: Option<String>,
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        let ended = delivery.finished_at.is_some();
        Self {
            event: delivery.event_id.to_string(),
            state: delivery.state.as_str().to_owned(),
            attempts: delivery.attempts,
            due_at: (!ended).then(|| delivery.due_at.to_string()),
            reason: delivery.reason.clone(),
            finished_at: delivery.finished_at.map(|at| at.to_string()),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// Id of an event, delivered already or not; all that failed when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplayView {
    /// Deliveries that begin anew.
    pub deliveries: u64,
}
