//! Startup, readiness and liveness checks of an environment.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{CheckItem, Page, ProblemView, ProcessChecksBody};
use crate::base::access::Actor;
use crate::base::model::{App, Environment};
use crate::product::Ctx;
use crate::product::deploy::{self, CheckChanges};

/// Those in effect: set ones, those of the live release's `app.json`, and what every process type has without them.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/checks", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<CheckItem>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<CheckItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    view(&state.ctx, &actor, &app, &environment).await
}

/// Process type → kind → check. A check takes the place of what `app.json` has there, null returns to that (RFC 7396).
/// Makes a release; the replicas that run are asked from now on, none is restarted for it.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}/checks", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    request_body = BTreeMap<String, ProcessChecksBody>,
    responses((status = 200, body = Page<CheckItem>), (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<BTreeMap<String, ProcessChecksBody>>,
) -> Answer<Json<Page<CheckItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let mut changes = CheckChanges::new();
    for (process, kinds) in body {
        let known = changes.entry(name(&process, &process)?).or_default();
        for (kind, check) in kinds.into_kinds() {
            let place = format!("{process}.{kind}");
            known.insert(kind, check.map(|check| check.read(&place, kind)).transpose()?);
        }
    }
    let environment = deploy::set_checks(&state.ctx, &actor, &app, &environment, &changes).await?;
    view(&state.ctx, &actor, &app, &environment).await
}

async fn view(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Answer<Json<Page<CheckItem>>> {
    let checks = deploy::checks(ctx, actor, app, environment).await?;
    Ok(Json(Page { items: checks.iter().map(CheckItem::from).collect(), next: None }))
}
