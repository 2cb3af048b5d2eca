//! What was pushed to the repositories of apps. The rows are of an app that was found in the caller's scope.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_json, json, many, on, one, parse, parse_some, sees_app, text, touched, viewer};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, ContentDigest, Id, PushedBlob, PushedManifest, PushedTag, TagName};

#[derive(FromRow)]
struct BlobRow {
    digest: String,
    blob: String,
    bytes: i64,
    used_at: i64,
}

impl TryFrom<BlobRow> for PushedBlob {
    type Error = Error;
    fn try_from(row: BlobRow) -> Result<Self> {
        Ok(Self {
            digest: parse(&row.digest)?,
            blob: parse(&row.blob)?,
            bytes: row.bytes,
            used_at: Timestamp(row.used_at),
        })
    }
}

#[derive(FromRow)]
struct ManifestRow {
    digest: String,
    blob: String,
    bytes: i64,
    media_type: String,
    subject: Option<String>,
    facts: String,
    used_at: i64,
}

impl TryFrom<ManifestRow> for PushedManifest {
    type Error = Error;
    fn try_from(row: ManifestRow) -> Result<Self> {
        Ok(Self {
            digest: parse(&row.digest)?,
            blob: parse(&row.blob)?,
            bytes: row.bytes,
            media_type: row.media_type,
            subject: parse_some(row.subject.as_deref())?,
            facts: from_json(&row.facts)?,
            used_at: Timestamp(row.used_at),
        })
    }
}

#[derive(FromRow)]
struct TagRow {
    name: String,
    digest: String,
    moved_at: i64,
}

impl TryFrom<TagRow> for PushedTag {
    type Error = Error;
    fn try_from(row: TagRow) -> Result<Self> {
        Ok(Self { name: parse(&row.name)?, digest: parse(&row.digest)?, moved_at: Timestamp(row.moved_at) })
    }
}

/// One that is there is used again.
pub async fn put_blob(tx: &mut Tx, app: &AppId, blob: &PushedBlob) -> Result<()> {
    const SQL: &str = "INSERT INTO image_blobs (app_id, digest, blob, bytes, used_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (app_id, digest) DO UPDATE SET used_at = excluded.used_at";
    touched!(tx, c => sqlx::query(SQL)
        .bind(app.as_str())
        .bind(blob.digest.as_str())
        .bind(blob.blob.as_str())
        .bind(blob.bytes)
        .bind(blob.used_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn blob(tx: &mut Tx, app: &AppId, digest: &ContentDigest) -> Result<Option<PushedBlob>> {
    const SQL: &str = "SELECT * FROM image_blobs WHERE app_id = $1 AND digest = $2";
    one(on!(tx, c => sqlx::query_as::<_, BlobRow>(SQL).bind(app.as_str()).bind(digest.as_str()).fetch_optional(c))?)
}

/// Every app's, for the platform's own work; an app of the scope that has the blob.
pub async fn blob_anywhere(tx: &mut Tx, scope: &Scope, digest: &ContentDigest) -> Result<Option<PushedBlob>> {
    const SQL: &str = concat!(
        "SELECT b.* FROM image_blobs b JOIN apps a ON a.id = b.app_id WHERE b.digest = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY b.used_at DESC LIMIT 1"
    );
    one(on!(tx, c => sqlx::query_as::<_, BlobRow>(SQL)
        .bind(viewer(scope))
        .bind(digest.as_str())
        .fetch_optional(c))?)
}

pub async fn blobs(tx: &mut Tx, app: &AppId) -> Result<Vec<PushedBlob>> {
    const SQL: &str = "SELECT * FROM image_blobs WHERE app_id = $1 ORDER BY digest";
    many(on!(tx, c => sqlx::query_as::<_, BlobRow>(SQL).bind(app.as_str()).fetch_all(c))?)
}

/// `false`: it is not there.
pub async fn use_blob(tx: &mut Tx, app: &AppId, digest: &ContentDigest, at: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE image_blobs SET used_at = $3 WHERE app_id = $1 AND digest = $2";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(digest.as_str()).bind(at.0).execute(c))? == 1)
}

pub async fn delete_blob(tx: &mut Tx, app: &AppId, digest: &ContentDigest) -> Result<bool> {
    const SQL: &str = "DELETE FROM image_blobs WHERE app_id = $1 AND digest = $2";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(digest.as_str()).execute(c))? == 1)
}

/// `false`: somebody needed it since.
pub async fn expire_blob(tx: &mut Tx, app: &AppId, digest: &ContentDigest, before: Timestamp) -> Result<bool> {
    const SQL: &str = "DELETE FROM image_blobs WHERE app_id = $1 AND digest = $2 AND used_at < $3";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(digest.as_str()).bind(before.0).execute(c))? == 1)
}

/// One that is there is used again.
pub async fn put_manifest(tx: &mut Tx, app: &AppId, manifest: &PushedManifest) -> Result<()> {
    const SQL: &str = "INSERT INTO image_manifests (app_id, digest, blob, bytes, media_type, subject, facts, used_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (app_id, digest) DO UPDATE SET media_type = excluded.media_type, subject = excluded.subject,
            facts = excluded.facts, used_at = excluded.used_at";
    let (facts, media_type) = (json(&manifest.facts)?, text(&manifest.media_type));
    touched!(tx, c => sqlx::query(SQL)
        .bind(app.as_str())
        .bind(manifest.digest.as_str())
        .bind(manifest.blob.as_str())
        .bind(manifest.bytes)
        .bind(media_type.as_ref())
        .bind(manifest.subject.as_ref().map(ContentDigest::as_str))
        .bind(facts.as_str())
        .bind(manifest.used_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn manifest(tx: &mut Tx, app: &AppId, digest: &ContentDigest) -> Result<Option<PushedManifest>> {
    const SQL: &str = "SELECT * FROM image_manifests WHERE app_id = $1 AND digest = $2";
    one(on!(tx, c => sqlx::query_as::<_, ManifestRow>(SQL).bind(app.as_str()).bind(digest.as_str()).fetch_optional(c))?)
}

pub async fn manifests(tx: &mut Tx, app: &AppId) -> Result<Vec<PushedManifest>> {
    const SQL: &str = "SELECT * FROM image_manifests WHERE app_id = $1 ORDER BY digest";
    many(on!(tx, c => sqlx::query_as::<_, ManifestRow>(SQL).bind(app.as_str()).fetch_all(c))?)
}

pub async fn count_manifests(tx: &mut Tx, app: &AppId) -> Result<i64> {
    const SQL: &str = "SELECT count(*) FROM image_manifests WHERE app_id = $1";
    on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).bind(app.as_str()).fetch_one(c))
}

/// Those that say something of `subject`, by digest.
pub async fn referrers(tx: &mut Tx, app: &AppId, subject: &ContentDigest) -> Result<Vec<PushedManifest>> {
    const SQL: &str = "SELECT * FROM image_manifests WHERE app_id = $1 AND subject = $2 ORDER BY digest";
    many(on!(tx, c => sqlx::query_as::<_, ManifestRow>(SQL).bind(app.as_str()).bind(subject.as_str()).fetch_all(c))?)
}

/// `false`: it is not there.
pub async fn use_manifest(tx: &mut Tx, app: &AppId, digest: &ContentDigest, at: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE image_manifests SET used_at = $3 WHERE app_id = $1 AND digest = $2";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(digest.as_str()).bind(at.0).execute(c))? == 1)
}

/// Its tags go with it.
pub async fn delete_manifest(tx: &mut Tx, app: &AppId, digest: &ContentDigest) -> Result<bool> {
    const SQL: &str = "DELETE FROM image_manifests WHERE app_id = $1 AND digest = $2";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(digest.as_str()).execute(c))? == 1)
}

/// `false`: somebody needed it since, or a tag names it.
pub async fn expire_manifest(tx: &mut Tx, app: &AppId, digest: &ContentDigest, before: Timestamp) -> Result<bool> {
    const SQL: &str = "DELETE FROM image_manifests WHERE app_id = $1 AND digest = $2 AND used_at < $3 AND NOT EXISTS
        (SELECT 1 FROM image_tags t WHERE t.app_id = $1 AND t.digest = $2)";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(digest.as_str()).bind(before.0).execute(c))? == 1)
}

/// Conflict when the manifest is not there. What the tag named before counts as used until now.
pub async fn set_tag(tx: &mut Tx, app: &AppId, tag: &PushedTag) -> Result<()> {
    const LEFT: &str = "UPDATE image_manifests SET used_at = $3 WHERE app_id = $1 AND digest IN
        (SELECT t.digest FROM image_tags t WHERE t.app_id = $1 AND t.name = $2)";
    touched!(tx, c => sqlx::query(LEFT).bind(app.as_str()).bind(tag.name.as_str()).bind(tag.moved_at.0).execute(c))?;
    const SQL: &str = "INSERT INTO image_tags (app_id, name, digest, moved_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (app_id, name) DO UPDATE SET digest = excluded.digest, moved_at = excluded.moved_at";
    touched!(tx, c => sqlx::query(SQL)
        .bind(app.as_str())
        .bind(tag.name.as_str())
        .bind(tag.digest.as_str())
        .bind(tag.moved_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn tag(tx: &mut Tx, app: &AppId, name: &TagName) -> Result<Option<PushedTag>> {
    const SQL: &str = "SELECT * FROM image_tags WHERE app_id = $1 AND name = $2";
    one(on!(tx, c => sqlx::query_as::<_, TagRow>(SQL).bind(app.as_str()).bind(name.as_str()).fetch_optional(c))?)
}

/// In no order: the databases do not agree on one.
pub async fn tags(tx: &mut Tx, app: &AppId) -> Result<Vec<PushedTag>> {
    const SQL: &str = "SELECT * FROM image_tags WHERE app_id = $1";
    many(on!(tx, c => sqlx::query_as::<_, TagRow>(SQL).bind(app.as_str()).fetch_all(c))?)
}

/// What it named counts as used until now. `false`: it is not there.
pub async fn delete_tag(tx: &mut Tx, app: &AppId, name: &TagName, at: Timestamp) -> Result<bool> {
    const LEFT: &str = "UPDATE image_manifests SET used_at = $3 WHERE app_id = $1 AND digest IN
        (SELECT t.digest FROM image_tags t WHERE t.app_id = $1 AND t.name = $2)";
    touched!(tx, c => sqlx::query(LEFT).bind(app.as_str()).bind(name.as_str()).bind(at.0).execute(c))?;
    const SQL: &str = "DELETE FROM image_tags WHERE app_id = $1 AND name = $2";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(app.as_str()).bind(name.as_str()).execute(c))? == 1)
}

/// Of all that was pushed to the app.
pub async fn bytes(tx: &mut Tx, app: &AppId) -> Result<i64> {
    const SQL: &str = "SELECT CAST(COALESCE(sum(n), 0) AS BIGINT) FROM (
        SELECT bytes AS n FROM image_blobs WHERE app_id = $1
        UNION ALL SELECT bytes AS n FROM image_manifests WHERE app_id = $1) AS pushed";
    on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).bind(app.as_str()).fetch_one(c))
}

/// Those to which something was pushed.
pub async fn apps(tx: &mut Tx) -> Result<Vec<AppId>> {
    const SQL: &str = "SELECT app_id FROM image_blobs UNION SELECT app_id FROM image_manifests ORDER BY 1";
    let ids = on!(tx, c => sqlx::query_scalar::<_, String>(SQL).fetch_all(c))?;
    ids.iter().map(|id| parse(id)).collect()
}

/// All that the blob store holds for the repositories, with the app that it is of.
pub async fn kept(tx: &mut Tx) -> Result<Vec<(AppId, ContentDigest)>> {
    const SQL: &str = "SELECT app_id, blob FROM image_blobs UNION SELECT app_id, blob FROM image_manifests";
    let rows = on!(tx, c => sqlx::query_as::<_, (String, String)>(SQL).fetch_all(c))?;
    rows.iter().map(|(app, blob)| Ok((parse(app)?, parse(blob)?))).collect()
}
