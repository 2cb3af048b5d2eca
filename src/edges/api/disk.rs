//! What lies on the disk, and what of it goes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::input::Path;
use super::problem::Answer;
use super::types::{CleanView, DiskView, ProblemView};
use crate::product::{apps, disk};

/// Who uses how much: each of your apps, and for administrators of the platform the whole. It measures, which takes a moment.
#[utoipa::path(get, path = "/v1/disk", tag = "platform",
    responses((status = 200, body = DiskView), (status = "default", body = ProblemView)))]
pub(super) async fn show(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<DiskView>> {
    let usage = disk::usage(&state.ctx, &actor).await?;
    Ok(Json(DiskView::from(&usage)))
}

/// Removes what nobody needs, as happens from time to time anyway: images of releases beyond those that are kept, and what
/// destroyed apps have left. For administrators of the platform.
#[utoipa::path(post, path = "/v1/disk/clean", tag = "platform",
    responses((status = 200, body = CleanView), (status = "default", body = ProblemView)))]
pub(super) async fn clean(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<CleanView>> {
    let collected = disk::clean(&state.ctx, &actor).await?;
    Ok(Json(CleanView::from(&collected)))
}

/// Forgets what earlier builds of the app left for later ones. The next build is slower.
#[utoipa::path(delete, path = "/v1/apps/{app}/cache", tag = "builds", params(("app" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn clear_cache(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<StatusCode> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    disk::clear_cache(&state.ctx, &actor, &app).await?;
    Ok(StatusCode::NO_CONTENT)
}
