//! Sizes: what there is, and which process type has which.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path, name};
use super::problem::Answer;
use super::processes::view;
use super::types::{DeploymentView, FormationBody, FormationChanged, Page, ProblemView, SizeView};
use crate::base::config::USUAL;
use crate::product::deploy::{self, Wanted};

/// The usual one first; all on one page.
#[utoipa::path(get, path = "/v1/sizes", tag = "platform",
    responses((status = 200, body = Page<SizeView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<Page<SizeView>>> {
    let all = deploy::sizes(&state.ctx, &actor)?;
    Ok(Json(Page { items: all.iter().map(SizeView::from).collect(), next: None }))
}

/// Sets numbers and sizes of the process types given. Another size makes a release that rolls out, numbers with it.
#[utoipa::path(patch, path = "/v1/apps/{app}/environments/{environment}/formation", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = BTreeMap<String, FormationBody>,
    responses((status = 202, body = FormationChanged), (status = "default", body = ProblemView)))]
pub(super) async fn change(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<BTreeMap<String, FormationBody>>,
) -> Answer<(StatusCode, Json<FormationChanged>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let mut wanted = BTreeMap::new();
    for (process, body) in body {
        let size = match body.size {
            None => None,
            Some(size) => Some(size.filter(|text| text != USUAL).map(|text| name(&process, &text)).transpose()?),
        };
        wanted.insert(name(&process, &process)?, Wanted { count: body.quantity, size });
    }
    let (environment, deployment) = deploy::set_formation(&state.ctx, &actor, &app, &environment, &wanted).await?;
    let processes = view(&state.ctx, &actor, &app, &environment).await?.items;
    let deployment = deployment.as_ref().map(DeploymentView::from);
    Ok((StatusCode::ACCEPTED, Json(FormationChanged { processes, deployment })))
}
