//! Environments: `spec` is written by verbs and guarded by its generation, `status` by the converger only.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_json, json, many, on, one, parse, sees_app, touched, viewer};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, AppId, BranchName, Environment, EnvironmentId, EnvironmentName, EnvironmentSpec, EnvironmentStatus, Id,
};

#[derive(FromRow)]
struct Row {
    id: String,
    app_id: String,
    name: String,
    branch: String,
    spec: String,
    generation: i64,
    status: String,
    created_at: i64,
}

#[derive(FromRow)]
struct WithApp {
    #[sqlx(flatten)]
    environment: Row,
    app_organization_id: String,
    app_space_id: String,
    app_name: String,
    app_created_at: i64,
}

impl TryFrom<Row> for Environment {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            app_id: parse(&row.app_id)?,
            name: parse(&row.name)?,
            branch: parse(&row.branch)?,
            spec: from_json(&row.spec)?,
            generation: row.generation,
            status: from_json(&row.status)?,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl TryFrom<WithApp> for (Environment, App) {
    type Error = Error;
    fn try_from(row: WithApp) -> Result<Self> {
        let environment = Environment::try_from(row.environment)?;
        let app = App {
            id: environment.app_id.clone(),
            organization_id: parse(&row.app_organization_id)?,
            space_id: parse(&row.app_space_id)?,
            name: parse(&row.app_name)?,
            created_at: Timestamp(row.app_created_at),
        };
        Ok((environment, app))
    }
}

pub async fn insert(tx: &mut Tx, environment: &Environment) -> Result<()> {
    const SQL: &str = "INSERT INTO environments (id, app_id, name, branch, spec, generation, status, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (spec, status) = (json(&environment.spec)?, json(&environment.status)?);
    touched!(tx, c => sqlx::query(SQL)
        .bind(environment.id.as_str())
        .bind(environment.app_id.as_str())
        .bind(environment.name.as_str())
        .bind(environment.branch.as_str())
        .bind(spec.as_str())
        .bind(environment.generation)
        .bind(status.as_str())
        .bind(environment.created_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &EnvironmentId) -> Result<Option<Environment>> {
    const SQL: &str = concat!(
        "SELECT e.* FROM environments e JOIN apps a ON a.id = e.app_id WHERE e.id = $2 AND ",
        sees_app!("$1", "a")
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

/// Oldest first.
pub async fn of_app(tx: &mut Tx, scope: &Scope, app: &AppId) -> Result<Vec<Environment>> {
    const SQL: &str = concat!(
        "SELECT e.* FROM environments e JOIN apps a ON a.id = e.app_id WHERE e.app_id = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY e.created_at, e.id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(app.as_str()).fetch_all(c))?)
}

pub async fn find_by_name(
    tx: &mut Tx,
    scope: &Scope,
    app: &AppId,
    name: &EnvironmentName,
) -> Result<Option<Environment>> {
    const SQL: &str = concat!(
        "SELECT e.* FROM environments e JOIN apps a ON a.id = e.app_id WHERE e.app_id = $2 AND e.name = $3 AND ",
        sees_app!("$1", "a")
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(app.as_str())
        .bind(name.as_str())
        .fetch_optional(c))?)
}

/// What the converger looks after.
pub async fn all(tx: &mut Tx) -> Result<Vec<(Environment, App)>> {
    const SQL: &str = "SELECT e.*, a.organization_id AS app_organization_id, a.space_id AS app_space_id,
            a.name AS app_name, a.created_at AS app_created_at
        FROM environments e JOIN apps a ON a.id = e.app_id ORDER BY e.id";
    many(on!(tx, c => sqlx::query_as::<_, WithApp>(SQL).fetch_all(c))?)
}

/// `false`: somebody else wrote since `expected_generation` was read.
pub async fn write_spec(
    tx: &mut Tx,
    id: &EnvironmentId,
    expected_generation: i64,
    spec: &EnvironmentSpec,
) -> Result<bool> {
    const SQL: &str = "UPDATE environments SET spec = $3, generation = generation + 1
        WHERE id = $1 AND generation = $2";
    let spec = json(spec)?;
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(expected_generation)
        .bind(spec.as_str())
        .execute(c))?
        == 1)
}

/// `false`: the environment is gone.
pub async fn write_status(tx: &mut Tx, id: &EnvironmentId, status: &EnvironmentStatus) -> Result<bool> {
    const SQL: &str = "UPDATE environments SET status = $2 WHERE id = $1";
    let status = json(status)?;
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(status.as_str()).execute(c))? == 1)
}

/// With all that belongs to it: variables, releases, deployments, routes.
pub async fn delete(tx: &mut Tx, scope: &Scope, id: &EnvironmentId) -> Result<bool> {
    const SQL: &str = concat!(
        "DELETE FROM environments WHERE id = $2 AND EXISTS (SELECT 1 FROM apps a WHERE a.id = environments.app_id AND ",
        sees_app!("$1", "a"),
        ")"
    );
    Ok(touched!(tx, c => sqlx::query(SQL).bind(viewer(scope)).bind(id.as_str()).execute(c))? == 1)
}

pub async fn set_branch(tx: &mut Tx, id: &EnvironmentId, branch: &BranchName) -> Result<()> {
    const SQL: &str = "UPDATE environments SET branch = $2 WHERE id = $1";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(branch.as_str()).execute(c))?;
    Ok(())
}

/// Until the end of the transaction nobody else who asks for it gets past here: what is read after it, in whichever
/// database, is what such another has written. `false`: there is no such environment.
pub async fn hold(tx: &mut Tx, id: &EnvironmentId) -> Result<bool> {
    const SQL: &str = "UPDATE environments SET generation = generation WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))? == 1)
}
