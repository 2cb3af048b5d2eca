//! Events, page by page or as they come.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::Caller;
use super::input::{Path, Query, name, page};
use super::lines::{self, Format};
use super::problem::Answer;
use super::types::{EventView, Page, ProblemView};
use crate::base::access::Actor;
use crate::base::error::Error;
use crate::base::model::{App, Environment, EventId};
use crate::product::{apps, insight};

/// Resumes a stream behind this event (HTML, 9.2).
const LAST: &str = "last-event-id";
const SILENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// 1 to 200; 50 when it is left out. Of a stream: how many of the past to begin with, 0 when it is left out.
    #[serde(default)]
    limit: Option<i64>,
    /// `next` of the page before.
    #[serde(default)]
    after: Option<String>,
    /// True: as they come, like a stream, as lines of JSON.
    #[serde(default)]
    follow: bool,
    /// Only this environment of the app.
    #[serde(default)]
    environment: Option<String>,
}

/// Events of one app, newest first; with `Accept: text/event-stream` as they come, oldest first, behind the event that
/// `Last-Event-ID` names.
#[utoipa::path(get, path = "/v1/apps/{app}/events", tag = "events", params(("app" = String, Path), EventsQuery),
    responses((status = 200, body = Page<EventView>), (status = "default", body = ProblemView)))]
pub(super) async fn of_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(query): Query<EventsQuery>,
    format: Format,
    headers: HeaderMap,
) -> Answer<Response> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let environment = match &query.environment {
        Some(environment) => Some(apps::environment(&state.ctx, &actor, &app, environment).await?),
        None => None,
    };
    answer(&state, &actor, Some((&app, environment.as_ref())), &query, format, &headers).await
}

/// Events of all apps that the caller sees, as for one.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventsQuery),
    responses((status = 200, body = Page<EventView>), (status = "default", body = ProblemView)))]
pub(super) async fn all(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<EventsQuery>,
    format: Format,
    headers: HeaderMap,
) -> Answer<Response> {
    if query.environment.is_some() {
        return Err(Error::invalid("environment", "needs an app: ask /v1/apps/{app}/events").into());
    }
    answer(&state, &actor, None, &query, format, &headers).await
}

async fn answer(
    state: &ApiState,
    actor: &Actor,
    place: Option<(&App, Option<&Environment>)>,
    query: &EventsQuery,
    format: Format,
    headers: &HeaderMap,
) -> Answer<Response> {
    let after = query.after.as_deref().map(|id| name::<EventId>("after", id)).transpose()?;
    if matches!(format, Format::Plain) && !query.follow {
        let limit = query.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(Error::invalid("limit", "must be 1 to 200").into());
        }
        let events = insight::events(&state.ctx, actor, place, after.as_ref(), limit).await?;
        return Ok(page(events.iter().map(EventView::from).collect(), limit, |event: &EventView| event.id.clone()));
    }
    let tail = query.limit.unwrap_or(0);
    if !(0..=200).contains(&tail) {
        return Err(Error::invalid("limit", "must be 0 to 200").into());
    }
    // A browser that connects again cannot change the query, so the header counts.
    let last = headers.get(LAST).map(|value| value.to_str().unwrap_or_default());
    let last = last.map(|id| name::<EventId>("Last-Event-ID", id)).transpose()?;
    let events = insight::follow_events(&state.ctx, actor, place, last.or(after), tail).await?;
    if matches!(format, Format::Plain) {
        let lines = events.map(|event| serde_json::to_string(&EventView::from(&event)).unwrap_or_default());
        return Ok(lines::answer(&format, lines.boxed()));
    }
    let sent = events.map(|event| {
        let view = EventView::from(&event);
        let data = serde_json::to_string(&view).unwrap_or_default();
        Ok::<_, Infallible>(Sent::default().id(view.id).event(view.kind).data(data))
    });
    Ok(Sse::new(sent).keep_alive(KeepAlive::new().interval(SILENCE)).into_response())
}
