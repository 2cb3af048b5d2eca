//! Environments of an app.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{EnvironmentChangeBody, EnvironmentView, NewEnvironmentBody, Page, ProblemView};
use crate::base::access::Actor;
use crate::base::error::Error;
use crate::base::model::{App, Check, CheckKind, Environment, HealthCheck, Strategy};
use crate::product::Ctx;
use crate::product::apps::{self, EnvironmentChange, NewEnvironment};
use crate::product::deploy;

fn strategy(word: Option<&str>, hold: Option<u32>) -> Answer<Option<Strategy>> {
    let Some(word) = word else {
        let alone = || Error::invalid("hold_seconds", "is set together with its strategy, such as canary=10,50");
        return if hold.is_some() { Err(alone().into()) } else { Ok(None) };
    };
    let strategy: Strategy = name("strategy", word)?;
    Ok(Some(strategy.holding(hold).map_err(|fault| Error::invalid("hold_seconds", fault.to_string()))?))
}

/// Both names of a path to an environment.
pub(super) async fn place(ctx: &Ctx, actor: &Actor, path: &(String, String)) -> Answer<(App, Environment)> {
    let app = apps::resolve(ctx, actor, &path.0).await?;
    let environment = apps::environment(ctx, actor, &app, &path.1).await?;
    Ok((app, environment))
}

pub(super) async fn view(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Answer<EnvironmentView> {
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

/// An empty one, with variables, numbers of replicas and a host of its own.
#[utoipa::path(post, path = "/v1/apps/{app}/environments", tag = "environments", params(("app" = String, Path)),
    request_body = NewEnvironmentBody,
    responses((status = 201, body = EnvironmentView), (status = "default", body = ProblemView)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    Body(body): Body<NewEnvironmentBody>,
) -> Answer<(StatusCode, Json<EnvironmentView>)> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let branch = body.branch.as_deref().map(|b| name("branch", b)).transpose()?;
    let new = NewEnvironment { name: name("name", &body.name)?, branch };
    let environment = apps::create_environment(&state.ctx, &actor, &app, new).await?;
    Ok((StatusCode::CREATED, Json(view(&state.ctx, &actor, &app, &environment).await?)))
}

/// Destroys it with its variables and releases. There is no way back.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn destroy(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let app = apps::resolve(&state.ctx, &actor, &path.0).await?;
    deploy::destroy_environment(&state.ctx, &actor, &app, &path.1).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets its branch, the path of its web check, its watch, its strategy, what plain HTTP gets, or stops and starts it.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = EnvironmentChangeBody,
    responses((status = 200, body = EnvironmentView), (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<EnvironmentChangeBody>,
) -> Answer<Json<EnvironmentView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let change = EnvironmentChange {
        branch: body.branch.as_deref().map(|b| name("branch", b)).transpose()?,
        stopped: body.stopped,
        watch_seconds: body.watch_seconds,
        strategy: strategy(body.strategy.as_deref(), body.hold_seconds)?,
        redirect: body.redirect,
        hsts_seconds: body.hsts_seconds,
    };
    if let Some(path) = body.check {
        let check = path.map(|path| HealthCheck::new(CheckKind::Readiness, Check::http(path)));
        let changes = [(name("web", "web")?, [(CheckKind::Readiness, check)].into())].into();
        deploy::set_checks(&state.ctx, &actor, &app, &environment, &changes).await?;
    }
    let environment = apps::change_environment(&state.ctx, &actor, &app, &path.1, change).await?;
    Ok(Json(view(&state.ctx, &actor, &app, &environment).await?))
}
