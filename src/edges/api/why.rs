//! Why an environment is as it is.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::Path;
use super::problem::Answer;
use super::types::{ProblemView, WhyView};
use crate::product::insight;

/// The chain of causes with its evidence, what is wanted beside what is seen, and what to do next.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/why", tag = "environments",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = WhyView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<WhyView>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let why = insight::why(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(WhyView::from(&why)))
}
