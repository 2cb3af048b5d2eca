//! Environments of an app.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{EnvironmentChangeBody, EnvironmentView, Page, ProblemView};
use crate::base::access::Actor;
use crate::base::error::Error;
use crate::base::model::{App, Check, Environment};
use crate::product::Ctx;
use crate::product::apps::{self, EnvironmentChange};

/// Both names of a path to an environment.
pub(super) async fn place(ctx: &Ctx, actor: &Actor, path: &(String, String)) -> Answer<(App, Environment)> {
    let app = apps::resolve(ctx, actor, &path.0).await?;
    let environment = apps::environment(ctx, actor, &app, &path.1).await?;
    Ok((app, environment))
}

async fn view(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Answer<EnvironmentView> {
    let all = apps::overview(ctx, actor, app).await?;
    let found = all.iter().find(|overview| overview.environment.id == environment.id);
    Ok(found.map(EnvironmentView::from).ok_or_else(|| Error::not_found("environment"))?)
}

#[utoipa::path(get, path = "/v1/apps/{app}/environments", tag = "environments", params(("app" = String, Path)),
    responses((status = 200, body = Page<EnvironmentView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<Json<Page<EnvironmentView>>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let all = apps::overview(&state.ctx, &actor, &app).await?;
    Ok(Json(Page { items: all.iter().map(EnvironmentView::from).collect(), next: None }))
}

#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = EnvironmentView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<EnvironmentView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}

/// Sets its branch, its check, or stops and starts it.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = EnvironmentChangeBody,
    responses((status = 200, body = EnvironmentView), (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<EnvironmentChangeBody>,
) -> Answer<Json<EnvironmentView>> {
    let app = apps::resolve(&state.ctx, &actor, &path.0).await?;
    let change = EnvironmentChange {
        branch: body.branch.as_deref().map(|b| name("branch", b)).transpose()?,
        check: body.check.map(|check| check.map(|path| Check::Http { path })),
        stopped: body.stopped,
    };
    let environment = apps::change_environment(&state.ctx, &actor, &app, &path.1, change).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}
