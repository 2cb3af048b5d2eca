//! Builds of an app and their output.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Archive, Paging, Path, Query};
use super::lines::{self, Format};
use super::problem::Answer;
use super::types::{BuildView, MannerQuery, Page, ProblemView};
use crate::base::error::Error;
use crate::product::{apps, deploy};

/// Newest first; the newest `limit` of them.
#[utoipa::path(get, path = "/v1/apps/{app}/builds", tag = "builds", params(("app" = String, Path), Paging),
    responses((status = 200, body = Page<BuildView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Query(paging): Query<Paging>,
) -> Answer<Json<Page<BuildView>>> {
    if paging.after.is_some() {
        return Err(Error::invalid("after", "this list has one page").into());
    }
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let builds = apps::builds(&state.ctx, &actor, &app, paging.limit()?).await?;
    Ok(Json(Page { items: builds.iter().map(BuildView::from).collect(), next: None }))
}

/// Builds and deploys an archive: tar, tar.gz or zip, with the app's files at its root or in its only directory. The answer
/// comes when the archive is taken; the build goes on by itself.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/builds", tag = "builds",
    params(("app" = String, Path), ("environment" = String, Path), MannerQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, body = BuildView), (status = "default", body = ProblemView)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(manner): Query<MannerQuery>,
    Archive(body): Archive,
) -> Answer<(StatusCode, Json<BuildView>)> {
    let manner = deploy::Manner::try_from(manner)?;
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let mut upload = deploy::begin_upload(&state.ctx, &actor, &app).await?;
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Error::invalid("archive", "it was cut off on its way; send it again"))?;
        upload.write(&part).await?;
    }
    let build = deploy::deploy_upload(&state.ctx, &actor, &app, &environment, upload, manner).await?;
    Ok((StatusCode::ACCEPTED, Json(BuildView::from(&build))))
}

/// `build` is an id, or `latest`.
#[utoipa::path(get, path = "/v1/apps/{app}/builds/{build}", tag = "builds",
    params(("app" = String, Path), ("build" = String, Path)),
    responses((status = 200, body = BuildView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, build)): Path<(String, String)>,
) -> Answer<Json<BuildView>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let build = apps::build(&state.ctx, &actor, &app, &build).await?;
    let deployment = apps::deployment_of(&state.ctx, &actor, &app, &build).await?;
    Ok(Json(BuildView::with(&build, deployment.as_ref())))
}

/// Ends a build, or the deployment of what it made, unless its release serves already: `build` is an id, or `latest` for the
/// newest that is not over. What is live stays live.
#[utoipa::path(post, path = "/v1/apps/{app}/builds/{build}/cancel", tag = "builds",
    params(("app" = String, Path), ("build" = String, Path)),
    responses((status = 200, body = BuildView), (status = "default", body = ProblemView)))]
pub(super) async fn cancel(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, build)): Path<(String, String)>,
) -> Answer<Json<BuildView>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let build = deploy::cancel(&state.ctx, &actor, &app, &build).await?;
    let deployment = apps::deployment_of(&state.ctx, &actor, &app, &build).await?;
    Ok(Json(BuildView::with(&build, deployment.as_ref())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OutputQuery {
    /// True: go on until the work ends.
    #[serde(default)]
    pub(super) follow: bool,
}

/// All that the pusher saw, from line one, as text, or as server-sent events for `Accept: text/event-stream`.
#[utoipa::path(get, path = "/v1/apps/{app}/builds/{build}/output", tag = "builds",
    params(("app" = String, Path), ("build" = String, Path), OutputQuery),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ProblemView)))]
pub(super) async fn output(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, build)): Path<(String, String)>,
    Query(query): Query<OutputQuery>,
    format: Format,
) -> Answer<Response> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let build = apps::build(&state.ctx, &actor, &app, &build).await?;
    let lines = apps::output(&state.ctx, &actor, &app, &build.job_id, query.follow).await?;
    Ok(lines::answer(&format, lines))
}
