//! A host name and the environment that answers on it.

use super::{EnvironmentId, Host, RouteId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone)]
pub struct Route {
    pub id: RouteId,
    pub environment_id: EnvironmentId,
    /// Unique on the platform.
    pub host: Host,
    pub created_at: Timestamp,
}
