//! Webhooks: the verbs. What is sent, and when again, is [`send`]'s.

mod send;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::check_address;
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Delivery, DeliveryState, Environment, EventId, Id, Kinds, OutboundUrl, Scheme, Webhook, WebhookId,
};
use crate::base::secret::Secret;
use crate::machinery::outbound::Key;
use crate::product::Ctx;
use crate::state::store::{Tx, events, webhooks as rows};

pub use send::run_webhooks;

const MOST_WEBHOOKS: usize = 10;

/// How many deliveries wait, and how many were given up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    pub waiting: i64,
    pub failed: i64,
}

/// What is sealed of a webhook.
#[derive(Serialize, Deserialize)]
struct Hidden {
    url: String,
    key: String,
}

pub async fn webhooks(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<(Webhook, Standing)>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let all = rows::of_app(&mut tx, &actor.scope(), &app.id).await?;
    let mut standing: HashMap<WebhookId, Standing> = HashMap::new();
    for (id, state, count) in rows::standing(&mut tx, &app.id).await? {
        let one = standing.entry(id).or_default();
        match state {
            DeliveryState::Waiting => one.waiting = count,
            DeliveryState::Failed => one.failed = count,
            DeliveryState::Delivered => {}
        }
    }
    Ok(all.into_iter().map(|webhook| (webhook.clone(), standing.remove(&webhook.id).unwrap_or_default())).collect())
}

/// The key is shown this once.
pub async fn add_webhook(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: Option<&Environment>,
    address: &str,
    kinds: &[String],
) -> Result<(Webhook, Secret<String>)> {
    actor.may(Action::WriteVariables, &app.into())?;
    let url: OutboundUrl = address
        .parse()
        .ok()
        .filter(is_http)
        .ok_or_else(|| Error::invalid("url", "must be an address such as https://HOST/PATH"))?;
    let kinds = Kinds::new(kinds).map_err(|e| Error::invalid("events", format!("{e}")))?;
    check_address(ctx, &url)?;
    let key = Key::fresh().map_err(Error::internal)?.text();
    let hidden = Hidden { url: address.to_owned(), key: key.reveal().clone() };
    let hidden = Secret::new(serde_json::to_vec(&hidden).map_err(Error::internal)?);
    let mut tx = ctx.store.begin().await?;
    if rows::of_app(&mut tx, &actor.scope(), &app.id).await?.len() >= MOST_WEBHOOKS {
        return Err(Error::limit(format!("an app has at most {MOST_WEBHOOKS} webhooks; remove one first")));
    }
    let webhook = Webhook {
        id: WebhookId::fresh(),
        app_id: app.id.clone(),
        environment_id: environment.map(|e| e.id.clone()),
        kinds,
        shown: url.shown(),
        created_at: ctx.now(),
    };
    let scope = app.organization_id.to_string();
    let sealed = ctx.vault.seal(&mut tx, &scope, &bound_to(&webhook.id), hidden.reveal()).await?;
    rows::insert(&mut tx, &webhook, &sealed).await?;
    tx.commit().await?;
    tracing::info!(app.id = %app.id, webhook.id = %webhook.id, webhook.address = webhook.shown, user.id = %actor.user.id, "webhook added");
    Ok((webhook, key))
}

pub async fn remove_webhook(ctx: &Ctx, actor: &Actor, app: &App, id: &str) -> Result<()> {
    actor.may(Action::WriteVariables, &app.into())?;
    let id: WebhookId = id.parse().map_err(|_| absent())?;
    let mut tx = ctx.store.begin().await?;
    if !rows::delete(&mut tx, &actor.scope(), &app.id, &id).await? {
        return Err(absent());
    }
    tx.commit().await?;
    tracing::info!(app.id = %app.id, webhook.id = %id, user.id = %actor.user.id, "webhook removed");
    Ok(())
}

/// Newest event first; `before` is the event of the last one of the page before.
pub async fn deliveries(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    id: &str,
    before: Option<&EventId>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    actor.may(Action::ViewApp, &app.into())?;
    let mut tx = ctx.store.read().await?;
    let webhook = find(&mut tx, actor, app, id).await?;
    rows::deliveries(&mut tx, &webhook.id, before, limit).await
}

/// Sends `event` again, or for the first time; without one, all that failed. How many deliveries that makes.
pub async fn replay(ctx: &Ctx, actor: &Actor, app: &App, id: &str, event: Option<&str>) -> Result<u64> {
    actor.may(Action::WriteVariables, &app.into())?;
    let mut tx = ctx.store.begin().await?;
    let webhook = find(&mut tx, actor, app, id).await?;
    let count = match event {
        None => rows::replay_failed(&mut tx, &webhook.id, ctx.now()).await?,
        Some(text) => {
            let absent = || Error::not_found("event");
            let event: EventId = text.parse().map_err(|_| absent())?;
            let found = events::find(&mut tx, &actor.scope(), &app.id, &event).await?.ok_or_else(absent)?;
            if webhook.environment_id.is_some() && webhook.environment_id != found.environment_id {
                return Err(Error::conflict("the event is of another environment than the webhook"));
            }
            rows::replay(&mut tx, &webhook.id, &event, ctx.now()).await?;
            1
        }
    };
    tx.commit().await?;
    ctx.insight.tell();
    Ok(count)
}

async fn find(tx: &mut Tx, actor: &Actor, app: &App, id: &str) -> Result<Webhook> {
    let all = rows::of_app(tx, &actor.scope(), &app.id).await?;
    all.into_iter().find(|webhook| webhook.id.as_str() == id).ok_or_else(absent)
}

fn absent() -> Error {
    Error::not_found("webhook")
}

fn is_http(url: &OutboundUrl) -> bool {
    matches!(url.scheme, Scheme::Http | Scheme::Https)
}

fn bound_to(id: &WebhookId) -> String {
    format!("webhooks/{id}")
}
