//! What is seen of running apps: logs and where else they go, reasons, events.

use futures_util::StreamExt;

use super::Session;
use super::args::{AppFlag, AppWord, AtWord, LogWords};
use super::failure::Result;
use super::text::time;
use crate::edges::api::types::{EventView, NewDrainBody};
use crate::edges::client::Logs;

pub(super) async fn logs(s: &mut Session, at: &AtWord, words: LogWords) -> Result<()> {
    let app = s.app_word(&at.app)?;
    let wanted = Logs {
        tail: words.lines,
        follow: words.tail,
        process: words.process,
        source: words.source,
        since: words.since,
        until: words.until,
        grep: words.grep,
    };
    let mut lines = s.client.logs(&app, &at.environment.environment, &wanted).await?;
    while let Some(line) = lines.next().await {
        s.io.out(&line?).await?;
    }
    Ok(())
}

pub(super) async fn drains(s: &mut Session, word: &AppWord) -> Result<()> {
    let drains = s.client.drains(&s.app_word(word)?).await?.items;
    if s.json {
        return Ok(s.io.json(&drains).await?);
    }
    let rows: Vec<_> = drains
        .into_iter()
        .map(|d| {
            let environment = d.environment.unwrap_or_else(|| "all".into());
            let counts = [d.sent, d.waiting, d.dropped].map(|n| n.to_string());
            let mut row = vec![d.id, d.address, environment];
            row.extend(counts);
            row.push(d.fault.unwrap_or_default());
            row
        })
        .collect();
    s.print(&["ID", "ADDRESS", "ENVIRONMENT", "SENT", "WAITING", "DROPPED", "FAULT"], &rows).await
}

pub(super) async fn add_drain(s: &mut Session, app: &AppFlag, environment: Option<String>, url: String) -> Result<()> {
    let drain = s.client.add_drain(&s.app_flag(app)?, &NewDrainBody { url, environment }).await?;
    if s.json {
        return Ok(s.io.json(&drain).await?);
    }
    Ok(s.io.out(&format!("{}  {}", drain.id, drain.address)).await?)
}

pub(super) async fn remove_drain(s: &mut Session, app: &AppFlag, drain: &str) -> Result<()> {
    s.client.remove_drain(&s.app_flag(app)?, drain).await?;
    Ok(s.io.say("removed").await?)
}

pub(super) async fn why(s: &mut Session, at: &AtWord) -> Result<()> {
    let why = s.client.why(&s.app_word(&at.app)?, &at.environment.environment).await?;
    if s.json {
        return Ok(s.io.json(&why).await?);
    }
    for line in &why.lines {
        s.io.out(line).await?;
    }
    Ok(())
}

pub(super) async fn events(s: &mut Session, at: &AtWord, follow: bool, number: i64) -> Result<()> {
    let (app, environment) = (s.app_word(&at.app)?, Some(at.environment.environment.as_str()));
    if follow {
        let mut events = s.client.follow_events(&app, environment, number).await?;
        while let Some(event) = events.next().await {
            show(s, &event?).await?;
        }
        return Ok(());
    }
    let mut page = s.client.events(&app, environment, number).await?;
    if s.json {
        return Ok(s.io.json(&page.items).await?);
    }
    page.items.reverse();
    for event in &page.items {
        show(s, event).await?;
    }
    Ok(())
}

async fn show(s: &mut Session, event: &EventView) -> Result<()> {
    if s.json {
        return Ok(s.io.raw(&serde_json::to_string(event).unwrap_or_default()).await?);
    }
    let by = event.actor.as_ref().map_or_else(String::new, |name| format!(" (by {name})"));
    Ok(s.io.out(&format!("{}  {:<22}  {}{by}", time(&event.at), event.kind, event.text)).await?)
}
