//! What a process of a release finds in its environment: the variables at the release's version, and what the
//! platform says of itself. `PORT` and `HYTHE_PROCESS` are the engine's to add, per replica.

use std::collections::BTreeMap;

use super::read_variables;
use crate::base::error::Result;
use crate::base::model::{App, Environment, Release};
use crate::base::secret::Secret;
use crate::product::Ctx;

pub async fn process_variables(
    ctx: &Ctx,
    app: &App,
    environment: &Environment,
    release: &Release,
) -> Result<BTreeMap<String, Secret<String>>> {
    let set = {
        let mut tx = ctx.store.read().await?;
        read_variables(&mut tx, ctx, &app.organization_id, &environment.id, release.variables_version).await?
    };
    let mut all: BTreeMap<String, Secret<String>> =
        set.values.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let mut own = |name: &str, value: String| all.insert(name.to_owned(), Secret::new(value));
    own("HYTHE_APP", app.name.to_string());
    own("HYTHE_ENVIRONMENT", environment.name.to_string());
    own("HYTHE_RELEASE", format!("v{}", release.number));
    if let Some(commit) = &release.commit {
        own("SOURCE_VERSION", commit.clone());
    }
    Ok(all)
}
