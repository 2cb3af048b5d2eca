//! Apps.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::ApiState;
use super::caller::Caller;
use super::input::{Body, Paging, Path, Query, name, page};
use super::problem::Answer;
use super::types::{AppChange, AppDetail, AppView, EnvironmentView, NewAppBody, Page, ProblemView};
use crate::base::access::Actor;
use crate::base::error::Error;
use crate::base::model::App;
use crate::product::Ctx;
use crate::product::apps::{self, NewApp};
use crate::product::deploy;

/// The apps that the caller can see, by name.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", params(Paging),
    responses((status = 200, body = Page<AppView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(paging): Query<Paging>,
) -> Answer<Response> {
    let (after, limit) = (paging.after.as_deref().map(|n| name("after", n)).transpose()?, paging.limit()?);
    let found = apps::list(&state.ctx, &actor, after.as_ref(), limit).await?;
    let views = apps::describe(&state.ctx, &actor, &found).await?;
    Ok(page(views.iter().map(AppView::from).collect(), limit, |app| app.name.clone()))
}

#[utoipa::path(post, path = "/v1/apps", tag = "apps", request_body = NewAppBody,
    responses((status = 201, body = AppView), (status = "default", body = ProblemView)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(body): Body<NewAppBody>,
) -> Answer<(StatusCode, Json<AppView>)> {
    let organization = body.organization.as_deref().map(|o| name("organization", o)).transpose()?;
    let new = NewApp { name: name("name", &body.name)?, organization };
    let app = apps::create(&state.ctx, &actor, new).await?;
    // The actor may own the organization since a moment ago only; its memberships are read anew.
    let actor = apps::refreshed(&state.ctx, &actor).await?;
    Ok((StatusCode::CREATED, Json(view(&state.ctx, &actor, &app).await?)))
}

/// An app with its environments. `app` is a name, `ORGANIZATION/NAME` or an id.
#[utoipa::path(get, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = AppDetail), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<Json<AppDetail>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let environments = apps::overview(&state.ctx, &actor, &app).await?;
    let environments = environments.iter().map(EnvironmentView::from).collect();
    Ok(Json(AppDetail { app: view(&state.ctx, &actor, &app).await?, environments }))
}

/// Renames. Its host name follows; git addresses with the old name stop working.
#[utoipa::path(patch, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)), request_body = AppChange,
    responses((status = 200, body = AppView), (status = "default", body = ProblemView)))]
pub(super) async fn rename(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<AppChange>,
) -> Answer<Json<AppView>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let app = apps::rename(&state.ctx, &actor, &app, name("name", &body.name)?).await?;
    Ok(Json(view(&state.ctx, &actor, &app).await?))
}

/// Destroys the app and all its releases. There is no way back.
#[utoipa::path(delete, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn destroy(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<StatusCode> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    deploy::destroy(&state.ctx, &actor, &app).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn view(ctx: &Ctx, actor: &Actor, app: &App) -> Answer<AppView> {
    let described = apps::describe(ctx, actor, std::slice::from_ref(app)).await?;
    Ok(described.first().map(AppView::from).ok_or_else(|| Error::not_found("app"))?)
}
