//! Builds of what lies elsewhere.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path};
use super::problem::Answer;
use super::types::{BuildView, NewSourceBody, ProblemView};
use crate::product::deploy;

/// Builds and deploys what lies elsewhere: an image of a registry, a branch of a git repository, an archive in a bucket. It is
/// fetched by the build, which goes on by itself; its log tells how far it is.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/sources", tag = "builds",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = NewSourceBody,
    responses((status = 202, body = BuildView), (status = "default", body = ProblemView)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<NewSourceBody>,
) -> Answer<(StatusCode, Json<BuildView>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let source = deploy::NewSource::try_from(body)?;
    let build = deploy::deploy_source(&state.ctx, &actor, &app, &environment, source).await?;
    Ok((StatusCode::ACCEPTED, Json(BuildView::from(&build))))
}
