//! Webhooks and their deliveries. A delivery is written with its event, in one transaction, so that none is forgotten;
//! who sends it claims it for a time, so that a claim that a crash left behind ends by itself.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, one, parse, parse_some, sees_app, text, touched, viewer, word};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, Delivery, DeliveryState, EventId, Id, Webhook, WebhookId};

#[derive(FromRow)]
struct Row {
    id: String,
    app_id: String,
    environment_id: Option<String>,
    kinds: String,
    shown: String,
    created_at: i64,
}

#[derive(FromRow)]
struct Sealed {
    #[sqlx(flatten)]
    row: Row,
    sealed: Vec<u8>,
}

impl TryFrom<Row> for Webhook {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        let Ok(kinds) = row.kinds.parse();
        Ok(Self {
            id: parse(&row.id)?,
            app_id: parse(&row.app_id)?,
            environment_id: parse_some(row.environment_id.as_deref())?,
            kinds,
            shown: row.shown,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl TryFrom<Sealed> for (Webhook, Vec<u8>) {
    type Error = Error;
    fn try_from(row: Sealed) -> Result<Self> {
        Ok((Webhook::try_from(row.row)?, row.sealed))
    }
}

#[derive(FromRow)]
struct DeliveryRow {
    webhook_id: String,
    event_id: String,
    state: String,
    attempts: i64,
    due_at: i64,
    reason: Option<String>,
    finished_at: Option<i64>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;
    fn try_from(row: DeliveryRow) -> Result<Self> {
        Ok(Self {
            webhook_id: parse(&row.webhook_id)?,
            event_id: parse(&row.event_id)?,
            state: from_word(&row.state)?,
            attempts: row.attempts,
            due_at: Timestamp(row.due_at),
            reason: row.reason,
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

pub async fn insert(tx: &mut Tx, webhook: &Webhook, sealed: &[u8]) -> Result<()> {
    const SQL: &str = "INSERT INTO webhooks (id, app_id, environment_id, kinds, shown, sealed, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let kinds = webhook.kinds.to_string();
    touched!(tx, c => sqlx::query(SQL)
        .bind(webhook.id.as_str())
        .bind(webhook.app_id.as_str())
        .bind(webhook.environment_id.as_ref().map(Id::as_str))
        .bind(kinds.as_str())
        .bind(webhook.shown.as_str())
        .bind(sealed)
        .bind(webhook.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Oldest first.
pub async fn of_app(tx: &mut Tx, scope: &Scope, app: &AppId) -> Result<Vec<Webhook>> {
    const SQL: &str = concat!(
        "SELECT w.id, w.app_id, w.environment_id, w.kinds, w.shown, w.created_at
         FROM webhooks w JOIN apps a ON a.id = w.app_id WHERE w.app_id = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY w.created_at, w.id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(app.as_str()).fetch_all(c))?)
}

/// `false`: the app has no such webhook, or is not seen.
pub async fn delete(tx: &mut Tx, scope: &Scope, app: &AppId, id: &WebhookId) -> Result<bool> {
    const SQL: &str = concat!(
        "DELETE FROM webhooks WHERE id = $3 AND app_id = $2 AND EXISTS (SELECT 1 FROM apps a WHERE a.id = $2 AND ",
        sees_app!("$1", "a"),
        ")"
    );
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(viewer(scope))
        .bind(app.as_str())
        .bind(id.as_str())
        .execute(c))?
        == 1)
}

/// With what it is sent along; for who sends.
pub async fn sealed(tx: &mut Tx, id: &WebhookId) -> Result<Option<(Webhook, Vec<u8>)>> {
    const SQL: &str = "SELECT id, app_id, environment_id, kinds, shown, created_at, sealed FROM webhooks WHERE id = $1";
    one(on!(tx, c => sqlx::query_as::<_, Sealed>(SQL).bind(id.as_str()).fetch_optional(c))?)
}

/// A new event goes to every webhook that asks for its kind.
pub(super) async fn address(tx: &mut Tx, event: &EventId, kind: &str, now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO deliveries (webhook_id, event_id, state, attempts, due_at)
        SELECT w.id, v.id, 'waiting', 0, $2 FROM events v JOIN webhooks w ON w.app_id = v.app_id
        WHERE v.id = $1 AND (w.environment_id IS NULL OR w.environment_id = v.environment_id)
            AND (w.kinds = '' OR w.kinds LIKE $3 OR w.kinds LIKE $4)";
    let group = kind.split_once('.').map_or(kind, |(group, _)| group);
    let (exact, group) = (format!("% {kind} %"), format!("% {group}.* %"));
    touched!(tx, c => sqlx::query(SQL)
        .bind(event.as_str())
        .bind(now.0)
        .bind(exact.as_str())
        .bind(group.as_str())
        .execute(c))?;
    Ok(())
}

/// What of a claim is asked for: at most `each` of one webhook and `most` in all, none of the webhooks in `but`.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    pub each: i64,
    pub most: usize,
    pub but: &'a [WebhookId],
}

/// What is due, oldest first; due again at `until` unless its end is noted before.
pub async fn claim(tx: &mut Tx, now: Timestamp, until: Timestamp, share: Share<'_>) -> Result<Vec<Delivery>> {
    const DUE: &str = "SELECT d.webhook_id, d.event_id, d.state, d.attempts, d.due_at, d.reason, d.finished_at
        FROM (SELECT o.*, row_number() OVER (PARTITION BY o.webhook_id ORDER BY o.due_at, o.event_id) AS place
            FROM deliveries o WHERE o.state = 'waiting' AND o.due_at <= $1) d
        WHERE d.place <= $2 ORDER BY d.due_at, d.event_id LIMIT 1000";
    const CLAIM: &str = "UPDATE deliveries SET due_at = $4, attempts = attempts + 1
        WHERE webhook_id = $1 AND event_id = $2 AND state = 'waiting' AND due_at = $3";
    let due: Vec<Delivery> = many(on!(tx, c => sqlx::query_as::<_, DeliveryRow>(DUE)
        .bind(now.0)
        .bind(share.each)
        .fetch_all(c))?)?;
    let mut claimed = Vec::new();
    for delivery in due.into_iter().filter(|d| !share.but.contains(&d.webhook_id)).take(share.most) {
        let mine = touched!(tx, c => sqlx::query(CLAIM)
            .bind(delivery.webhook_id.as_str())
            .bind(delivery.event_id.as_str())
            .bind(delivery.due_at.0)
            .bind(until.0)
            .execute(c))?;
        if mine == 1 {
            claimed.push(Delivery { due_at: until, attempts: delivery.attempts + 1, ..delivery });
        }
    }
    Ok(claimed)
}

/// When the next delivery is due, if any waits.
pub async fn next_due(tx: &mut Tx) -> Result<Option<Timestamp>> {
    const SQL: &str = "SELECT min(due_at) FROM deliveries WHERE state = 'waiting'";
    let due: Option<i64> = on!(tx, c => sqlx::query_scalar(SQL).fetch_one(c))?;
    Ok(due.map(Timestamp))
}

/// What came of a claimed attempt; nothing when somebody asked for it again meanwhile.
pub async fn note(tx: &mut Tx, after: &Delivery, claimed_until: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE deliveries SET state = $4, due_at = $5, reason = $6, finished_at = $7
        WHERE webhook_id = $1 AND event_id = $2 AND state = 'waiting' AND due_at = $3";
    let (state, reason) = (word(&after.state)?, after.reason.as_deref().map(text));
    touched!(tx, c => sqlx::query(SQL)
        .bind(after.webhook_id.as_str())
        .bind(after.event_id.as_str())
        .bind(claimed_until.0)
        .bind(state.as_str())
        .bind(after.due_at.0)
        .bind(reason.as_deref())
        .bind(after.finished_at.map(|at| at.0))
        .execute(c))?;
    Ok(())
}

/// Newest event first, older than `before`.
pub async fn deliveries(tx: &mut Tx, id: &WebhookId, before: Option<&EventId>, limit: i64) -> Result<Vec<Delivery>> {
    const SQL: &str = "SELECT webhook_id, event_id, state, attempts, due_at, reason, finished_at FROM deliveries
        WHERE webhook_id = $1 AND ($2 IS NULL OR event_id < $2) ORDER BY event_id DESC LIMIT $3";
    many(on!(tx, c => sqlx::query_as::<_, DeliveryRow>(SQL)
        .bind(id.as_str())
        .bind(before.map(Id::as_str))
        .bind(limit)
        .fetch_all(c))?)
}

/// The event is sent to the webhook from the start, also one that never was.
pub async fn replay(tx: &mut Tx, id: &WebhookId, event: &EventId, now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO deliveries (webhook_id, event_id, state, attempts, due_at)
        VALUES ($1, $2, 'waiting', 0, $3)
        ON CONFLICT (webhook_id, event_id) DO UPDATE
        SET state = 'waiting', attempts = 0, due_at = $3, reason = NULL, finished_at = NULL";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(event.as_str()).bind(now.0).execute(c))?;
    Ok(())
}

/// As [`replay`] for all that failed; how many that were.
pub async fn replay_failed(tx: &mut Tx, id: &WebhookId, now: Timestamp) -> Result<u64> {
    const SQL: &str = "UPDATE deliveries
        SET state = 'waiting', attempts = 0, due_at = $2, reason = NULL, finished_at = NULL
        WHERE webhook_id = $1 AND state = 'failed'";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(now.0).execute(c))
}

/// How many deliveries of each webhook of the app wait and have failed.
pub async fn standing(tx: &mut Tx, app: &AppId) -> Result<Vec<(WebhookId, DeliveryState, i64)>> {
    const SQL: &str = "SELECT d.webhook_id, d.state, count(*) FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
        WHERE w.app_id = $1 AND d.state <> 'delivered' GROUP BY d.webhook_id, d.state";
    let rows: Vec<(String, String, i64)> = on!(tx, c => sqlx::query_as(SQL).bind(app.as_str()).fetch_all(c))?;
    rows.into_iter().map(|(id, state, count)| Ok((parse(&id)?, from_word(&state)?, count))).collect()
}
