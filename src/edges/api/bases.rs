//! The base of images: how old it is, a fresh one, and a fresh one under what runs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Paging, Path, Query, name};
use super::problem::Answer;
use super::types::{BaseUpdatedView, BaseView, DeploymentView, GroundView, Page, ProblemView};
use crate::base::error::Error;
use crate::product::{apps, deploy};

/// The base that builds begin with. For administrators of the platform.
#[utoipa::path(get, path = "/v1/base", tag = "platform",
    responses((status = 200, body = BaseView), (status = "default", body = ProblemView)))]
pub(super) async fn show(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<BaseView>> {
    let base = deploy::base(&state.ctx, &actor).await?;
    let base = base.ok_or_else(|| Error::conflict("no base was made yet; the server makes one when it starts"))?;
    Ok(Json(BaseView::at(state.ctx.now(), &base)))
}

/// Makes the base anew from what its source has now; takes about half a minute. Builds and rebases from then on are upon it,
/// and nothing that runs is changed. For administrators of the platform.
#[utoipa::path(post, path = "/v1/base/update", tag = "platform",
    responses((status = 200, body = BaseUpdatedView), (status = "default", body = ProblemView)))]
pub(super) async fn update(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<BaseUpdatedView>> {
    let (base, changes) = deploy::update_base(&state.ctx, &actor).await?;
    let changes = changes.iter().map(Into::into).collect();
    Ok(Json(BaseUpdatedView { base: BaseView::at(state.ctx.now(), &base), changes }))
}

/// How what is live stands to the newest base, in all apps that the caller may deploy. `limit` counts apps, so that a page
/// may have more items, or fewer.
#[utoipa::path(get, path = "/v1/rebase", tag = "releases", params(Paging),
    responses((status = 200, body = Page<GroundView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(paging): Query<Paging>,
) -> Answer<Json<Page<GroundView>>> {
    let (after, limit) = (paging.after.as_deref().map(|n| name("after", n)).transpose()?, paging.limit()?);
    let found = apps::list(&state.ctx, &actor, after.as_ref(), limit).await?;
    let items = deploy::grounds(&state.ctx, &actor, &found).await?;
    let next = apps::next(&found, limit).map(ToString::to_string);
    Ok(Json(Page { items: items.iter().map(GroundView::from).collect(), next }))
}

/// How what is live in the environments of one app stands to the newest base.
#[utoipa::path(get, path = "/v1/apps/{app}/rebase", tag = "releases", params(("app" = String, Path)),
    responses((status = 200, body = Page<GroundView>), (status = "default", body = ProblemView)))]
pub(super) async fn of_app(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<Json<Page<GroundView>>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let items = deploy::ground(&state.ctx, &actor, &app).await?;
    Ok(Json(Page { items: items.iter().map(GroundView::from).collect(), next: None }))
}

/// Puts the newest base under what is live here, without a build: a release whose image has the layers of the app as they
/// are. It is rolled out like any other, and the one before goes on when it does not become healthy.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/rebase", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 202, body = DeploymentView), (status = "default", body = ProblemView)))]
pub(super) async fn rebase(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<(StatusCode, Json<DeploymentView>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let deployment = deploy::rebase(&state.ctx, &actor, &app, &environment).await?;
    Ok((StatusCode::ACCEPTED, Json(DeploymentView::from(&deployment))))
}
