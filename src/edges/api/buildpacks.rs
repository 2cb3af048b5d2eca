//! Which buildpacks an environment is built with.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{BuildpacksView, ProblemView};
use crate::product::deploy;

/// Those that were set, in the order of building; none leaves it to the tree.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/buildpacks", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = BuildpacksView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<BuildpacksView>> {
    let (_, environment) = place(&state.ctx, &actor, &path).await?;
    Ok(Json(BuildpacksView::from(&environment)))
}

/// Sets all of them: `ID`, `ID@VERSION`, `./PATH` in the repository, or `docker://HOST/NAME:TAG`. The next build takes them.
#[utoipa::path(put, path = "/v1/apps/{app}/environments/{environment}/buildpacks", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = BuildpacksView,
    responses((status = 200, body = BuildpacksView), (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<BuildpacksView>,
) -> Answer<Json<BuildpacksView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let buildpacks = body.buildpacks.iter().map(|text| name("buildpacks", text)).collect::<Result<_, _>>()?;
    let environment = deploy::set_buildpacks(&state.ctx, &actor, &app, &environment, buildpacks).await?;
    Ok(Json(BuildpacksView::from(&environment)))
}
