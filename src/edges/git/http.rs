//! Smart HTTP: `GET …/info/refs?service=S`, `POST …/S`, each a part of a conversation. An API token is the password of any user.

use std::collections::HashSet;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncBufReadExt, DuplexStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::{Git, fault, refusal};
use crate::base::access::Actor;
use crate::base::error::{Error, Kind};
use crate::base::model::{App, AppId};
use crate::edges::credentials;
use crate::machinery::git::{self, GitError, Part};
use crate::product::accounts;

const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");
/// A client that sends nothing for so long has gone.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// An answer begins with what went wrong, if that is known so soon; later it is a success that ends with it.
const LONGEST_DOUBT: Duration = Duration::from_secs(5);
/// Apps that were just made for a push whose objects have not come yet.
const MOST_MADE: usize = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Receive,
    Upload,
}

/// Cheap to clone.
#[derive(Clone)]
struct Gate {
    git: Git,
    places: Arc<Semaphore>,
    made: Arc<Mutex<HashSet<AppId>>>,
}

/// Serves `/APP.git/…` and `/ORG/APP.git/…`.
pub fn router(git: Git) -> axum::Router {
    let places = Arc::new(Semaphore::new(git.ctx.config.git.max_sessions));
    let mut router = axum::Router::new();
    for at in ["/{app}", "/{app}/{second}"] {
        router = router
            .route(&format!("{at}/info/refs"), get(advertise))
            .route(&format!("{at}/git-receive-pack"), post(answer))
            .route(&format!("{at}/git-upload-pack"), post(answer));
    }
    router.with_state(Gate { git, places, made: Arc::default() })
}

/// What git shows behind `remote: `.
struct Refused(StatusCode, String);

impl Refused {
    fn busy() -> Self {
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "hythe: too many git sessions at once; try again in a moment\n".to_owned(),
        )
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.kind {
            Kind::Unauthenticated => {
                let text =
                    "hythe: an API token is needed as the password, with any user; make one with: hythe tokens:create";
                return Self(StatusCode::UNAUTHORIZED, format!("{text}\n"));
            }
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::FORBIDDEN,
        };
        Self(status, refusal(&error))
    }
}

impl From<GitError> for Refused {
    fn from(error: GitError) -> Self {
        let status = match &error {
            GitError::Storage { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            GitError::Disconnected(cause)
                if matches!(cause.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData) =>
            {
                return Self(
                    StatusCode::BAD_REQUEST,
                    "hythe: the request is compressed, and cannot be unpacked\n".to_owned(),
                );
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, fault(error))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.0, [(CONTENT_TYPE, "text/plain; charset=utf-8")], self.1).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, "Basic realm=\"hythe\"".parse().expect("it is a value"));
        }
        response
    }
}

impl Service {
    const ALL: [Self; 2] = [Self::Receive, Self::Upload];

    fn name(self) -> &'static str {
        match self {
            Self::Receive => "git-receive-pack",
            Self::Upload => "git-upload-pack",
        }
    }

    fn kind(self, what: &str) -> String {
        format!("application/x-{}-{what}", self.name())
    }
}

impl Gate {
    async fn actor(&self, headers: &HeaderMap) -> Result<Actor, Refused> {
        let Some(credentials) = credentials::read(headers) else { return Err(Error::unauthenticated().into()) };
        Ok(accounts::actor_by_token(&self.git.ctx, credentials.secret.reveal()).await?)
    }

    /// True when the app was made for this push.
    async fn open(&self, service: Service, actor: &Actor, path: &str, part: Part) -> Result<(App, bool), Refused> {
        if service == Service::Upload {
            return Ok((self.git.open_for_fetch(actor, path).await?, false));
        }
        let (app, made) = self.git.open_for_push(actor, path).await?;
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if part == Part::Advertisement {
            // Its pusher comes back in a moment.
            if made && all.len() < MOST_MADE {
                all.insert(app.id.clone());
            }
            return Ok((app, made));
        }
        let made = made || all.remove(&app.id);
        Ok((app, made))
    }
}

/// A field of one of git's clients: `version=2`.
fn protocol(headers: &HeaderMap) -> String {
    let value = headers.get(GIT_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if value.len() <= 200 { value.to_owned() } else { String::new() }
}

async fn advertise(State(gate): State<Gate>, uri: Uri, headers: HeaderMap) -> Result<Response, Refused> {
    let actor = gate.actor(&headers).await?;
    let asked = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("service="));
    let Some(service) = Service::ALL.into_iter().find(|service| asked == Some(service.name())) else {
        let text = "hythe: only git's smart HTTP is served here; this client asks for files\n";
        return Err(Refused(StatusCode::FORBIDDEN, text.to_owned()));
    };
    let path = uri.path().strip_suffix("/info/refs").unwrap_or_default();
    let (app, _) = gate.open(service, &actor, path, Part::Advertisement).await?;
    let place = Arc::clone(&gate.places).try_acquire_owned().map_err(|_| Refused::busy())?;
    let protocol = protocol(&headers);
    let written = tokio::task::spawn_blocking(move || {
        let _place = place;
        let (mut text, part) = (Vec::new(), (Part::Advertisement, protocol.as_str()));
        if service == Service::Receive || !super::speaks(&protocol, 2) {
            git::announce(service.name(), &mut text)?;
        }
        match service {
            Service::Receive => gate.git.receive((actor, app, false), part, std::io::empty(), &mut text)?,
            Service::Upload => gate.git.upload(&app, part, std::io::empty(), &mut text)?,
        }
        Ok::<_, GitError>(text)
    });
    let text = written.await.map_err(Error::internal)??;
    Ok(([(CONTENT_TYPE, service.kind("advertisement")), (CACHE_CONTROL, "no-cache".into())], text).into_response())
}

async fn answer(State(gate): State<Gate>, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let actor = gate.actor(&headers).await?;
    let found = Service::ALL.into_iter().find_map(|s| Some((s, uri.path().strip_suffix(s.name())?.strip_suffix('/')?)));
    let Some((service, path)) = found else { return Err(Error::not_found("repository").into()) };
    let is =
        |name: HeaderName, value: &str| headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes());
    if !is(CONTENT_TYPE, &service.kind("request")) {
        let text = format!("hythe: the content type has to be {}\n", service.kind("request"));
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let zipped = match headers.get(CONTENT_ENCODING) {
        None => false,
        Some(_) if is(CONTENT_ENCODING, "gzip") || is(CONTENT_ENCODING, "x-gzip") => true,
        Some(_) => {
            let text = "hythe: a request may be compressed by gzip, and by nothing else\n";
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
        }
    };
    let (app, made) = gate.open(service, &actor, path, Part::Answer).await?;
    if service == Service::Receive {
        tracing::info!(user.name = %actor.user.name, app.name = %app.name, "push over HTTP");
    }
    let place = Arc::clone(&gate.places).try_acquire_owned().map_err(|_| Refused::busy())?;
    let input = SyncIoBridge::new(StreamReader::new(Box::pin(patient(body.into_data_stream()))));
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let output = SyncIoBridge::new(ours);
    let talk = Talk { git: gate.git, service, zipped, protocol: protocol(&headers), place };
    let task = tokio::task::spawn_blocking(move || talk.run((actor, app, made), input, output));
    respond(service, theirs, task).await
}

/// The pieces of a body, as long as they come.
fn patient(body: BodyDataStream) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::unfold(body, |mut body| async move {
        let piece = match tokio::time::timeout(LONGEST_SILENCE, body.next()).await {
            Ok(piece) => piece?.map_err(std::io::Error::other),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        Some((piece, body))
    })
}

/// One request and its answer, on a thread that may block.
struct Talk {
    git: Git,
    service: Service,
    zipped: bool,
    protocol: String,
    place: OwnedSemaphorePermit,
}

impl Talk {
    fn run(self, who: (Actor, App, bool), input: impl Read, output: impl Write) -> git::Result<()> {
        let Self { git, service, zipped, protocol, place: _place } = self;
        let input = BufReader::with_capacity(64 << 10, input);
        let mut input: Box<dyn std::io::BufRead> = if zipped { Box::new(git::gunzip(input)) } else { Box::new(input) };
        let mut output = BufWriter::with_capacity(64 << 10, output);
        let part = (Part::Answer, protocol.as_str());
        match service {
            Service::Receive => git.receive(who, part, &mut input, &mut output)?,
            Service::Upload => git.upload(&who.1, part, &mut input, &mut output)?,
        }
        output.flush().map_err(GitError::Disconnected)
    }
}

async fn respond(
    service: Service,
    output: DuplexStream,
    task: JoinHandle<git::Result<()>>,
) -> Result<Response, Refused> {
    let mut output = tokio::io::BufReader::with_capacity(64 << 10, output);
    let begun = tokio::time::timeout(LONGEST_DOUBT, output.fill_buf()).await;
    if let Ok(Ok([])) = begun {
        // Nothing was said: it ended, well or not.
        task.await.map_err(Error::internal)??;
    }
    let headers = [(CONTENT_TYPE, service.kind("result")), (CACHE_CONTROL, "no-cache".into())];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(output, 64 << 10))).into_response())
}
