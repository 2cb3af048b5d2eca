//! Where the events of an app are posted.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::Caller;
use super::input::{Body, Path, Query, name, page};
use super::problem::Answer;
use super::types::{DeliveryView, NewWebhookBody, Page, ProblemView, ReplayBody, ReplayView, WebhookView};
use crate::base::error::Error;
use crate::base::model::EventId;
use crate::product::{apps, insight};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// 1 to 200; 50 when it is left out.
    #[serde(default)]
    limit: Option<i64>,
    /// `next` of the page before.
    #[serde(default)]
    after: Option<String>,
}

/// Oldest first, with how many events wait and were given up.
#[utoipa::path(get, path = "/v1/apps/{app}/webhooks", tag = "events", params(("app" = String, Path)),
    responses((status = 200, body = Page<WebhookView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<Json<Page<WebhookView>>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let webhooks = insight::webhooks(&state.ctx, &actor, &app).await?;
    let environments = apps::environments(&state.ctx, &actor, &app).await?;
    let items = webhooks.iter().map(|(hook, standing)| WebhookView::new(hook, *standing, &environments)).collect();
    Ok(Json(Page { items, next: None }))
}

/// Events from now on are posted there, signed as Standard Webhooks 1.0.0 has it, at least once each; what is not taken
/// (any status but 2xx) is tried again for two days.
#[utoipa::path(post, path = "/v1/apps/{app}/webhooks", tag = "events", params(("app" = String, Path)),
    request_body = NewWebhookBody,
    responses((status = 201, body = WebhookView), (status = "default", body = ProblemView)))]
pub(super) async fn add(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<NewWebhookBody>,
) -> Answer<(StatusCode, Json<WebhookView>)> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let environment = match &body.environment {
        Some(name) => Some(apps::environment(&state.ctx, &actor, &app, name).await?),
        None => None,
    };
    let at = environment.as_ref();
    let (webhook, key) = insight::add_webhook(&state.ctx, &actor, &app, at, &body.url, &body.events).await?;
    let view = WebhookView::new(&webhook, insight::Standing::default(), environment.as_slice());
    Ok((StatusCode::CREATED, Json(WebhookView { secret: Some(key.reveal().clone()), ..view })))
}

#[utoipa::path(delete, path = "/v1/apps/{app}/webhooks/{webhook}", tag = "events",
    params(("app" = String, Path), ("webhook" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, webhook)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    insight::remove_webhook(&state.ctx, &actor, &app, &webhook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Newest event first.
#[utoipa::path(get, path = "/v1/apps/{app}/webhooks/{webhook}/deliveries", tag = "events",
    params(("app" = String, Path), ("webhook" = String, Path), DeliveriesQuery),
    responses((status = 200, body = Page<DeliveryView>), (status = "default", body = ProblemView)))]
pub(super) async fn deliveries(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, webhook)): Path<(String, String)>,
    Query(query): Query<DeliveriesQuery>,
) -> Answer<Response> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(Error::invalid("limit", "must be 1 to 200").into());
    }
    let after = query.after.as_deref().map(|id| name::<EventId>("after", id)).transpose()?;
    let found = insight::deliveries(&state.ctx, &actor, &app, &webhook, after.as_ref(), limit).await?;
    Ok(page(found.iter().map(DeliveryView::from).collect(), limit, |view: &DeliveryView| view.event.clone()))
}

/// Sends an event again, or all that failed; the message keeps its id.
#[utoipa::path(post, path = "/v1/apps/{app}/webhooks/{webhook}/replay", tag = "events",
    params(("app" = String, Path), ("webhook" = String, Path)), request_body = ReplayBody,
    responses((status = 202, body = ReplayView), (status = "default", body = ProblemView)))]
pub(super) async fn replay(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, webhook)): Path<(String, String)>,
    Body(body): Body<ReplayBody>,
) -> Answer<(StatusCode, Json<ReplayView>)> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let deliveries = insight::replay(&state.ctx, &actor, &app, &webhook, body.event.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayView { deliveries })))
}
