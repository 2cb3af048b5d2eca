//! Releases of an environment, and the way back to one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Paging, Path, Query, name, page};
use super::problem::Answer;
use super::types::{DeploymentView, DiffView, Page, ProblemView, PromoteBody, ReleaseView, RollbackBody};
use crate::product::{apps, deploy};

/// Newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/releases", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path), Paging),
    responses((status = 200, body = Page<ReleaseView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> Answer<Response> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let before = paging.after.as_deref().map(|number| name("after", number)).transpose()?;
    let limit = paging.limit()?;
    let releases = apps::releases(&state.ctx, &actor, &app, &environment, before, limit).await?;
    Ok(page(releases.iter().map(ReleaseView::from).collect(), limit, |release| release.number.to_string()))
}

/// `number` with or without its `v`.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/releases/{number}", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path), ("number" = String, Path)),
    responses((status = 200, body = ReleaseView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, number)): Path<(String, String, String)>,
) -> Answer<Json<ReleaseView>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let release = apps::release(&state.ctx, &actor, &app, &environment, self::number(&number)).await?;
    Ok(Json(ReleaseView::from(&release)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// Number of the other release, with or without its `v`; the one that shall be live when it is left out.
    #[serde(default)]
    with: Option<String>,
}

/// What differs from this release to the other. Variables by name, never by value.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/releases/{number}/diff", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path), ("number" = String, Path), DiffQuery),
    responses((status = 200, body = DiffView), (status = "default", body = ProblemView)))]
pub(super) async fn diff(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, from)): Path<(String, String, String)>,
    Query(query): Query<DiffQuery>,
) -> Answer<Json<DiffView>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let to = query.with.as_deref().map(number);
    let diff = deploy::diff(&state.ctx, &actor, &app, &environment, number(&from), to).await?;
    Ok(Json(DiffView::from(&diff)))
}

/// What is no number is the number of no release.
pub(super) fn number(text: &str) -> i64 {
    text.strip_prefix('v').unwrap_or(text).parse().unwrap_or(0)
}

/// Makes a new release here of what is live in another environment of the app, without a build: its image and processes
/// with the variables, numbers and checks of this one.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/promote", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = PromoteBody,
    responses((status = 202, body = DeploymentView), (status = "default", body = ProblemView)))]
pub(super) async fn promote(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<PromoteBody>,
) -> Answer<(StatusCode, Json<DeploymentView>)> {
    let (app, to) = place(&state.ctx, &actor, &path).await?;
    let from = apps::environment(&state.ctx, &actor, &app, &body.from).await?;
    let deployment = deploy::promote(&state.ctx, &actor, &app, &from, &to).await?;
    Ok((StatusCode::ACCEPTED, Json(DeploymentView::from(&deployment))))
}

/// Makes a new release of an old one and deploys it, without a build.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/rollback", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = RollbackBody,
    responses((status = 202, body = DeploymentView), (status = "default", body = ProblemView)))]
pub(super) async fn rollback(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<RollbackBody>,
) -> Answer<(StatusCode, Json<DeploymentView>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let deployment = deploy::rollback(&state.ctx, &actor, &app, &environment, body.release).await?;
    Ok((StatusCode::ACCEPTED, Json(DeploymentView::from(&deployment))))
}
