//! Drains.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::{Drain, Environment};
use crate::product::insight::DrainHealth;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDrainBody {
    /// `syslog://HOST:PORT`, `syslog+tls://HOST[:PORT]`, `https://[USER:PASSWORD@]HOST[:PORT][/PATH]` or `http://…`
    pub url: String,
    /// Only this environment; all of the app when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    pub id: String,
    /// Without credentials, path and query.
    pub address: String,
    /// None: all environments.
    pub environment: Option<String>,
    pub created_at: String,
    /// Lines since the start of the server.
    pub sent: u64,
    /// Lines that came while too many waited.
    pub dropped: u64,
    pub waiting: u64,
    pub last_sent_at: Option<String>,
    /// Why lines wait.
    pub fault: Option<String>,
}

impl DrainView {
    pub fn new(drain: &Drain, health: &DrainHealth, environments: &[Environment]) -> Self {
        let environment = drain.environment_id.as_ref();
        let named = environments.iter().find(|e| Some(&e.id) == environment).map(|e| e.name.to_string());
        Self {
            id: drain.id.to_string(),
            address: drain.shown.clone(),
            environment: named.or_else(|| environment.map(ToString::to_string)),
            created_at: drain.created_at.to_string(),
            sent: health.sent,
            dropped: health.dropped,
            waiting: health.waiting,
            last_sent_at: health.last_sent_at.map(|at| at.to_string()),
            fault: health.fault.clone(),
        }
    }
}
