//! Volumes: live ones of an environment, and tombstones, which may have none any more.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, one, parse, parse_some, text, touched, viewer, word};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, Id, SpaceId, Volume, VolumeId, VolumeName};

/// True when the user bound as `$1` has a membership at the volume's organization, its space, or the app that has it.
/// NULL is the platform, which sees everything; an app's id sees what that app has.
macro_rules! sees_volume {
    () => {
        "($1 IS NULL OR e.app_id = $1 OR EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = $1
            AND (m.organization_id = v.organization_id OR m.space_id = v.space_id OR m.app_id = e.app_id)))"
    };
}

#[derive(FromRow)]
struct Row {
    id: String,
    organization_id: String,
    space_id: String,
    environment_id: Option<String>,
    name: String,
    shared: bool,
    origin: String,
    state: String,
    created_at: i64,
    destroyed_at: Option<i64>,
    kept_until: Option<i64>,
}

impl TryFrom<Row> for Volume {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            organization_id: parse(&row.organization_id)?,
            space_id: parse(&row.space_id)?,
            environment_id: parse_some(row.environment_id.as_deref())?,
            name: parse(&row.name)?,
            shared: row.shared,
            origin: row.origin,
            state: from_word(&row.state)?,
            created_at: Timestamp(row.created_at),
            destroyed_at: row.destroyed_at.map(Timestamp),
            kept_until: row.kept_until.map(Timestamp),
        })
    }
}

/// Exists when the environment has a live volume of this name.
pub async fn insert(tx: &mut Tx, volume: &Volume) -> Result<()> {
    const SQL: &str = "INSERT INTO volumes (id, organization_id, space_id, environment_id, name, shared, origin, state,
            created_at, destroyed_at, kept_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let (state, origin) = (word(&volume.state)?, text(&volume.origin));
    touched!(tx, c => sqlx::query(SQL)
        .bind(volume.id.as_str())
        .bind(volume.organization_id.as_str())
        .bind(volume.space_id.as_str())
        .bind(volume.environment_id.as_ref().map(Id::as_str))
        .bind(volume.name.as_str())
        .bind(volume.shared)
        .bind(origin.as_ref())
        .bind(state.as_str())
        .bind(volume.created_at.0)
        .bind(volume.destroyed_at.map(|at| at.0))
        .bind(volume.kept_until.map(|at| at.0))
        .execute(c))?;
    Ok(())
}

/// Live ones and tombstones, by name, the newest of a name first.
pub async fn of_environment(tx: &mut Tx, scope: &Scope, environment: &EnvironmentId) -> Result<Vec<Volume>> {
    const SQL: &str = concat!(
        "SELECT v.* FROM volumes v JOIN environments e ON e.id = v.environment_id
         WHERE v.environment_id = $2 AND v.state <> 'purging' AND ",
        sees_volume!(),
        " ORDER BY v.name, v.created_at DESC, v.id DESC"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(environment.as_str()).fetch_all(c))?)
}

/// Of the environment, and live.
pub async fn find_live(tx: &mut Tx, environment: &EnvironmentId, name: &VolumeName) -> Result<Option<Volume>> {
    const SQL: &str = "SELECT * FROM volumes WHERE environment_id = $1 AND name = $2 AND state = 'live'";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(environment.as_str())
        .bind(name.as_str())
        .fetch_optional(c))?)
}

/// Tombstones, those without an environment included; the ones that go first are first.
pub async fn destroyed(tx: &mut Tx, scope: &Scope) -> Result<Vec<Volume>> {
    const SQL: &str = concat!(
        "SELECT v.* FROM volumes v LEFT JOIN environments e ON e.id = v.environment_id
         WHERE v.state = 'destroyed' AND ",
        sees_volume!(),
        " ORDER BY v.kept_until, v.id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).fetch_all(c))?)
}

pub async fn count_live(tx: &mut Tx, environment: &EnvironmentId) -> Result<i64> {
    const SQL: &str = "SELECT count(*) FROM volumes WHERE environment_id = $1 AND state = 'live'";
    on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).bind(environment.as_str()).fetch_one(c))
}

/// `false`: it is not live.
pub async fn destroy(tx: &mut Tx, id: &VolumeId, at: Timestamp, until: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE volumes SET state = 'destroyed', destroyed_at = $2, kept_until = $3
        WHERE id = $1 AND state = 'live'";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(at.0).bind(until.0).execute(c))? == 1)
}

/// Those whose environment went away become tombstones; how many.
pub async fn bury(tx: &mut Tx, at: Timestamp, until: Timestamp) -> Result<u64> {
    const SQL: &str = "UPDATE volumes SET state = 'destroyed', destroyed_at = $1, kept_until = $2
        WHERE environment_id IS NULL AND state = 'live'";
    touched!(tx, c => sqlx::query(SQL).bind(at.0).bind(until.0).execute(c))
}

/// Live again, there and under that name. `false`: it is no tombstone any more. Exists when the name is taken.
pub async fn restore(
    tx: &mut Tx,
    id: &VolumeId,
    (space, environment): (&SpaceId, &EnvironmentId),
    name: &VolumeName,
    origin: &str,
) -> Result<bool> {
    const SQL: &str = "UPDATE volumes SET state = 'live', destroyed_at = NULL, kept_until = NULL, space_id = $2,
            environment_id = $3, name = $4, origin = $5
        WHERE id = $1 AND state = 'destroyed'";
    let origin = text(origin);
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(space.as_str())
        .bind(environment.as_str())
        .bind(name.as_str())
        .bind(origin.as_ref())
        .execute(c))?
        == 1)
}

/// Takes the way back from those that were kept long enough, and gives all whose data is to be removed.
pub async fn begin_purge(tx: &mut Tx, now: Timestamp) -> Result<Vec<Volume>> {
    const MARK: &str = "UPDATE volumes SET state = 'purging' WHERE state = 'destroyed' AND kept_until <= $1";
    const SQL: &str = "SELECT * FROM volumes WHERE state = 'purging' ORDER BY id";
    touched!(tx, c => sqlx::query(MARK).bind(now.0).execute(c))?;
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).fetch_all(c))?)
}

/// Its data is gone.
pub async fn end_purge(tx: &mut Tx, id: &VolumeId) -> Result<bool> {
    const SQL: &str = "DELETE FROM volumes WHERE id = $1 AND state = 'purging'";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))? == 1)
}
