//! Hosts of buildpacks: a git repository, files, a registry, and what a host may do to who fetches from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use hythe::base::model::ImageDigest;
use hythe::machinery::image::BlobStore;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::harness::program;

/// What a host has.
#[derive(Clone, Default)]
pub struct Goods {
    /// At `/repo.git`.
    pub repository: Option<PathBuf>,
    /// By name, at the root.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `acme/pack:1`
    pub image: Option<(BlobStore, ImageDigest)>,
    /// What a request must have for its authorization.
    pub authorization: Option<String>,
    /// Paths that were asked for.
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl Goods {
    /// `127.0.0.1:PORT`
    pub async fn offer(self, tasks: &mut JoinSet<()>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address").to_string();
        let router = Router::new()
            .route("/repo.git/info/refs", get(refs))
            .route("/repo.git/git-upload-pack", post(pack))
            .route("/v2/acme/pack/manifests/{name}", get(blob))
            .route("/v2/acme/pack/blobs/{name}", get(blob))
            .route("/away.tgz", get(async || Redirect::temporary("http://169.254.169.254/latest/meta-data")))
            .route("/endless.tgz", get(async || Body::from_stream(endless())))
            .route("/{file}", get(file))
            .layer(middleware::from_fn_with_state(self.clone(), guarded))
            .with_state(self);
        tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
        address
    }

    pub fn asked_for(&self, path: &str) -> usize {
        self.seen.lock().expect("lock").iter().filter(|seen| *seen == path).count()
    }
}

fn endless() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let tick = || tokio::time::sleep(Duration::from_millis(100));
    futures_util::stream::repeat(()).then(move |()| tick()).map(|()| Ok(Bytes::from_static(b"more")))
}

async fn guarded(State(goods): State<Goods>, request: Request, next: Next) -> Response {
    goods.seen.lock().expect("lock").push(request.uri().path().to_owned());
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match &goods.authorization {
        Some(wanted) if sent != Some(wanted) => {
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"x\"")]).into_response()
        }
        _ => next.run(request).await,
    }
}

async fn refs(State(goods): State<Goods>) -> Result<Vec<u8>, StatusCode> {
    let repository = goods.repository.ok_or(StatusCode::NOT_FOUND)?;
    let mut git = tokio::process::Command::from(program("git"));
    git.args(["upload-pack", "--stateless-rpc", "--advertise-refs"]).arg(repository).env("GIT_PROTOCOL", "version=2");
    let said = git.output().await.expect("git");
    Ok([b"001e# service=git-upload-pack\n0000", &said.stdout[..]].concat())
}

async fn pack(State(goods): State<Goods>, _: HeaderMap, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let repository = goods.repository.ok_or(StatusCode::NOT_FOUND)?;
    let mut git = tokio::process::Command::from(program("git"));
    git.args(["upload-pack", "--stateless-rpc"]).arg(repository).env("GIT_PROTOCOL", "version=2");
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git");
    child.stdin.take().expect("stdin").write_all(&body).await.expect("written");
    Ok(child.wait_with_output().await.expect("git").stdout)
}

async fn blob(State(goods): State<Goods>, Path(name): Path<String>) -> Result<Vec<u8>, StatusCode> {
    let (blobs, image) = goods.image.ok_or(StatusCode::NOT_FOUND)?;
    let digest = if name == "1" { image.to_string() } else { name };
    digest.parse().ok().and_then(|digest| blobs.read(&digest).ok()).ok_or(StatusCode::NOT_FOUND)
}

async fn file(State(goods): State<Goods>, Path(name): Path<String>) -> Result<Vec<u8>, StatusCode> {
    goods.files.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}
