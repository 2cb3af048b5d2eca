//! Certificates of an environment.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Path};
use super::problem::Answer;
use super::types::{AuthorityView, CertificateItem, NameItem, NewCertificateBody, OrderBody, Page, ProblemView};
use crate::base::secret::Secret;
use crate::product::routing;

/// Oldest first; all on one page. Keys are never shown.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/certs", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<CertificateItem>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<CertificateItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = routing::certificates(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(Page { items: all.iter().map(CertificateItem::from).collect(), next: None }))
}

/// It answers at once for all names of the environment that it covers. Its chain, its time, its key and its names are
/// checked.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/certs", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = NewCertificateBody,
    responses((status = 201, body = CertificateItem), (status = "default", body = ProblemView)))]
pub(super) async fn add(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<NewCertificateBody>,
) -> Answer<(StatusCode, Json<CertificateItem>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let key = Secret::new(body.key);
    let pair = (body.certificate.as_str(), &key);
    let view = routing::add_certificate(&state.ctx, &actor, &app, &environment, pair).await?;
    Ok((StatusCode::CREATED, Json(CertificateItem::from(&view))))
}

/// By id.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/certs/{certificate}", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path), ("certificate" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, certificate)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    routing::remove_certificate(&state.ctx, &actor, &app, &environment, &certificate).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Each name that the environment answers on, with what is known of its certificate; all on one page.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/certs/names", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Page<NameItem>), (status = "default", body = ProblemView)))]
pub(super) async fn names(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Page<NameItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = routing::certificate_names(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(Page { items: all.iter().map(NameItem::from).collect(), next: None }))
}

/// Says whether certificates are ordered for a name, or for all names of the environment. They are until somebody says no.
#[utoipa::path(put, path = "/v1/apps/{app}/environments/{environment}/certs/auto", tag = "domains",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = OrderBody,
    responses((status = 200, body = Page<NameItem>), (status = "default", body = ProblemView)))]
pub(super) async fn auto(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<OrderBody>,
) -> Answer<Json<Page<NameItem>>> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let said = (body.domain.as_deref(), body.ordered);
    routing::order_certificates(&state.ctx, &actor, &app, &environment, said).await?;
    let all = routing::certificate_names(&state.ctx, &actor, &app, &environment).await?;
    Ok(Json(Page { items: all.iter().map(NameItem::from).collect(), next: None }))
}

/// Of the server's own authority, which signs for development.
#[utoipa::path(get, path = "/v1/certs/authority", tag = "domains",
    responses((status = 200, body = AuthorityView), (status = "default", body = ProblemView)))]
pub(super) async fn authority(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<AuthorityView>> {
    Ok(Json(AuthorityView { certificate: routing::authority(&state.ctx, &actor).await? }))
}
