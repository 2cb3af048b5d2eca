//! Events: only ever added, and purged by age and number. Ids sort by time; within one transaction of SQLite also by
//! commit, on PostgreSQL only nearly, so who follows looks a little back.

use sqlx::FromRow;

use super::dialect::{json, many, on, one, parse, parse_some, sees_app, text, touched, viewer};
use super::{Tx, webhooks};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, EnvironmentId, Event, EventId, Happened, Id, UserId};

/// Where an event belongs; what is gone meanwhile gets no event.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    App(&'a AppId),
    Environment(&'a EnvironmentId),
}

/// An event before it has an id.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    pub at: Timestamp,
    pub of: Subject<'a>,
    pub happened: Happened,
    pub subject: String,
    pub actor: Option<&'a UserId>,
    /// `once` of the event that brought this one about.
    pub cause: Option<String>,
    /// Names what is told one time only, on the whole platform; none may be told again.
    pub once: Option<String>,
}

#[derive(FromRow)]
struct Row {
    id: String,
    at: i64,
    app_id: String,
    environment_id: Option<String>,
    kind: String,
    subject: String,
    actor: Option<String>,
    actor_name: Option<String>,
    cause: Option<String>,
    document: String,
}

impl TryFrom<Row> for Event {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        let document: serde_json::Value = serde_json::from_str(&row.document).map_err(Error::internal)?;
        let stored = serde_json::json!({ "kind": row.kind, "document": document });
        Ok(Self {
            id: parse(&row.id)?,
            at: Timestamp(row.at),
            app_id: parse(&row.app_id)?,
            environment_id: parse_some(row.environment_id.as_deref())?,
            happened: serde_json::from_value(stored).map_err(Error::internal)?,
            subject: row.subject,
            actor: parse_some(row.actor.as_deref())?,
            actor_name: parse_some(row.actor_name.as_deref())?,
            cause: parse_some(row.cause.as_deref())?,
        })
    }
}

/// `false`: it was told before, or what it is about is gone.
pub async fn insert(tx: &mut Tx, new: &NewEvent<'_>) -> Result<bool> {
    const OF_APP: &str =
        "INSERT INTO events (id, at, app_id, environment_id, kind, subject, actor, cause, once, document)
        SELECT $1, $2, a.id, NULL, $4, $5, $6, (SELECT c.id FROM events c WHERE c.once = $7), $8, $9
        FROM apps a WHERE a.id = $3 ON CONFLICT (once) DO NOTHING";
    const OF_ENVIRONMENT: &str =
        "INSERT INTO events (id, at, app_id, environment_id, kind, subject, actor, cause, once, document)
        SELECT $1, $2, e.app_id, e.id, $4, $5, $6, (SELECT c.id FROM events c WHERE c.once = $7), $8, $9
        FROM environments e WHERE e.id = $3 ON CONFLICT (once) DO NOTHING";
    let (sql, of) = match new.of {
        Subject::App(id) => (OF_APP, id.as_str()),
        Subject::Environment(id) => (OF_ENVIRONMENT, id.as_str()),
    };
    let id = EventId::fresh();
    let stored = serde_json::to_value(&new.happened).map_err(Error::internal)?;
    let document = json(&stored["document"])?;
    let document = text(&document);
    let subject = text(&new.subject);
    let told = touched!(tx, c => sqlx::query(sql)
        .bind(id.as_str())
        .bind(new.at.0)
        .bind(of)
        .bind(new.happened.kind())
        .bind(&*subject)
        .bind(new.actor.map(Id::as_str))
        .bind(new.cause.as_deref())
        .bind(new.once.as_deref())
        .bind(&*document)
        .execute(c))?
        == 1;
    if told {
        webhooks::address(tx, &id, new.happened.kind(), new.at).await?;
    }
    Ok(told)
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT v.id, v.at, v.app_id, v.environment_id, v.kind, v.subject, v.actor, u.name AS actor_name, v.cause,
                v.document
             FROM events v JOIN apps a ON a.id = v.app_id LEFT JOIN users u ON u.id = v.actor
             WHERE ($2 IS NULL OR v.app_id = $2) AND ($3 IS NULL OR v.environment_id = $3 OR v.environment_id IS NULL)
                AND ",
            sees_app!("$1", "a"),
            $rest
        )
    };
}

/// Which events: of all apps, of one, or of one environment of it (with those of the app as a whole).
#[derive(Debug, Clone, Default)]
pub struct Of {
    pub app: Option<AppId>,
    pub environment: Option<EnvironmentId>,
}

/// None: there is no such event of the app, or it is not seen.
pub async fn find(tx: &mut Tx, scope: &Scope, app: &AppId, id: &EventId) -> Result<Option<Event>> {
    const SQL: &str = select!(" AND v.id = $4");
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(app.as_str())
        .bind(None::<&str>)
        .bind(id.as_str())
        .fetch_optional(c))?)
}

/// Newest first, older than `before`.
pub async fn newest(tx: &mut Tx, scope: &Scope, of: &Of, before: Option<&EventId>, limit: i64) -> Result<Vec<Event>> {
    const SQL: &str = select!(" AND ($4 IS NULL OR v.id < $4) ORDER BY v.id DESC LIMIT $5");
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(of.app.as_ref().map(Id::as_str))
        .bind(of.environment.as_ref().map(Id::as_str))
        .bind(before.map(Id::as_str))
        .bind(limit)
        .fetch_all(c))?)
}

/// Oldest first, later than `after`.
pub async fn since(tx: &mut Tx, scope: &Scope, of: &Of, after: Option<&EventId>, limit: i64) -> Result<Vec<Event>> {
    const SQL: &str = select!(" AND ($4 IS NULL OR v.id > $4) ORDER BY v.id LIMIT $5");
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(of.app.as_ref().map(Id::as_str))
        .bind(of.environment.as_ref().map(Id::as_str))
        .bind(after.map(Id::as_str))
        .bind(limit)
        .fetch_all(c))?)
}

/// The last thing that was said of the route of each environment, for who goes on telling.
pub async fn last_routes(tx: &mut Tx) -> Result<Vec<Event>> {
    const SQL: &str = "SELECT v.id, v.at, v.app_id, v.environment_id, v.kind, v.subject, v.actor, NULL AS actor_name,
            v.cause, v.document
        FROM events v JOIN (SELECT max(w.id) AS id FROM events w
            WHERE w.kind IN ('route.published', 'route.withdrawn') GROUP BY w.environment_id) last ON last.id = v.id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).fetch_all(c))?)
}

/// Removes what is older than `before`, and of each app all but the newest `most`; how many that were.
pub async fn purge(tx: &mut Tx, before: Timestamp, most: i64) -> Result<u64> {
    const OLD: &str = "DELETE FROM events WHERE at < $1";
    const MANY: &str = "DELETE FROM events WHERE id IN (SELECT v.id FROM
        (SELECT id, row_number() OVER (PARTITION BY app_id ORDER BY id DESC) AS place FROM events) v
        WHERE v.place > $1)";
    let old = touched!(tx, c => sqlx::query(OLD).bind(before.0).execute(c))?;
    Ok(old + touched!(tx, c => sqlx::query(MANY).bind(most).execute(c))?)
}
