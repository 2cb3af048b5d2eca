//! The connection of somebody who holds a command's streams: an upgraded HTTP/1.1 connection, or a pipe inside this
//! process. Two loops, so that a side that does not read holds up nobody but itself; the end of either is the end of both.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::input;
use super::problem::Answer;
use super::types::AttachBody;
use super::types::frames::{ALIVE_SECONDS, Frame, Frames, GONE_SECONDS, pieces};
use crate::base::access::Actor;
use crate::base::model::{App, Environment, Window};
use crate::product::Ctx;
use crate::product::deploy::{self, Control, NewCommand, Piece, Session};

const GONE: Duration = Duration::from_secs(GONE_SECONDS);
/// Bytes of input that wait for a command to read; more wait in the client.
const MOST_WAITING: usize = 1 << 20;

/// The end of a pipe, put beside a request that never leaves the process.
#[derive(Clone)]
pub(super) struct LocalStream(Arc<Mutex<Option<DuplexStream>>>);

impl LocalStream {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }
}

/// A connection that can become one of frames.
pub(super) enum Stream {
    Local(DuplexStream),
    Http(BoxFuture<'static, Result<hyper::upgrade::Upgraded, hyper::Error>>),
}

impl Stream {
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

/// None when the connection cannot be upgraded.
pub(super) fn stream(mut request: Request) -> Option<Stream> {
    let local = request.extensions().get::<LocalStream>();
    if let Some(stream) = local.and_then(|l| l.0.lock().unwrap_or_else(PoisonError::into_inner).take()) {
        return Some(Stream::Local(stream));
    }
    let can = request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some();
    can.then(|| Stream::Http(hyper::upgrade::on(&mut request).boxed()))
}

/// Whose command it will be, and where; what it is stands in the first frame.
pub(super) struct Opening {
    pub(super) ctx: Ctx,
    pub(super) actor: Actor,
    pub(super) app: App,
    pub(super) environment: Environment,
}

impl Opening {
    async fn open(&self, document: &[u8]) -> Answer<Session> {
        let Self { ctx, actor, app, environment } = self;
        let body: AttachBody = input::parse(document)?;
        let window = body.terminal.as_ref().map(|t| Window { columns: t.columns, rows: t.rows });
        let new = NewCommand { words: body.command, window, terminal: body.terminal.and_then(|t| t.name) };
        Ok(match &body.replica {
            Some(replica) => deploy::enter(ctx, actor, app, environment, replica, &new).await?,
            None => deploy::open_command(ctx, actor, app, environment, &new).await?,
        })
    }
}

/// Until the command has ended or the client is gone. Dropping the session lets go of the command.
pub(super) async fn serve(stream: Stream, opening: Opening) {
    match stream {
        Stream::Local(stream) => frames(stream, opening).await,
        Stream::Http(upgrade) => match upgrade.await {
            Ok(upgraded) => frames(hyper_util::rt::TokioIo::new(upgraded), opening).await,
            Err(error) => tracing::debug!(%error, "a client left before its connection was upgraded"),
        },
    }
}

async fn frames(stream: impl AsyncRead + AsyncWrite + Send, opening: Opening) {
    let (read, write) = tokio::io::split(stream);
    let (mut heard, mut said) = (FramedRead::new(read, Frames), FramedWrite::new(write, Frames));
    let Ok(Some(Ok(Frame::Start(document)))) = timeout(GONE, heard.next()).await else { return };
    let mut session = match opening.open(&document).await {
        Ok(session) => session,
        Err(problem) => {
            let id = uuid::Uuid::now_v7().simple().to_string();
            if let Some(cause) = problem.cause() {
                tracing::error!(request.id = %id, app.id = %opening.app.id, "a command was not opened: {cause}");
            }
            let text = serde_json::to_vec(&problem.view(&id)).unwrap_or_default();
            let _ = said.send(Frame::Refused(text.into())).await;
            let _ = said.close().await;
            return;
        }
    };
    let (stdin, control) = session.take_input();
    if said.send(Frame::Started).await.is_err() {
        return;
    }
    tokio::select! {
        () = inward(heard, stdin, control) => {}
        _ = outward(said, &mut session) => {}
    }
}

/// Silence, nonsense and a closed connection are one: nobody is there any more. What the command does not read yet
/// waits here, so that a signal overtakes it.
async fn inward(
    mut heard: FramedRead<impl AsyncRead + Unpin, Frames>,
    stdin: mpsc::Sender<Bytes>,
    control: mpsc::Sender<Control>,
) {
    let (mut stdin, mut waiting, mut ended) = (Some(stdin), VecDeque::<Bytes>::new(), false);
    loop {
        if ended && waiting.is_empty() {
            stdin = None;
        }
        let held: usize = waiting.iter().map(Bytes::len).sum();
        let place = async {
            match &stdin {
                Some(stdin) if !waiting.is_empty() => stdin.reserve().await,
                _ => std::future::pending().await,
            }
        };
        let frame = tokio::select! {
            place = place => {
                match (place, waiting.pop_front()) {
                    (Ok(place), Some(bytes)) => place.send(bytes),
                    // It reads no more.
                    _ => waiting.clear(),
                }
                continue;
            }
            frame = timeout(GONE, heard.next()), if held < MOST_WAITING => frame,
        };
        match frame {
            Ok(Some(Ok(Frame::Input(bytes)))) if !ended => waiting.push_back(bytes),
            Ok(Some(Ok(Frame::EndOfInput))) => ended = true,
            Ok(Some(Ok(Frame::Resize { columns, rows }))) if columns > 0 && rows > 0 => {
                let _ = control.send(Control::Resize(Window { columns, rows })).await;
            }
            Ok(Some(Ok(Frame::Signal(name)))) => {
                if let Ok(signal) = name.parse() {
                    let _ = control.send(Control::Signal(signal)).await;
                }
            }
            // Alive, and what is not a client's to say.
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

async fn outward(mut said: FramedWrite<impl AsyncWrite + Unpin, Frames>, session: &mut Session) -> std::io::Result<()> {
    loop {
        let frame: fn(Bytes) -> Frame;
        let bytes = match timeout(Duration::from_secs(ALIVE_SECONDS), session.next()).await {
            Err(_) => {
                said.send(Frame::Alive).await?;
                continue;
            }
            Ok(Piece::End { code, reason }) => {
                said.send(Frame::Exit { code, reason }).await?;
                return said.close().await;
            }
            Ok(Piece::Output(bytes)) => {
                frame = Frame::Output;
                bytes
            }
            Ok(Piece::Errors(bytes)) => {
                frame = Frame::Errors;
                bytes
            }
        };
        for piece in pieces(bytes) {
            said.feed(frame(piece)).await?;
        }
        said.flush().await?;
    }
}
