//! Buildpacks of an environment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::model::Environment;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildpacksView {
    /// In the order of building; none leaves it to the tree.
    pub buildpacks: Vec<String>,
}

impl From<&Environment> for BuildpacksView {
    fn from(environment: &Environment) -> Self {
        Self { buildpacks: environment.spec.buildpacks.iter().map(ToString::to_string).collect() }
    }
}
