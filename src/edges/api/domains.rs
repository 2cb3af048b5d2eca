//! Domains of an environment.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path};
use super::problem::Answer;
use super::types::{DomainItem, NewDomainBody, Page, ProblemView};
use crate::product::deploy;

/// Those of people's own, oldest first; all on one page. The hosts below the base domain are none of them.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/domains", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<DomainItem>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<DomainItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = deploy::domains(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(Page { items: all.iter().map(DomainItem::from).collect(), next: None }))
}

/// Claims a domain; `proofs` of the answer says what to publish before it is verified.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/domains", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = NewDomainBody,
    responses((status = 201, body = DomainItem), (status = "default", body = ProblemView)))]
pub(super) async fn add(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<NewDomainBody>,
) -> Answer<(StatusCode, Json<DomainItem>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let view = deploy::add_domain(&state.ctx, &actor, &app, &environment, &body.domain).await?;
    Ok((StatusCode::CREATED, Json(DomainItem::from(&view))))
}

/// Looks for the proof; with it, requests for the domain come here from now on. 409 says what was found instead. By name
/// or id.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/domains/{domain}/verify", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path), ("domain" = String, Path)),
    responses((status = 200, body = DomainItem), (status = "default", body = ProblemView)))]
pub(super) async fn verify(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, domain)): Path<(String, String, String)>,
) -> Answer<Json<DomainItem>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let view = deploy::verify_domain(&state.ctx, &actor, &app, &environment, &domain).await?;
    Ok(Json(DomainItem::from(&view)))
}

/// Requests for it are not answered by the app any more. By name or id.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/domains/{domain}", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path), ("domain" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, domain)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    deploy::remove_domain(&state.ctx, &actor, &app, &environment, &domain).await?;
    Ok(StatusCode::NO_CONTENT)
}
