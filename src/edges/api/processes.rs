//! Process types, their number, and restarting them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{Page, ProblemView, ProcessItem};
use crate::base::access::Actor;
use crate::base::model::{App, Environment};
use crate::product::{Ctx, apps, deploy};

#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/processes", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<ProcessItem>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<ProcessItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

/// Sets how many replicas the process types given shall have. Makes a release; those that run, run on.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}/processes", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = BTreeMap<String, u32>,
    responses((status = 200, body = Page<ProcessItem>), (status = "default", body = ProblemView)))]
pub(super) async fn scale(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<BTreeMap<String, u32>>,
) -> Answer<Json<Page<ProcessItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let numbers = body.into_iter().map(|(key, count)| Ok((name(&key, &key)?, count))).collect::<Answer<_>>()?;
    let environment = deploy::scale(&state.ctx, &actor, &app, &environment, &numbers).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

/// New replicas of the release that is live take over, without a gap.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/restart", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 202, body = Page<ProcessItem>), (status = "default", body = ProblemView)))]
pub(super) async fn restart(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<(StatusCode, Json<Page<ProcessItem>>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let environment = deploy::restart(&state.ctx, &actor, &app, &environment).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&state.ctx, &actor, &app, &environment).await?)))
}

pub(super) async fn view(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Answer<Page<ProcessItem>> {
    let processes = apps::processes(ctx, actor, app, environment).await?;
    let replicas = apps::replicas(ctx, actor, app, environment).await?;
    Ok(Page { items: processes.iter().map(|process| ProcessItem::new(process, &replicas)).collect(), next: None })
}
