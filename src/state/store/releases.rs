//! Releases: written once, never changed; but that their image is given up is noted.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{
    from_json, from_word, json, many, on, one, parse, parse_some, sees_app, text, touched, viewer, word,
};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, EnvironmentId, Id, ImageDigest, Release, ReleaseId};

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: String,
    number: i64,
    build_id: Option<String>,
    commit_id: Option<String>,
    image: String,
    processes: String,
    variables_version: i64,
    formation: String,
    hosts: String,
    manifest: String,
    checks: String,
    sizes: String,
    mounts: String,
    scaling: String,
    kind: String,
    description: String,
    created_by: Option<String>,
    created_at: i64,
    image_gone_at: Option<i64>,
}

impl TryFrom<Row> for Release {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse(&row.environment_id)?,
            number: row.number,
            build_id: parse_some(row.build_id.as_deref())?,
            commit: row.commit_id,
            image: parse(&row.image)?,
            processes: from_json(&row.processes)?,
            variables_version: row.variables_version,
            formation: from_json(&row.formation)?,
            hosts: from_json(&row.hosts)?,
            manifest: from_json(&row.manifest)?,
            checks: from_json(&row.checks)?,
            sizes: from_json(&row.sizes)?,
            mounts: from_json(&row.mounts)?,
            scaling: from_json(&row.scaling)?,
            kind: from_word(&row.kind)?,
            description: row.description,
            created_by: parse_some(row.created_by.as_deref())?,
            created_at: Timestamp(row.created_at),
            image_gone_at: row.image_gone_at.map(Timestamp),
        })
    }
}

/// Exists when the environment has a release of this number. Its image is there again for earlier releases, too.
pub async fn insert(tx: &mut Tx, release: &Release) -> Result<()> {
    const SQL: &str = "INSERT INTO releases (id, environment_id, number, build_id, commit_id, image, processes,
            variables_version, formation, hosts, manifest, checks, kind, description, created_by, created_at, sizes, mounts,
            scaling)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
    let (processes, formation) = (json(&release.processes)?, json(&release.formation)?);
    let (hosts, manifest, description) = (json(&release.hosts)?, json(&release.manifest)?, text(&release.description));
    let (checks, kind) = (json(&release.checks)?, word(&release.kind)?);
    let (sizes, mounts, scaling) = (json(&release.sizes)?, json(&release.mounts)?, json(&release.scaling)?);
    touched!(tx, c => sqlx::query(SQL)
        .bind(release.id.as_str())
        .bind(release.environment_id.as_str())
        .bind(release.number)
        .bind(release.build_id.as_ref().map(Id::as_str))
        .bind(release.commit.as_deref())
        .bind(release.image.as_str())
        .bind(processes.as_str())
        .bind(release.variables_version)
        .bind(formation.as_str())
        .bind(hosts.as_str())
        .bind(manifest.as_str())
        .bind(checks.as_str())
        .bind(kind.as_str())
        .bind(description.as_ref())
        .bind(release.created_by.as_ref().map(Id::as_str))
        .bind(release.created_at.0)
        .bind(sizes.as_str())
        .bind(mounts.as_str())
        .bind(scaling.as_str())
        .execute(c))?;
    const AGAIN: &str = "UPDATE releases SET image_gone_at = NULL
        WHERE environment_id = $1 AND image = $2 AND image_gone_at IS NOT NULL";
    touched!(tx, c => sqlx::query(AGAIN)
        .bind(release.environment_id.as_str())
        .bind(release.image.as_str())
        .execute(c))?;
    Ok(())
}

/// Newest first, those whose image is kept.
pub async fn with_image(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<Release>> {
    const SQL: &str = "SELECT * FROM releases WHERE environment_id = $1 AND image_gone_at IS NULL
        ORDER BY number DESC";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_all(c))?)
}

/// `false`: it was given up before.
pub async fn give_up_image(tx: &mut Tx, id: &ReleaseId, at: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE releases SET image_gone_at = $2 WHERE id = $1 AND image_gone_at IS NULL";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(at.0).execute(c))? == 1)
}

/// Every image that a release keeps, with the app that it is of.
pub async fn kept_images(tx: &mut Tx) -> Result<Vec<(AppId, ImageDigest)>> {
    const SQL: &str = "SELECT DISTINCT e.app_id, r.image FROM releases r JOIN environments e ON e.id = r.environment_id
        WHERE r.image_gone_at IS NULL ORDER BY e.app_id, r.image";
    let rows = on!(tx, c => sqlx::query_as::<_, (String, String)>(SQL).fetch_all(c))?;
    rows.iter().map(|(app, image)| Ok((parse(app)?, parse(image)?))).collect()
}

/// Those that deployments and commands under way are of.
pub async fn under_way(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<ReleaseId>> {
    const SQL: &str = "SELECT release_id FROM deployments
            WHERE environment_id = $1 AND release_id IS NOT NULL AND state = 'running'
        UNION SELECT release_id FROM commands
            WHERE environment_id = $1 AND release_id IS NOT NULL AND state IN ('queued', 'running')";
    let ids = on!(tx, c => sqlx::query_scalar::<_, String>(SQL).bind(environment.as_str()).fetch_all(c))?;
    ids.iter().map(|id| parse(id)).collect()
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &ReleaseId) -> Result<Option<Release>> {
    const SQL: &str = concat!(
        "SELECT r.* FROM releases r JOIN environments e ON e.id = r.environment_id JOIN apps a ON a.id = e.app_id
         WHERE r.id = $2 AND ",
        sees_app!("$1", "a")
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn by_number(tx: &mut Tx, environment: &EnvironmentId, number: i64) -> Result<Option<Release>> {
    const SQL: &str = "SELECT * FROM releases WHERE environment_id = $1 AND number = $2";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).bind(number).fetch_optional(c))?)
}

/// Newest first, below the number `before`.
pub async fn list(tx: &mut Tx, environment: &EnvironmentId, before: Option<i64>, limit: i64) -> Result<Vec<Release>> {
    const SQL: &str = "SELECT * FROM releases WHERE environment_id = $1 AND number < $2
        ORDER BY number DESC LIMIT $3";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(environment.as_str())
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(c))?)
}

/// The number that the next release gets, if it is inserted in the same transaction.
pub async fn next_number(tx: &mut Tx, environment: &EnvironmentId) -> Result<i64> {
    const SQL: &str = "SELECT COALESCE(max(number), 0) + 1 FROM releases WHERE environment_id = $1";
    on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).bind(environment.as_str()).fetch_one(c))
}
