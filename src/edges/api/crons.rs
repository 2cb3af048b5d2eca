//! Schedules of an environment.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Paging, Path, Query};
use super::problem::Answer;
use super::types::{CommandView, CronDetail, CronView, NewCronBody, Page, ProblemView};
use crate::product::deploy::{self, NewCron};

/// By name; all on one page.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/crons", tag = "crons",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<CronView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<CronView>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = deploy::crons(&state.ctx, &actor, &app, &environment).await?;
    let items = all.iter().map(|(cron, last)| CronView::new(cron, last.as_ref())).collect();
    Ok(Json(Page { items, next: None }))
}

#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/crons", tag = "crons",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = NewCronBody,
    responses((status = 201, body = CronView), (status = "default", body = ProblemView)))]
pub(super) async fn add(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<NewCronBody>,
) -> Answer<(StatusCode, Json<CronView>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let new = NewCron { name: body.name, schedule: body.schedule, command: body.command, timezone: body.timezone };
    let cron = deploy::add_cron(&state.ctx, &actor, &app, &environment, new).await?;
    Ok((StatusCode::CREATED, Json(CronView::new(&cron, None))))
}

/// With its runs, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/crons/{cron}", tag = "crons",
    params(("app" = String, Path), ("environment" = String, Path), ("cron" = String, Path), Paging),
    responses((status = 200, body = CronDetail), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, name)): Path<(String, String, String)>,
    Query(paging): Query<Paging>,
) -> Answer<Json<CronDetail>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let (cron, runs) = deploy::cron(&state.ctx, &actor, &app, &environment, &name, paging.limit()?).await?;
    let view = CronView::new(&cron, runs.first());
    Ok(Json(CronDetail { cron: view, runs: runs.iter().map(CommandView::from).collect() }))
}

#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/crons/{cron}", tag = "crons",
    params(("app" = String, Path), ("environment" = String, Path), ("cron" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, name)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    deploy::remove_cron(&state.ctx, &actor, &app, &environment, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs it now, beside its schedule.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/crons/{cron}/run", tag = "crons",
    params(("app" = String, Path), ("environment" = String, Path), ("cron" = String, Path)),
    responses((status = 202, body = CommandView), (status = "default", body = ProblemView)))]
pub(super) async fn run(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, name)): Path<(String, String, String)>,
) -> Answer<(StatusCode, Json<CommandView>)> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let command = deploy::run_cron(&state.ctx, &actor, &app, &environment, &name).await?;
    Ok((StatusCode::ACCEPTED, Json(CommandView::from(&command))))
}
