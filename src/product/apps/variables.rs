//! Variables of an environment: whole sets, sealed, one version per write; a release keeps the
//! version it was made with. Reading them is the one place where values leave their seal.

use std::collections::BTreeMap;

use super::environments::find;
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, EnvironmentId, OrganizationId, UserId, VariableName, VariableSet};
use crate::base::secret::Secret;
use crate::product::Ctx;
use crate::state::store::Tx;
use crate::state::store::variables::{self as rows, SealedVariables};

/// None removes the variable.
pub type VariableChanges = BTreeMap<VariableName, Option<Secret<String>>>;

const MOST_VARIABLES: usize = 1000;
/// Linux gives one string of an environment 128 KiB (`MAX_ARG_STRLEN`) and the whole 2 MiB.
const LONGEST_VALUE: usize = 64 << 10;
const LARGEST_SET: usize = 512 << 10;

/// Reveals the values; said in the log by name of who asked.
pub async fn variables(ctx: &Ctx, actor: &Actor, app: &App, environment: &str) -> Result<VariableSet> {
    actor.may(Action::ReadVariables, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let version = rows::latest(&mut tx, &environment.id).await?.map_or(0, |row| row.version);
    tracing::info!(environment.id = %environment.id, user.id = %actor.user.id, version, "variables revealed");
    read_variables(&mut tx, ctx, &app.organization_id, &environment.id, version).await
}

/// For verbs that have asked the actor, and for the platform's own work.
pub async fn read_variables(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &OrganizationId,
    environment: &EnvironmentId,
    version: i64,
) -> Result<VariableSet> {
    let mut set = VariableSet { environment_id: environment.clone(), version, values: BTreeMap::new() };
    if version == 0 {
        return Ok(set);
    }
    let row = rows::at(tx, environment, version)
        .await?
        .ok_or_else(|| Error::internal(format!("variables of {environment} at version {version} are missing")))?;
    let plain = ctx.vault.unseal(tx, &scope(organization), &bound_to(environment, version), &row.sealed).await?;
    let values: BTreeMap<VariableName, String> = serde_json::from_slice(plain.reveal()).map_err(|_| {
        // serde's own text would quote the value.
        Error::internal(format!("variables of {environment} at version {version} are not a map of texts"))
    })?;
    set.values = values.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    Ok(set)
}

/// Writes the next version; the version that is already there when nothing would change. The caller has asked the actor.
pub async fn write_variables(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &OrganizationId,
    environment: &EnvironmentId,
    changes: &VariableChanges,
    by: Option<&UserId>,
) -> Result<i64> {
    check(changes)?;
    let version = rows::latest(tx, environment).await?.map_or(0, |row| row.version);
    let mut set = read_variables(tx, ctx, organization, environment, version).await?;
    let before = set.values.clone();
    for (name, value) in changes {
        match value {
            Some(value) => set.values.insert(name.clone(), value.clone()),
            None => set.values.remove(name),
        };
    }
    if set.values == before {
        return Ok(version);
    }
    if set.values.len() > MOST_VARIABLES {
        return Err(Error::limit(format!("an environment has at most {MOST_VARIABLES} variables")));
    }
    insert_next(tx, ctx, organization, set, by).await
}

/// Makes the variables of an earlier version the newest again, as a version of their own; the newest one where they are
/// the same. The caller has asked the actor.
pub async fn restore_variables(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &OrganizationId,
    environment: &EnvironmentId,
    version: i64,
    by: Option<&UserId>,
) -> Result<i64> {
    let newest = rows::latest(tx, environment).await?.map_or(0, |row| row.version);
    let now = read_variables(tx, ctx, organization, environment, newest).await?;
    let then = read_variables(tx, ctx, organization, environment, version).await?;
    if then.values == now.values {
        return Ok(newest);
    }
    insert_next(tx, ctx, organization, VariableSet { version: newest, ..then }, by).await
}

/// Writes the values as the version behind that of the set.
async fn insert_next(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &OrganizationId,
    set: VariableSet,
    by: Option<&UserId>,
) -> Result<i64> {
    let environment = &set.environment_id;
    let plain: BTreeMap<&VariableName, &str> = set.values.iter().map(|(n, v)| (n, v.reveal().as_str())).collect();
    let plain = Secret::new(serde_json::to_vec(&plain).map_err(Error::internal)?);
    if plain.reveal().len() > LARGEST_SET {
        return Err(Error::limit(format!("the variables of an environment are together at most {LARGEST_SET} bytes")));
    }
    let version = set.version + 1;
    let sealed = ctx.vault.seal(tx, &scope(organization), &bound_to(environment, version), plain.reveal()).await?;
    let row = SealedVariables {
        environment_id: environment.clone(),
        version,
        names: set.values.keys().cloned().collect(),
        sealed,
        created_at: ctx.now(),
        created_by: by.cloned(),
    };
    match rows::insert(tx, &row).await {
        Err(error) if error.kind == Kind::Exists => {
            Err(Error::conflict("the variables were changed at the same moment; try again").because(error))
        }
        other => other.map(|()| version),
    }
}

/// Changes that an order brings along, as they may lie in a record until they are written. The caller has asked the actor.
pub async fn seal_changes(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &OrganizationId,
    order: &str,
    changes: &VariableChanges,
) -> Result<String> {
    check(changes)?;
    let plain: BTreeMap<&VariableName, Option<&str>> =
        changes.iter().map(|(name, value)| (name, value.as_ref().map(|value| value.reveal().as_str()))).collect();
    let plain = Secret::new(serde_json::to_vec(&plain).map_err(Error::internal)?);
    let sealed = ctx.vault.seal(tx, &scope(organization), &ordered(order), plain.reveal()).await?;
    Ok(hex::encode(sealed))
}

/// The reverse of [`seal_changes`].
pub async fn unseal_changes(
    tx: &mut Tx,
    ctx: &Ctx,
    organization: &OrganizationId,
    order: &str,
    sealed: &str,
) -> Result<VariableChanges> {
    let sealed = hex::decode(sealed).map_err(Error::internal)?;
    let plain = ctx.vault.unseal(tx, &scope(organization), &ordered(order), &sealed).await?;
    let changes: BTreeMap<VariableName, Option<String>> = serde_json::from_slice(plain.reveal())
        .map_err(|_| Error::internal(format!("variables of the order {order} are not a map of texts")))?;
    Ok(changes.into_iter().map(|(name, value)| (name, value.map(Secret::new))).collect())
}

fn ordered(order: &str) -> String {
    format!("variables/of/{order}")
}

fn check(changes: &VariableChanges) -> Result<()> {
    for (name, value) in changes {
        let Some(value) = value else { continue };
        if value.reveal().contains('\0') {
            return Err(Error::invalid(name.as_str(), "must not contain a NUL character"));
        }
        if value.reveal().len() > LONGEST_VALUE {
            return Err(Error::invalid(name.as_str(), format!("is longer than {LONGEST_VALUE} bytes")));
        }
    }
    Ok(())
}

fn scope(organization: &OrganizationId) -> String {
    organization.to_string()
}

/// What the seal is bound to: a row copied to another environment or version does not open.
fn bound_to(environment: &EnvironmentId, version: i64) -> String {
    format!("variables/{environment}/{version}")
}
