//! A drain: an address elsewhere that the lines of an app are sent to.

use super::{AppId, DrainId, EnvironmentId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone)]
pub struct Drain {
    pub id: DrainId,
    pub app_id: AppId,
    /// None: all environments of the app.
    pub environment_id: Option<EnvironmentId>,
    /// The address as people see it, without what may be a secret.
    pub shown: String,
    pub created_at: Timestamp,
}
