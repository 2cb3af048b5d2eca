//! Where lines and events of an app go as well.

use super::Session;
use super::args::{AppFlag, AppWord, OutletVerb};
use super::failure::Result;
use super::seen;
use super::text::time;
use crate::edges::api::types::{NewWebhookBody, ReplayBody};

pub(super) async fn run(s: &mut Session, verb: OutletVerb) -> Result<()> {
    match verb {
        OutletVerb::Drains(app) => seen::drains(s, &app).await,
        OutletVerb::DrainsAdd { app, environment, url } => seen::add_drain(s, &app, environment, url).await,
        OutletVerb::DrainsRemove { app, drain } => seen::remove_drain(s, &app, &drain).await,
        OutletVerb::Webhooks(app) => list(s, &app).await,
        OutletVerb::WebhooksAdd { app, environment, events, url } => {
            add(s, &app, NewWebhookBody { url, events, environment }).await
        }
        OutletVerb::WebhooksRemove { app, webhook } => remove(s, &app, &webhook).await,
        OutletVerb::WebhooksDeliveries { app, webhook, number } => deliveries(s, &app, &webhook, number).await,
        OutletVerb::WebhooksReplay { app, webhook, event, .. } => replay(s, &app, &webhook, event).await,
    }
}

pub(super) async fn list(s: &mut Session, word: &AppWord) -> Result<()> {
    let webhooks = s.client.webhooks(&s.app_word(word)?).await?.items;
    if s.json {
        return Ok(s.io.json(&webhooks).await?);
    }
    let rows: Vec<_> = webhooks
        .into_iter()
        .map(|w| {
            let kinds = if w.events.is_empty() { "all".into() } else { w.events.join(" ") };
            let environment = w.environment.unwrap_or_else(|| "all".into());
            vec![w.id, w.address, kinds, environment, w.waiting.to_string(), w.failed.to_string()]
        })
        .collect();
    s.print(&["ID", "ADDRESS", "EVENTS", "ENVIRONMENT", "WAITING", "FAILED"], &rows).await
}

pub(super) async fn add(s: &mut Session, app: &AppFlag, body: NewWebhookBody) -> Result<()> {
    let webhook = s.client.add_webhook(&s.app_flag(app)?, &body).await?;
    if s.json {
        return Ok(s.io.json(&webhook).await?);
    }
    s.io.out(&format!("{}  {}", webhook.id, webhook.address)).await?;
    s.io.out(&format!("key: {}", webhook.secret.unwrap_or_default())).await?;
    Ok(s.io.say("The key is shown this once: the receiver checks the signature of each post with it.").await?)
}

pub(super) async fn remove(s: &mut Session, app: &AppFlag, id: &str) -> Result<()> {
    s.client.remove_webhook(&s.app_flag(app)?, id).await?;
    Ok(s.io.say("removed").await?)
}

pub(super) async fn deliveries(s: &mut Session, app: &AppFlag, id: &str, number: i64) -> Result<()> {
    let deliveries = s.client.deliveries(&s.app_flag(app)?, id, number).await?.items;
    if s.json {
        return Ok(s.io.json(&deliveries).await?);
    }
    let rows: Vec<_> = deliveries
        .into_iter()
        .map(|d| {
            let next = d.due_at.map(|at| format!("next {}", time(&at)));
            let when = d.finished_at.map(|at| time(&at)).or(next).unwrap_or_default();
            vec![d.event, d.state, d.attempts.to_string(), when, d.reason.unwrap_or_default()]
        })
        .collect();
    s.print(&["EVENT", "STATE", "ATTEMPTS", "WHEN", "REASON"], &rows).await
}

pub(super) async fn replay(s: &mut Session, app: &AppFlag, id: &str, event: Option<String>) -> Result<()> {
    let done = s.client.replay(&s.app_flag(app)?, id, &ReplayBody { event }).await?;
    if s.json {
        return Ok(s.io.json(&done).await?);
    }
    Ok(s.io.say(&format!("{} to be sent again", text(done.deliveries))).await?)
}

fn text(count: u64) -> String {
    if count == 1 { "1 event".into() } else { format!("{count} events") }
}
