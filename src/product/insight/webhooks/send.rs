//! Sends what webhooks wait for. Each attempt is claimed in the store first, so that two servers do not send one thing
//! at once and a crash leaves a claim that runs out: an event arrives at least once, and a receiver that saw it before
//! knows it by its id.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Hidden, bound_to};
use crate::base::access::Scope;
use crate::base::error::{Error, Result};
use crate::base::model::{App, Delivery, DeliveryState, Event, Id, OutboundUrl, WebhookId};
use crate::machinery::outbound::{Guard, Key, Message, OutboundError, post};
use crate::product::Ctx;
use crate::state::store::webhooks::{self as rows, Share};
use crate::state::store::{apps, events};

/// The pause after each attempt that failed, in seconds; two days in all.
const PAUSES: [i64; 10] = [5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400];
/// Longer than an attempt may take.
const CLAIM_MILLIS: i64 = 60_000;
/// The net under the signal.
const TIMER: Duration = Duration::from_secs(5);
const MOST_AT_ONCE: usize = 16;
/// Of one webhook, and then none before those have ended: a receiver that hangs holds up no others.
const MOST_OF_ONE: i64 = 4;

/// Until `shutdown`.
pub async fn run_webhooks(ctx: Ctx, shutdown: CancellationToken) {
    let mut news = ctx.insight.news();
    let mut sending = JoinSet::new();
    let mut busy: HashMap<task::Id, WebhookId> = HashMap::new();
    loop {
        news.mark_unchanged();
        let room = MOST_AT_ONCE.saturating_sub(sending.len());
        match claim(&ctx, room, &busy).await {
            Ok(claimed) => {
                for delivery in claimed {
                    let webhook = delivery.webhook_id.clone();
                    busy.insert(sending.spawn(send(ctx.clone(), delivery)).id(), webhook);
                }
            }
            Err(error) => tracing::warn!(error = error.for_log(), "webhooks cannot be looked up now"),
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(sent) = sending.join_next_with_id() => {
                let id = sent.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                busy.remove(&id);
            }
            _ = news.changed(), if room > 0 => {}
            () = tokio::time::sleep(pause(&ctx).await) => {}
        }
    }
    sending.shutdown().await;
}

async fn claim(ctx: &Ctx, room: usize, busy: &HashMap<task::Id, WebhookId>) -> Result<Vec<Delivery>> {
    let now = ctx.now();
    if room == 0 || rows::next_due(&mut ctx.store.read().await?).await?.is_none_or(|due| due > now) {
        return Ok(Vec::new());
    }
    let mut tx = ctx.store.begin().await?;
    let but: Vec<WebhookId> = busy.values().cloned().collect();
    let share = Share { each: MOST_OF_ONE, most: room, but: &but };
    let claimed = rows::claim(&mut tx, now, now.plus_millis(CLAIM_MILLIS), share).await?;
    tx.commit().await?;
    Ok(claimed)
}

async fn pause(ctx: &Ctx) -> Duration {
    let due = async { rows::next_due(&mut ctx.store.read().await?).await };
    match due.await {
        Ok(Some(due)) => {
            let millis = u64::try_from(due.since(ctx.now())).unwrap_or(0);
            Duration::from_millis(millis).clamp(Duration::from_millis(100), TIMER)
        }
        _ => TIMER,
    }
}

async fn send(ctx: Ctx, delivery: Delivery) {
    let claimed_until = delivery.due_at;
    let ended = attempt(&ctx, &delivery).await;
    let Some(after) = after(delivery, ended, &ctx) else { return };
    let noted = async {
        let mut tx = ctx.store.begin().await?;
        rows::note(&mut tx, &after, claimed_until).await?;
        tx.commit().await
    };
    if let Err(error) = noted.await {
        tracing::warn!(webhook.id = %after.webhook_id, error = error.for_log(), "a delivery could not be noted; it is sent again");
    }
}

/// What came of an attempt. None: the webhook or the event are gone.
enum Ended {
    Taken,
    Not(OutboundError),
    Unreadable(Error),
    Gone,
}

async fn attempt(ctx: &Ctx, delivery: &Delivery) -> Ended {
    let (url, key, body) = match parts(ctx, delivery).await {
        Ok(Some(parts)) => parts,
        Ok(None) => return Ended::Gone,
        Err(error) => return Ended::Unreadable(error),
    };
    let guard = Guard { private: ctx.config.outbound.private };
    let message = Message { id: delivery.event_id.as_str(), at: ctx.now(), body };
    match post(&url, guard, &key, message).await {
        Ok(()) => Ended::Taken,
        Err(error) => Ended::Not(error),
    }
}

async fn parts(ctx: &Ctx, delivery: &Delivery) -> Result<Option<(OutboundUrl, Key, Vec<u8>)>> {
    let mut tx = ctx.store.read().await?;
    let Some((webhook, sealed)) = rows::sealed(&mut tx, &delivery.webhook_id).await? else { return Ok(None) };
    let Some(app) = apps::find(&mut tx, &Scope::Platform, &webhook.app_id).await? else { return Ok(None) };
    let found = events::find(&mut tx, &Scope::Platform, &app.id, &delivery.event_id).await?;
    let Some(event) = found else { return Ok(None) };
    let scope = app.organization_id.to_string();
    let plain = ctx.vault.unseal(&mut tx, &scope, &bound_to(&webhook.id), &sealed).await?;
    let hidden: Hidden = serde_json::from_slice(plain.reveal()).map_err(Error::internal)?;
    let url = hidden.url.parse().map_err(|_| Error::internal("an address that is none"))?;
    let key = hidden.key.parse().map_err(|e| Error::internal(format!("{e}")))?;
    let body = serde_json::to_vec(&Body::new(&app, &event)).map_err(Error::internal)?;
    Ok(Some((url, key, body)))
}

fn after(delivery: Delivery, ended: Ended, ctx: &Ctx) -> Option<Delivery> {
    let now = ctx.now();
    let reason = match ended {
        Ended::Gone => return None,
        Ended::Taken => {
            let state = DeliveryState::Delivered;
            return Some(Delivery { state, reason: None, finished_at: Some(now), ..delivery });
        }
        Ended::Not(error) if error.is_gone() => {
            let reason = Some(error.to_string());
            return Some(Delivery { state: DeliveryState::Failed, reason, finished_at: Some(now), ..delivery });
        }
        Ended::Not(error) => error.to_string(),
        Ended::Unreadable(error) => {
            tracing::warn!(webhook.id = %delivery.webhook_id, error = error.for_log(), "a webhook cannot be read");
            "the platform cannot read the webhook; remove it and add it again".to_owned()
        }
    };
    tracing::debug!(webhook.id = %delivery.webhook_id, event.id = %delivery.event_id, reason, "a webhook did not take an event");
    let (state, due_at, finished_at) = match next(delivery.attempts) {
        Some(pause) => (DeliveryState::Waiting, now.plus_millis(pause * 1000), None),
        None => (DeliveryState::Failed, now, Some(now)),
    };
    Some(Delivery { state, due_at, reason: Some(reason), finished_at, ..delivery })
}

/// Seconds until another attempt, after so many that failed.
fn next(attempts: i64) -> Option<i64> {
    PAUSES.get(usize::try_from(attempts - 1).ok()?).copied()
}

/// What is posted: the event as the API shows it, in the envelope that Standard Webhooks asks for.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    at: String,
    kind: &'static str,
    text: String,
    subject: &'a str,
    app: &'a str,
    app_name: &'a str,
    environment: Option<&'a str>,
    actor: Option<&'a str>,
    cause: Option<&'a str>,
    details: Value,
}

impl<'a> Body<'a> {
    fn new(app: &'a App, event: &'a Event) -> Self {
        let mut stored = serde_json::to_value(&event.happened).unwrap_or_default();
        let data = Told {
            id: event.id.as_str(),
            at: event.at.to_string(),
            kind: event.happened.kind(),
            text: event.happened.text(),
            subject: &event.subject,
            app: event.app_id.as_str(),
            app_name: app.name.as_str(),
            environment: event.environment_id.as_ref().map(Id::as_str),
            actor: event.actor_name.as_ref().map(|name| name.as_str()),
            cause: event.cause.as_ref().map(Id::as_str),
            details: stored["document"].take(),
        };
        Self { kind: event.happened.kind(), timestamp: event.at.to_string(), data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_for_two_days_with_growing_pauses() {
        let pauses: Vec<i64> = (1..).map_while(next).collect();
        assert_eq!(pauses.len(), 10);
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]));
        assert!((150_000..200_000).contains(&pauses.iter().sum::<i64>()));
        assert_eq!((next(0), next(11)), (None, None));
    }
}
