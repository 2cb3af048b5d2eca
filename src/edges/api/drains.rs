//! Where the lines of an app go as well.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::input::{Body, Path};
use super::problem::Answer;
use super::types::{DrainView, NewDrainBody, Page, ProblemView};
use crate::product::{apps, insight};

/// Oldest first, with how each does since the start of the server.
#[utoipa::path(get, path = "/v1/apps/{app}/drains", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = Page<DrainView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<Json<Page<DrainView>>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let drains = insight::drains(&state.ctx, &actor, &app).await?;
    let environments = apps::environments(&state.ctx, &actor, &app).await?;
    let items = drains.iter().map(|(drain, health)| DrainView::new(drain, health, &environments)).collect();
    Ok(Json(Page { items, next: None }))
}

/// Lines go there from now on: `syslog://` and `syslog+tls://` get RFC 5424 messages with counted length, `http://` and
/// `https://` get POSTs of newline-separated JSON.
#[utoipa::path(post, path = "/v1/apps/{app}/drains", tag = "apps", params(("app" = String, Path)),
    request_body = NewDrainBody,
    responses((status = 201, body = DrainView), (status = "default", body = ProblemView)))]
pub(super) async fn add(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<NewDrainBody>,
) -> Answer<(StatusCode, Json<DrainView>)> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let environment = match &body.environment {
        Some(name) => Some(apps::environment(&state.ctx, &actor, &app, name).await?),
        None => None,
    };
    let drain = insight::add_drain(&state.ctx, &actor, &app, environment.as_ref(), &body.url).await?;
    let view = DrainView::new(&drain, &insight::DrainHealth::default(), environment.as_slice());
    Ok((StatusCode::CREATED, Json(view)))
}

#[utoipa::path(delete, path = "/v1/apps/{app}/drains/{drain}", tag = "apps",
    params(("app" = String, Path), ("drain" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, drain)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    insight::remove_drain(&state.ctx, &actor, &app, &drain).await?;
    Ok(StatusCode::NO_CONTENT)
}
