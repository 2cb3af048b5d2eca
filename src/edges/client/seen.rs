//! What is seen of running apps: logs and events.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::calls::{Lines, app, within};
use super::{Client, ClientError, Result, escaped};
use crate::edges::api::types::{
    DeliveryView, DrainView, EventView, MetricsView, NewDrainBody, NewWebhookBody, Page, ReplayBody, ReplayView,
    WebhookView, WhyView,
};

/// Which lines of an environment; everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    pub tail: usize,
    pub follow: bool,
    pub process: Option<String>,
    pub source: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub grep: Option<String>,
}

impl Client {
    pub async fn logs(&self, name: &str, environment: &str, logs: &Logs) -> Result<Lines> {
        let mut query = format!("/logs?tail={}&follow={}", logs.tail, logs.follow);
        for (key, value) in [
            ("process", &logs.process),
            ("source", &logs.source),
            ("since", &logs.since),
            ("until", &logs.until),
            ("grep", &logs.grep),
        ] {
            if let Some(value) = value {
                query.push_str(&format!("&{key}={}", escaped(value)));
            }
        }
        self.lines(within(name, environment, &query)).await
    }

    pub async fn metrics(
        &self,
        name: &str,
        environment: &str,
        since: Option<&str>,
        step: Option<i64>,
    ) -> Result<MetricsView> {
        self.get(within(name, environment, &series(since, step))).await
    }

    pub async fn host_metrics(&self, since: Option<&str>, step: Option<i64>) -> Result<MetricsView> {
        self.get(format!("/v1/host{}", series(since, step))).await
    }

    pub async fn drains(&self, name: &str) -> Result<Page<DrainView>> {
        self.get(format!("{}/drains", app(name))).await
    }

    pub async fn add_drain(&self, name: &str, body: &NewDrainBody) -> Result<DrainView> {
        self.call("POST", format!("{}/drains", app(name)), Some(body)).await
    }

    pub async fn remove_drain(&self, name: &str, id: &str) -> Result<()> {
        self.send("DELETE", format!("{}/drains/{}", app(name), escaped(id)), None::<&()>).await.map(drop)
    }

    pub async fn webhooks(&self, name: &str) -> Result<Page<WebhookView>> {
        self.get(format!("{}/webhooks", app(name))).await
    }

    pub async fn add_webhook(&self, name: &str, body: &NewWebhookBody) -> Result<WebhookView> {
        self.call("POST", format!("{}/webhooks", app(name)), Some(body)).await
    }

    pub async fn remove_webhook(&self, name: &str, id: &str) -> Result<()> {
        self.send("DELETE", format!("{}/webhooks/{}", app(name), escaped(id)), None::<&()>).await.map(drop)
    }

    /// Newest event first.
    pub async fn deliveries(&self, name: &str, id: &str, limit: i64) -> Result<Page<DeliveryView>> {
        self.get(format!("{}/webhooks/{}/deliveries?limit={limit}", app(name), escaped(id))).await
    }

    pub async fn replay(&self, name: &str, id: &str, body: &ReplayBody) -> Result<ReplayView> {
        self.call("POST", format!("{}/webhooks/{}/replay", app(name), escaped(id)), Some(body)).await
    }

    pub async fn why(&self, name: &str, environment: &str) -> Result<WhyView> {
        self.get(within(name, environment, "/why")).await
    }

    /// Newest first.
    pub async fn events(&self, name: &str, environment: Option<&str>, limit: i64) -> Result<Page<EventView>> {
        let environment = environment.map_or_else(String::new, |e| format!("&environment={}", escaped(e)));
        self.get(format!("{}/events?limit={limit}{environment}", app(name))).await
    }

    /// The newest `tail`, then those to come.
    pub async fn follow_events(
        &self,
        name: &str,
        environment: Option<&str>,
        tail: i64,
    ) -> Result<BoxStream<'static, Result<EventView>>> {
        let environment = environment.map_or_else(String::new, |e| format!("&environment={}", escaped(e)));
        let query = format!("{}/events?follow=true&limit={tail}{environment}", app(name));
        let events = self.lines(query).await?.map(|line| {
            serde_json::from_str(&line.map_err(ClientError::Broken)?).map_err(|e| ClientError::Strange(e.to_string()))
        });
        Ok(events.boxed())
    }
}

fn series(since: Option<&str>, step: Option<i64>) -> String {
    let step = step.map_or_else(String::new, |step| format!("&step={step}"));
    format!("/metrics?since={}{step}", escaped(since.unwrap_or("1h")))
}
