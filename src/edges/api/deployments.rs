//! Deployments of an environment, their steps and their output.

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::ApiState;
use super::builds::OutputQuery;
use super::caller::Caller;
use super::environments::place;
use super::input::{Paging, Path, Query};
use super::lines::{self, Format};
use super::problem::Answer;
use super::types::{CommandView, DeploymentDetail, DeploymentView, Page, ProblemView, StepView};
use crate::base::error::Error;
use crate::product::{apps, deploy};

/// Newest first; the newest `limit` of them.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/deployments", tag = "deployments",
    params(("app" = String, Path), ("environment" = String, Path), Paging),
    responses((status = 200, body = Page<DeploymentView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> Answer<Json<Page<DeploymentView>>> {
    if paging.after.is_some() {
        return Err(Error::invalid("after", "this list has one page").into());
    }
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = deploy::deployments(&state.ctx, &actor, &app, &environment, paging.limit()?).await?;
    Ok(Json(Page { items: all.iter().map(|d| DeploymentView::within(d, &environment)).collect(), next: None }))
}

#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/deployments/{deployment}", tag = "deployments",
    params(("app" = String, Path), ("environment" = String, Path), ("deployment" = String, Path)),
    responses((status = 200, body = DeploymentDetail), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, id)): Path<(String, String, String)>,
) -> Answer<Json<DeploymentDetail>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let (deployment, steps) = deploy::deployment(&state.ctx, &actor, &app, &environment, &id).await?;
    let steps = steps.iter().map(StepView::from).collect();
    let mut commands = Vec::new();
    for (command, output) in deploy::deployment_commands(&state.ctx, &actor, &app, &deployment).await? {
        commands.push(CommandView { output, ..CommandView::from(&command) });
    }
    Ok(Json(DeploymentDetail { deployment: DeploymentView::within(&deployment, &environment), steps, commands }))
}

/// All that the deployment said, as text, or as server-sent events for `Accept: text/event-stream`.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/deployments/{deployment}/output", tag = "deployments",
    params(("app" = String, Path), ("environment" = String, Path), ("deployment" = String, Path), OutputQuery),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ProblemView)))]
pub(super) async fn output(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, id)): Path<(String, String, String)>,
    Query(query): Query<OutputQuery>,
    format: Format,
) -> Answer<Response> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let (deployment, _) = deploy::deployment(&state.ctx, &actor, &app, &environment, &id).await?;
    let lines = apps::output(&state.ctx, &actor, &app, &deployment.job_id, query.follow).await?;
    Ok(lines::answer(&format, lines))
}
