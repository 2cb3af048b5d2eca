//! Volumes of an environment, and tombstones wherever they are from.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{
    DeploymentView, MountBody, MountsChanged, NewVolumeBody, Page, ProblemView, RestoreBody, VolumeView,
};
use crate::base::model::Deployment;
use crate::product::deploy;

/// Live ones and tombstones, by name; all on one page. Their sizes can be half a minute old.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/volumes", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<VolumeView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<VolumeView>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = deploy::volumes(&state.ctx, &actor, &app, &environment, true).await?;
    Ok(Json(Page { items: all.iter().map(VolumeView::from).collect(), next: None }))
}

/// Destroyed volumes that can be restored, those of destroyed apps included; the first to go first. All on one page.
#[utoipa::path(get, path = "/v1/volumes", tag = "volumes",
    responses((status = 200, body = Page<VolumeView>), (status = "default", body = ProblemView)))]
pub(super) async fn destroyed(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<Page<VolumeView>>> {
    let all = deploy::destroyed_volumes(&state.ctx, &actor).await?;
    Ok(Json(Page { items: all.iter().map(VolumeView::from).collect(), next: None }))
}

#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/volumes", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = NewVolumeBody,
    responses((status = 201, body = VolumeView), (status = "default", body = ProblemView)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<NewVolumeBody>,
) -> Answer<(StatusCode, Json<VolumeView>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let called = name("name", &body.name)?;
    let volume = deploy::create_volume(&state.ctx, &actor, &app, &environment, called, body.shared).await?;
    Ok((StatusCode::CREATED, Json(VolumeView::from(&volume))))
}

/// By name or id.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/volumes/{volume}", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = VolumeView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, volume)): Path<(String, String, String)>,
) -> Answer<Json<VolumeView>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let view = deploy::volume(&state.ctx, &actor, &app, &environment, &volume, true).await?;
    Ok(Json(VolumeView::from(&view)))
}

/// Its data is kept until `kept_until`, and it can be restored until then. Refused while something has it mounted.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/volumes/{volume}", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = VolumeView), (status = "default", body = ProblemView)))]
pub(super) async fn destroy(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, volume)): Path<(String, String, String)>,
) -> Answer<Json<VolumeView>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let volume = deploy::destroy_volume(&state.ctx, &actor, &app, &environment, &volume).await?;
    Ok(Json(VolumeView::from(&volume)))
}

/// Brings a destroyed volume back into this environment: one of its own by name, or any of the organization by id.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/volumes/{volume}/restore", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path), ("volume" = String, Path)), request_body = RestoreBody,
    responses((status = 200, body = VolumeView), (status = "default", body = ProblemView)))]
pub(super) async fn restore(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, volume)): Path<(String, String, String)>,
    Body(body): Body<RestoreBody>,
) -> Answer<Json<VolumeView>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let called = body.name.as_deref().map(|text| name("name", text)).transpose()?;
    let volume = deploy::restore_volume(&state.ctx, &actor, &app, &environment, &volume, called).await?;
    Ok(Json(VolumeView::from(&volume)))
}

/// The replicas of the process type have it there from the next release on, which this deploys.
#[utoipa::path(put, path = "/v1/apps/{app}/environments/{environment}/volumes/{volume}/mounts/{process}", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path), ("volume" = String, Path), ("process" = String, Path)),
    request_body = MountBody,
    responses((status = 202, body = MountsChanged), (status = "default", body = ProblemView)))]
pub(super) async fn mount(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, volume, process)): Path<(String, String, String, String)>,
    Body(body): Body<MountBody>,
) -> Answer<(StatusCode, Json<MountsChanged>)> {
    let ctx = &state.ctx;
    let (app, environment) = place(ctx, &actor, &(app, environment)).await?;
    let (process, path) = (name("process", &process)?, name("path", &body.path)?);
    let deployment = deploy::mount_volume(ctx, &actor, &app, &environment, &volume, &process, path).await?;
    let view = deploy::volume(ctx, &actor, &app, &environment, &volume, false).await?;
    Ok((StatusCode::ACCEPTED, Json(changed(&view, deployment.as_ref()))))
}

/// The replicas of the process type do not have it any more from the next release on, which this deploys. Its data stays.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/volumes/{volume}/mounts/{process}", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path), ("volume" = String, Path), ("process" = String, Path)),
    responses((status = 202, body = MountsChanged), (status = "default", body = ProblemView)))]
pub(super) async fn unmount(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, volume, process)): Path<(String, String, String, String)>,
) -> Answer<(StatusCode, Json<MountsChanged>)> {
    let ctx = &state.ctx;
    let (app, environment) = place(ctx, &actor, &(app, environment)).await?;
    let process = name("process", &process)?;
    let deployment = deploy::unmount_volume(ctx, &actor, &app, &environment, &volume, Some(&process)).await?;
    let view = deploy::volume(ctx, &actor, &app, &environment, &volume, false).await?;
    Ok((StatusCode::ACCEPTED, Json(changed(&view, deployment.as_ref()))))
}

/// As for one process type, for all that have it, in one deployment.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/volumes/{volume}/mounts", tag = "volumes",
    params(("app" = String, Path), ("environment" = String, Path), ("volume" = String, Path)),
    responses((status = 202, body = MountsChanged), (status = "default", body = ProblemView)))]
pub(super) async fn unmount_all(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, volume)): Path<(String, String, String)>,
) -> Answer<(StatusCode, Json<MountsChanged>)> {
    let ctx = &state.ctx;
    let (app, environment) = place(ctx, &actor, &(app, environment)).await?;
    let deployment = deploy::unmount_volume(ctx, &actor, &app, &environment, &volume, None).await?;
    let view = deploy::volume(ctx, &actor, &app, &environment, &volume, false).await?;
    Ok((StatusCode::ACCEPTED, Json(changed(&view, deployment.as_ref()))))
}

fn changed(view: &deploy::VolumeView, deployment: Option<&Deployment>) -> MountsChanged {
    MountsChanged { volume: VolumeView::from(view), deployment: deployment.map(DeploymentView::from) }
}
