//! A host name and the environment that answers on it.

use super::{DomainName, EnvironmentId, RouteId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone)]
pub struct Route {
    pub id: RouteId,
    pub environment_id: EnvironmentId,
    /// Unique on the platform.
    pub host: DomainName,
    pub created_at: Timestamp,
}
