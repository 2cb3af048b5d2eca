//! Short ways to say how a step ended.

use super::StepError;
use crate::base::error::{Error, Kind};

impl StepError {
    /// The step cannot succeed; `reason` is for people.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into(), source: None }
    }
}

/// A fault of the product's own ends the step; what a later attempt may cure is tried again.
impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        let reason = error.public.clone();
        match error.kind {
            Kind::Unavailable => Self::Retry { reason, after: std::time::Duration::from_secs(1), source: error.source },
            _ => Self::Fail { reason, source: error.source },
        }
    }
}
