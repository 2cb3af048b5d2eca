//! What differs between two releases, and promotion.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::product::deploy::{Change, Names, ReleaseDiff};

/// Each part is empty or null where the two are alike.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiffView {
    /// Numbers of the two releases.
    pub from: i64,
    pub to: i64,
    pub commit: Option<ChangeView>,
    pub image: Option<ChangeView>,
    /// Process type to its command line.
    pub processes: BTreeMap<String, ChangeView>,
    /// Names of variables; values are not told.
    pub variables: NamesView,
    /// Process type to its number of replicas.
    pub formation: BTreeMap<String, ChangeView>,
    /// Within which bounds the platform counts, by process type.
    #[serde(default)]
    pub scaling: BTreeMap<String, ChangeView>,
    pub hosts: NamesView,
    /// By process type and kind: `web readiness`.
    pub checks: BTreeMap<String, ChangeView>,
    /// By process type.
    #[serde(default)]
    pub sizes: BTreeMap<String, ChangeView>,
    /// Path, by process type and volume: `web data`.
    #[serde(default)]
    pub mounts: BTreeMap<String, ChangeView>,
    /// The two are alike in all of this.
    pub same: bool,
}

/// Null is "not there".
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamesView {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        Self { from: change.from.clone(), to: change.to.clone() }
    }
}

impl From<&Names> for NamesView {
    fn from(names: &Names) -> Self {
        Self { added: names.added.clone(), removed: names.removed.clone(), changed: names.changed.clone() }
    }
}

impl From<&ReleaseDiff> for DiffView {
    fn from(diff: &ReleaseDiff) -> Self {
        let map = |changes: &BTreeMap<String, Change>| changes.iter().map(|(n, c)| (n.clone(), c.into())).collect();
        Self {
            from: diff.from,
            to: diff.to,
            commit: diff.commit.as_ref().map(ChangeView::from),
            image: diff.image.as_ref().map(ChangeView::from),
            processes: map(&diff.processes),
            variables: (&diff.variables).into(),
            formation: map(&diff.formation),
            scaling: map(&diff.scaling),
            hosts: (&diff.hosts).into(),
            checks: map(&diff.checks),
            sizes: map(&diff.sizes),
            mounts: map(&diff.mounts),
            same: diff.is_empty(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteBody {
    /// The environment whose live release it is.
    pub from: String,
}
