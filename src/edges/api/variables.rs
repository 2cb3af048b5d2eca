//! Variables of an environment.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::types::{DeploymentView, ProblemView, VariablesChanged, VariablesView};
use crate::base::secret::Secret;
use crate::product::{apps, deploy};

/// Names and values; for developers and above.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/variables", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = VariablesView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<VariablesView>> {
    let app = apps::resolve(&state.ctx, &actor, &path.0).await?;
    let set = apps::variables(&state.ctx, &actor, &app, &path.1).await?;
    Ok(Json(VariablesView::from(&set)))
}

/// Sets the variables given, removes those that are null (RFC 7396), leaves the others. Where something runs, the answer
/// is 202 with the deployment that brings the new values to it.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}/variables", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = BTreeMap<String, Option<String>>,
    responses((status = 200, body = VariablesChanged), (status = 202, body = VariablesChanged),
        (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<BTreeMap<String, Option<String>>>,
) -> Answer<(StatusCode, Json<VariablesChanged>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let changes = body.into_iter().map(|(key, value)| Ok((name(&key, &key)?, value.map(Secret::new))));
    let changes = changes.collect::<Answer<_>>()?;
    let (version, deployment) = deploy::set_variables(&state.ctx, &actor, &app, &environment, &changes).await?;
    let status = if deployment.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let deployment = deployment.as_ref().map(DeploymentView::from);
    Ok((status, Json(VariablesChanged { version, deployment })))
}
