//! Commands beside the replicas: by themselves, or with their streams in the caller's hands.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::attach;
use super::builds::OutputQuery;
use super::caller::Caller;
use super::environments::place;
use super::input::{Body, Paging, Path, Query};
use super::lines::{self, Format};
use super::problem::{Answer, Problem};
use super::types::frames::PROTOCOL;
use super::types::{CommandView, NewCommandBody, Page, ProblemView};
use crate::base::error::Error;
use crate::product::deploy::{self, NewCommand};

/// Newest first; the newest `limit` of them.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/commands", tag = "commands",
    params(("app" = String, Path), ("environment" = String, Path), Paging),
    responses((status = 200, body = Page<CommandView>), (status = "default", body = ProblemView)))]
pub(super) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> Answer<Json<Page<CommandView>>> {
    if paging.after.is_some() {
        return Err(Error::invalid("after", "this list has one page").into());
    }
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let all = deploy::commands(&state.ctx, &actor, &app, &environment, paging.limit()?).await?;
    Ok(Json(Page { items: all.iter().map(CommandView::from).collect(), next: None }))
}

/// Runs a command from the live release, by itself; its output is kept.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/commands", tag = "commands",
    params(("app" = String, Path), ("environment" = String, Path)), request_body = NewCommandBody,
    responses((status = 202, body = CommandView), (status = "default", body = ProblemView)))]
pub(super) async fn start(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Body(body): Body<NewCommandBody>,
) -> Answer<(StatusCode, Json<CommandView>)> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let new = NewCommand { words: body.command, ..NewCommand::default() };
    let command = deploy::run_detached(&state.ctx, &actor, &app, &environment, &new).await?;
    Ok((StatusCode::ACCEPTED, Json(CommandView::from(&command))))
}

/// Runs a command, or enters a replica, with its streams over this connection: send `Connection: Upgrade` and
/// `Upgrade: hythe-command/1`, and after the answer 101 what to run, as the first of the frames that
/// `src/edges/api/types/frames.rs` describes.
#[utoipa::path(post, path = "/v1/apps/{app}/environments/{environment}/attach", tag = "commands",
    params(("app" = String, Path), ("environment" = String, Path)),
    responses((status = 101, description = "Frames follow"), (status = "default", body = ProblemView)))]
pub(super) async fn open(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Answer<Response> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    deploy::may_run(&actor, &app)?;
    let asked = headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    let stream = attach::stream(request).filter(|stream| asked || stream.is_local()).ok_or_else(|| {
        let text = format!("send Connection: Upgrade and Upgrade: {PROTOCOL}, over HTTP/1.1");
        Problem::Http(StatusCode::UPGRADE_REQUIRED, "upgrade-required", text)
    })?;
    let opening = attach::Opening { ctx: state.ctx.clone(), actor, app, environment };
    state.sessions.spawn(async move { attach::serve(stream, opening).await });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/commands/{command}", tag = "commands",
    params(("app" = String, Path), ("environment" = String, Path), ("command" = String, Path)),
    responses((status = 200, body = CommandView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, id)): Path<(String, String, String)>,
) -> Answer<Json<CommandView>> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let command = deploy::command(&state.ctx, &actor, &app, &environment, &id).await?;
    Ok(Json(CommandView::from(&command)))
}

/// Asks it to end: SIGTERM, grace, SIGKILL.
#[utoipa::path(delete, path = "/v1/apps/{app}/environments/{environment}/commands/{command}", tag = "commands",
    params(("app" = String, Path), ("environment" = String, Path), ("command" = String, Path)),
    responses((status = 204), (status = "default", body = ProblemView)))]
pub(super) async fn stop(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, id)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let command = deploy::command(&state.ctx, &actor, &app, &environment, &id).await?;
    deploy::stop_command(&state.ctx, &actor, &app, &command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All that it wrote, as text, or as server-sent events for `Accept: text/event-stream`.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/commands/{command}/output", tag = "commands",
    params(("app" = String, Path), ("environment" = String, Path), ("command" = String, Path), OutputQuery),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ProblemView)))]
pub(super) async fn output(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path((app, environment, id)): Path<(String, String, String)>,
    Query(query): Query<OutputQuery>,
    format: Format,
) -> Answer<Response> {
    let (app, environment) = place(&state.ctx, &actor, &(app, environment)).await?;
    let command = deploy::command(&state.ctx, &actor, &app, &environment, &id).await?;
    let lines = deploy::command_output(&state.ctx, &actor, &app, &command, query.follow).await?;
    Ok(lines::answer(&format, lines))
}
