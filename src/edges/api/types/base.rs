//! Bases of images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::clock::Timestamp;
use crate::product::deploy::{BaseFacts, Changed, Ground, Standing};

/// Milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// The base that builds begin with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BaseView {
    pub image: String,
    /// What it is made of, for people.
    pub source: String,
    /// None where that is not known.
    pub made_at: Option<String>,
    pub age_days: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BaseUpdatedView {
    #[serde(flatten)]
    pub base: BaseView,
    /// Packages of the base that are not as they were.
    pub changes: Vec<ChangedView>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangedView {
    pub package: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// What is live in one environment, and the newest base.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroundView {
    pub app_id: String,
    pub app: String,
    pub environment: String,
    /// Number of the live release.
    pub release: i64,
    /// `newest`; `older`: a rebase may bring another base; `unfit`: it cannot be put on one without a build.
    pub standing: String,
    /// Why it is unfit, and what to do instead.
    pub reason: Option<String>,
}

impl BaseView {
    pub fn at(now: Timestamp, base: &BaseFacts) -> Self {
        let made_at = base.made.map(|made| made.to_string());
        let age_days = base.made.map(|made| now.since(made) / DAY);
        Self { image: base.image.to_string(), source: base.source.clone(), made_at, age_days }
    }
}

impl From<&Changed> for ChangedView {
    fn from(changed: &Changed) -> Self {
        Self { package: changed.name.clone(), from: changed.from.clone(), to: changed.to.clone() }
    }
}

impl From<&Ground> for GroundView {
    fn from(ground: &Ground) -> Self {
        let (standing, reason) = match &ground.standing {
            Standing::Newest => ("newest", None),
            Standing::Older => ("older", None),
            Standing::Unfit(why) => ("unfit", Some(why.clone())),
        };
        Self {
            app_id: ground.app.id.to_string(),
            app: ground.app.name.to_string(),
            environment: ground.environment.to_string(),
            release: ground.release.number,
            standing: standing.to_owned(),
            reason,
        }
    }
}
