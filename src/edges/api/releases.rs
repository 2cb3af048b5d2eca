//! Releases of an environment, and the way back to one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Paging, Path, Query, name, page};
use super::problem::Answer;
use super::types::{DeploymentView, Page, ProblemView, ReleaseView, RollbackBody};
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
    // What is no number is the number of no release.
    let number = number.strip_prefix('v').unwrap_or(&number).parse().unwrap_or(0);
    let release = apps::release(&state.ctx, &actor, &app, &environment, number).await?;
    Ok(Json(ReleaseView::from(&release)))
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
