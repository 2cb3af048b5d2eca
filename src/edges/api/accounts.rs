//! Set-up, the caller itself, its keys and tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::ApiState;
use super::caller::{Address, Caller};
use super::input::{Body, Path, name};
use super::problem::{Answer, Problem};
use super::types::{KeyView, NewKeyBody, NewTokenBody, Page, ProblemView, SetupBody, SetupView, TokenView, UserView};
use crate::base::error::{Error, Kind};
use crate::product::accounts::{self, NewKey, NewOperator, NewToken};
use crate::product::apps;

/// Makes the first administrator; once, with the token that the server printed.
#[utoipa::path(post, path = "/v1/setup", tag = "account", security(()), request_body = SetupBody,
    responses((status = 201, body = SetupView), (status = "default", body = ProblemView)))]
pub(super) async fn setup(
    State(state): State<ApiState>,
    address: Address,
    Body(body): Body<SetupBody>,
) -> Answer<(StatusCode, Json<SetupView>)> {
    let operator = NewOperator { name: name("name", &body.name)?, email: body.email, ssh_key: body.ssh_key };
    let made = accounts::setup(&state.ctx, &body.token, operator).await;
    let (user, token) = made.map_err(|error| match error.kind {
        Kind::Forbidden => state.wrong_proof(&address, error),
        _ => Problem::from(error),
    })?;
    Ok((StatusCode::CREATED, Json(SetupView { user: UserView::from(&user), token: token.reveal().clone() })))
}

#[utoipa::path(get, path = "/v1/whoami", tag = "account",
    responses((status = 200, body = UserView), (status = "default", body = ProblemView)))]
pub(super) async fn whoami(Caller(actor): Caller) -> Answer<Json<UserView>> {
    actor.may_act()?;
    Ok(Json(UserView::from(&actor.user)))
}

/// The caller's SSH keys.
#[utoipa::path(get, path = "/v1/keys", tag = "account",
    responses((status = 200, body = Page<KeyView>), (status = "default", body = ProblemView)))]
pub(super) async fn keys(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<Page<KeyView>>> {
    let keys = accounts::keys(&state.ctx, &actor).await?;
    Ok(Json(Page { items: keys.iter().map(KeyView::from).collect(), next: None }))
}

#[utoipa::path(post, path = "/v1/keys", tag = "account", request_body = NewKeyBody,
    responses((status = 201, body = KeyView), (status = "default", body = ProblemView)))]
pub(super) async fn add_key(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(body): Body<NewKeyBody>,
) -> Answer<(StatusCode, Json<KeyView>)> {
    let new = NewKey { name: body.name, public_key: body.public_key };
    let key = accounts::add_key(&state.ctx, &actor, new).await?;
    Ok((StatusCode::CREATED, Json(KeyView::from(&key))))
}

#[utoipa::path(delete, path = "/v1/keys/{name}", tag = "account", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove_key(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    accounts::remove_key(&state.ctx, &actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's API tokens, without their texts.
#[utoipa::path(get, path = "/v1/tokens", tag = "account",
    responses((status = 200, body = Page<TokenView>), (status = "default", body = ProblemView)))]
pub(super) async fn tokens(State(state): State<ApiState>, Caller(actor): Caller) -> Answer<Json<Page<TokenView>>> {
    let tokens = accounts::tokens(&state.ctx, &actor).await?;
    Ok(Json(Page { items: tokens.iter().map(TokenView::from).collect(), next: None }))
}

#[utoipa::path(post, path = "/v1/tokens", tag = "account", request_body = NewTokenBody,
    responses((status = 201, body = TokenView), (status = "default", body = ProblemView)))]
pub(super) async fn create_token(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Body(body): Body<NewTokenBody>,
) -> Answer<(StatusCode, Json<TokenView>)> {
    let grant = match (&body.app, body.role.as_deref()) {
        (None, None) => None,
        (None, Some(_)) => return Err(Error::invalid("app", "must be there when role is").into()),
        (Some(app), role) => {
            let role = role.unwrap_or("developer").parse().map_err(|text: String| Error::invalid("role", text))?;
            Some((apps::resolve(&state.ctx, &actor, app).await?, role))
        }
    };
    let new = NewToken { name: body.name, expires_in_days: body.expires_in_days, grant };
    let (token, text) = accounts::create_token(&state.ctx, &actor, new).await?;
    let view = TokenView { token: Some(text.reveal().clone()), ..TokenView::from(&token) };
    Ok((StatusCode::CREATED, Json(view)))
}

#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "account", params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn remove_token(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    accounts::remove_token(&state.ctx, &actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
