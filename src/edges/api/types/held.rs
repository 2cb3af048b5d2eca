//! A release that is held on its way to be live.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::{Environment, EnvironmentState};

/// A part of the requests goes to the wanted release.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeldView {
    pub percent: u8,
    /// From 1 on.
    pub step: u32,
    pub steps: u32,
    /// It waits to be let go on; false while the replicas of what follows come up.
    pub waits: bool,
    pub since: String,
    /// When it goes on by itself, or else goes back to the live release.
    pub until: String,
    pub goes_on: bool,
}

impl HeldView {
    pub fn of(environment: &Environment) -> Option<Self> {
        let canary = environment.status.canary.as_ref()?;
        Some(Self {
            percent: canary.percent,
            step: canary.step + 1,
            steps: canary.steps,
            waits: environment.status.state == EnvironmentState::Holding,
            since: canary.since.to_string(),
            until: canary.until.to_string(),
            goes_on: canary.goes_on,
        })
    }
}
