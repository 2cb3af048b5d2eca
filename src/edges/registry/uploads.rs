//! Blobs that are pushed: in one request, in parts, or taken over from another repository.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::response::Response;
use futures_util::StreamExt as _;

use super::refusal::Refusal;
use super::sessions::Session;
use super::{Answer, Asked, DIGEST, Registry, unsendable};
use crate::base::access::Actor;
use crate::base::error::Kind;
use crate::base::model::{App, ContentDigest};
use crate::product::{apps, images};

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;
/// Room on the disk is looked at each time that so many bytes were written.
const LOOK_EVERY: u64 = 256 << 20;
/// A client that sends nothing for so long is cut off.
const SILENCE: Duration = Duration::from_secs(120);
/// What is read of a refused upload, so that its client gets to read why: closing at once would lose the answer.
const DRAINED: u64 = 256 << 20;

impl Registry {
    /// `mount` takes a blob over, `digest` means that all of it comes with this request, neither opens a session.
    pub(super) async fn start_upload(&self, asked: Asked, body: Body) -> Answer {
        let (actor, app) = self.open_to_push(&asked).await?;
        if let Some(text) = asked.parameter("mount") {
            let digest: ContentDigest = text.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
            if self.mount(&asked, &actor, &app, &digest).await? {
                return created(&asked.name, &digest);
            }
        }
        if let Some(reason) = self.ctx.disk.too_full(&self.ctx).await {
            return Err(Refusal::Denied(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        if images::room(&self.ctx, &actor, &app).await? == Some(0) {
            return Err(images::over_quota(&self.ctx).into());
        }
        let digest = asked.parameter("digest").filter(|_| asked.parameter("mount").is_none());
        let digest: Option<ContentDigest> = match digest {
            Some(text) => Some(text.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?),
            None => None,
        };
        let writer = self.blocking(|blobs| blobs.writer()).await?;
        let session = self.sessions.start(&app.id, &actor.user.id, writer)?;
        match digest {
            None => moved_on(&asked.name, &session, StatusCode::ACCEPTED),
            Some(digest) => {
                let fed = self.feed(&actor, &app, &session, body, None).await;
                let kept = match fed {
                    Ok(()) => self.keep_blob(&actor, &app, &session, &digest).await,
                    Err(refusal) => Err(refusal),
                };
                self.sessions.end(&session);
                kept?;
                created(&asked.name, &digest)
            }
        }
    }

    /// Only from where the actor may look; else the client sends the bytes, as if nothing were there.
    async fn mount(&self, asked: &Asked, actor: &Actor, app: &App, digest: &ContentDigest) -> Result<bool, Refusal> {
        let _pin = self.blobs.pin();
        let from = match asked.parameter("from") {
            None => None,
            Some(text) => match apps::resolve(&self.ctx, actor, &text).await {
                Ok(from) => Some(from),
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::Conflict) => return Ok(false),
                Err(error) => return Err(error.into()),
            },
        };
        // A blob of a release of `from` is in its repository as well.
        if let Some(from) = &from
            && let Some(stored) = self.find_blob(actor, from, digest).await?
        {
            let size = self.blocking(move |b| if b.has(&stored) { b.size(&stored).map(Some) } else { Ok(None) });
            let Some(size) = size.await? else { return Ok(false) };
            images::keep_blob(&self.ctx, actor, app, digest, (stored.into(), size)).await?;
            return Ok(true);
        }
        Ok(images::mount(&self.ctx, actor, app, digest, from.as_ref()).await?)
    }

    fn session(&self, actor: &Actor, app: &App, id: &str) -> Result<Arc<Session>, Refusal> {
        let session = self.sessions.find(id, &app.id, &actor.user.id).ok_or(Refusal::UploadUnknown)?;
        session.touch();
        Ok(session)
    }

    pub(super) async fn upload_status(&self, asked: Asked, id: &str) -> Answer {
        let (actor, app) = self.open_to_write(&asked).await?;
        let session = self.session(&actor, &app, id)?;
        moved_on(&asked.name, &session, StatusCode::NO_CONTENT)
    }

    pub(super) async fn cancel_upload(&self, asked: Asked, id: &str) -> Answer {
        let (actor, app) = self.open_to_write(&asked).await?;
        let session = self.session(&actor, &app, id)?;
        self.sessions.end(&session);
        Response::builder().status(StatusCode::NO_CONTENT).body(Body::empty()).map_err(unsendable)
    }

    pub(super) async fn upload_part(&self, asked: Asked, body: Body, id: &str) -> Answer {
        let (actor, app) = self.open_to_write(&asked).await?;
        let session = self.session(&actor, &app, id)?;
        let _turn = session.turn.lock().await;
        let length = in_order(&asked, &session)?;
        self.feed(&actor, &app, &session, body, length).await?;
        moved_on(&asked.name, &session, StatusCode::ACCEPTED)
    }

    pub(super) async fn finish_upload(&self, asked: Asked, body: Body, id: &str) -> Answer {
        let (actor, app) = self.open_to_write(&asked).await?;
        let session = self.session(&actor, &app, id)?;
        let digest = asked.parameter("digest").ok_or(Refusal::DigestInvalid("the digest of the blob is missing"))?;
        let digest: ContentDigest = digest.parse().map_err(|_| Refusal::DigestInvalid("not a digest"))?;
        let _turn = session.turn.lock().await;
        let length = in_order(&asked, &session)?;
        self.feed(&actor, &app, &session, body, length).await?;
        let kept = self.keep_blob(&actor, &app, &session, &digest).await;
        self.sessions.end(&session);
        kept?;
        created(&asked.name, &digest)
    }

    /// Writes what comes. `length`: what must come, if the client said so. What was written before a connection broke stays,
    /// and the client may ask how far it got; what is refused ends the session.
    async fn feed(
        &self,
        actor: &Actor,
        app: &App,
        session: &Arc<Session>,
        body: Body,
        length: Option<u64>,
    ) -> Result<(), Refusal> {
        let mut stream = body.into_data_stream();
        let room = images::room(&self.ctx, actor, app).await?;
        let (mut pieces, mut size) = (Vec::new(), 0);
        let (mut came, mut looked) = (0_u64, 0_u64);
        loop {
            let part = match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(part))) => part,
                Ok(Some(Err(_))) | Err(_) => {
                    self.write(session, std::mem::take(&mut pieces)).await?;
                    return Err(Refusal::UploadInvalid("the upload broke off".into()));
                }
            };
            came += part.len() as u64;
            if length.is_some_and(|length| came > length) {
                self.sessions.end(session);
                return Err(Refusal::UploadInvalid("more came than Content-Range says".into()));
            }
            size += part.len();
            pieces.push(part);
            if size < PIECE {
                continue;
            }
            size = 0;
            let refusal = match self.write(session, std::mem::take(&mut pieces)).await {
                Err(refusal) => Some(refusal),
                Ok(()) if room.is_some_and(|room| self.sessions.written(&app.id) > room) => {
                    Some(images::over_quota(&self.ctx).into())
                }
                Ok(()) if came - looked >= LOOK_EVERY => {
                    looked = came;
                    let full = self.ctx.disk.too_full(&self.ctx).await;
                    full.map(|reason| Refusal::Denied(StatusCode::PAYLOAD_TOO_LARGE, reason))
                }
                Ok(()) => None,
            };
            if let Some(refusal) = refusal {
                self.sessions.end(session);
                drain(stream).await;
                return Err(refusal);
            }
        }
        if let Err(refusal) = self.write(session, pieces).await {
            self.sessions.end(session);
            return Err(refusal);
        }
        match length {
            Some(length) if came < length => Err(Refusal::UploadInvalid("less came than Content-Range says".into())),
            _ => Ok(()),
        }
    }

    /// Goes on to its end even when the request does not, so that no piece is half written.
    async fn write(&self, session: &Arc<Session>, pieces: Vec<Bytes>) -> Result<(), Refusal> {
        session.touch();
        let session = Arc::clone(session);
        let written = self.blocking(move |_| pieces.iter().try_for_each(|piece| session.write(piece)));
        Ok(written.await?)
    }

    /// From an upload to a blob of the repository.
    async fn keep_blob(
        &self,
        actor: &Actor,
        app: &App,
        session: &Session,
        digest: &ContentDigest,
    ) -> Result<(), Refusal> {
        let writer = session.take().ok_or(Refusal::UploadUnknown)?;
        let size = writer.written();
        if images::room(&self.ctx, actor, app).await?.is_some_and(|room| size > room)
            && images::blob(&self.ctx, actor, app, digest).await?.is_none()
        {
            return Err(images::over_quota(&self.ctx).into());
        }
        // Held until the row is written: what a sweep would find before it is then young.
        let _pin = self.blobs.pin();
        let expected = digest.clone();
        let blob = self.blocking(move |_| writer.finish_durably(&expected)).await?;
        let blob = blob.ok_or(Refusal::DigestInvalid("the content has another digest"))?;
        Ok(images::keep_blob(&self.ctx, actor, app, digest, (blob.into(), size)).await?)
    }
}

/// Bytes that the part must have, if the client says where it belongs; a part that does not begin where the last one ended is
/// refused, and may be sent again.
fn in_order(asked: &Asked, session: &Session) -> Result<Option<u64>, Refusal> {
    let Some(text) = asked.header(CONTENT_RANGE) else { return Ok(None) };
    let text = text.strip_prefix("bytes").unwrap_or(text).trim_start_matches(['=', ' ']);
    let text = text.split('/').next().unwrap_or(text);
    let number = |text: &str| Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse::<u64>().ok();
    let ends = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let out_of_order = || Refusal::OutOfOrder { location: location(&asked.name, session), range: session.range() };
    // An empty part is written by some as ending before it begins.
    let (first, length) = match ends {
        Some((first, last)) if last >= first => (first, last - first + 1),
        Some((first, last)) if first.checked_sub(1) == Some(last) => (first, 0),
        Some((0, 0)) => (0, 0),
        Some(_) => return Err(out_of_order()),
        None => return Err(Refusal::UploadInvalid("Content-Range must be FIRST-LAST".into())),
    };
    let stated = asked.header(CONTENT_LENGTH).and_then(number);
    if first != session.written() {
        return Err(out_of_order());
    }
    match stated {
        // "0-0" is one byte or none.
        Some(0) if length <= 1 => Ok(Some(0)),
        Some(stated) if stated != length => {
            Err(Refusal::UploadInvalid("Content-Range and Content-Length do not agree".into()))
        }
        _ => Ok(Some(length)),
    }
}

async fn drain(mut stream: axum::body::BodyDataStream) {
    let mut read = 0;
    while let Ok(Some(Ok(part))) = tokio::time::timeout(SILENCE, stream.next()).await {
        read += part.len() as u64;
        if read > DRAINED {
            return;
        }
    }
}

fn location(name: &str, session: &Session) -> String {
    format!("/v2/{name}/blobs/uploads/{}", session.id)
}

/// Where the upload goes on, and what of it is there.
fn moved_on(name: &str, session: &Session, status: StatusCode) -> Answer {
    let response = Response::builder()
        .status(status)
        .header(LOCATION, location(name, session))
        .header(RANGE, session.range())
        .header("docker-upload-uuid", &session.id);
    response.body(Body::empty()).map_err(unsendable)
}

fn created(name: &str, digest: &ContentDigest) -> Answer {
    let response = Response::builder()
        .status(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .header(DIGEST, digest.as_str());
    response.body(Body::empty()).map_err(unsendable)
}
