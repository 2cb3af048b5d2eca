//! REST under `/v1`. Handlers translate: caller → parse → one verb → view; what may be seen and
//! done is decided by the verbs. Every answer carries a `Request-Id`; every refusal is a problem.

mod accounts;
mod answer;
mod apps;
mod attach;
mod bases;
mod buildpacks;
mod builds;
mod caller;
mod certs;
mod checks;
mod commands;
mod contents;
mod crons;
mod deployments;
mod disk;
mod domains;
mod drains;
mod environments;
mod events;
mod input;
mod lines;
mod logs;
mod metrics;
mod platform;
mod problem;
mod processes;
mod releases;
mod rollouts;
mod routes;
mod scaling;
mod sizes;
mod sources;
mod throttle;
mod traffic;
pub mod types;
mod variables;
mod volumes;
mod webhooks;
mod why;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use futures_util::{FutureExt, StreamExt};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::base::access::Actor;
use crate::product::Ctx;
use throttle::Throttle;
use types::{Local, LocalAnswer, LocalRequest};

pub use routes::document;

#[derive(Clone)]
struct ApiState {
    ctx: Ctx,
    throttle: Arc<Throttle>,
    document: Arc<str>,
    /// Connections that became those of a command's streams.
    sessions: TaskTracker,
}

/// Serve it with connect info of `SocketAddr`, so that failed proofs are counted per address.
pub fn router(ctx: Ctx) -> axum::Router {
    let (router, _) = routes::table().split_for_parts();
    let state = ApiState { ctx, throttle: Arc::default(), document: document().into(), sessions: TaskTracker::new() };
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(answer::finish))
        .with_state(state)
}

/// The way in for a caller whom this process has authenticated itself.
pub fn in_process(router: axum::Router, actor: Actor) -> Local {
    Arc::new(move |request| call(router.clone(), actor.clone(), request).boxed())
}

async fn call(router: axum::Router, actor: Actor, request: LocalRequest) -> LocalAnswer {
    let failed = |status: u16| LocalAnswer { status, body: futures_util::stream::empty().boxed() };
    let request_stream = request.stream;
    let (kind, body) = match request.upload {
        Some(bytes) => ("application/octet-stream", Body::from_stream(bytes)),
        None => ("application/json", request.body.map_or_else(Body::empty, Body::from)),
    };
    let built = Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(header::CONTENT_TYPE, kind)
        .extension(actor)
        .body(body);
    let Ok(mut request) = built else { return failed(400) };
    if let Some(stream) = request_stream {
        request.extensions_mut().insert(attach::LocalStream::new(stream));
    }
    let Ok(answer) = router.oneshot(request).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().into_data_stream().map(|part| part.map_err(std::io::Error::other)).boxed();
    LocalAnswer { status, body }
}
