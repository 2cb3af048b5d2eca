//! Bodies in both directions, with what must happen when they end: a request body that watches
//! its own pace, and an answer that gives its connection back and leaves its upstream.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::compression::Coder;
use super::link::Link;
use super::log::Line;
use super::pages::Fault;
use super::upstream::Pass;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a client of HTTP/2 may go on sending what nobody wants any more.
const LONGEST_LINGER: Duration = Duration::from_secs(5);

/// What of a request body is kept until its answer begins, where it may have to be sent again.
const MOST_KEPT_BYTES: usize = 64 << 10;
const MOST_KEPT_PIECES: usize = 64;

/// A request body on its way to an upstream.
pub(super) enum Upload {
    Empty,
    Client(Turn),
}

/// One sending of the body. Of several the last one has it.
pub(super) struct Turn {
    pace: Arc<Pace>,
    number: u32,
    /// Kept pieces that were sent.
    sent: usize,
    left: u64,
    waits: Option<Pin<Box<Sleep>>>,
}

/// The body as the client sends it, whoever it is passed to.
struct Source {
    body: Received,
    longest: Duration,
    most: u64,
    turn: u32,
    keeps: bool,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// A piece has gone that is kept nowhere.
    gone: bool,
}

/// What a client sends. Given up before its end in HTTP/2, it would end the client's stream by a reset, which some take for the
/// end of an answer that they have not read yet: it is listened to a little longer, as [`super::io`] does with a connection.
pub(super) struct Received {
    body: Option<Incoming>,
    lingers: bool,
}

impl Received {
    pub(super) fn new(body: Incoming, version: Version) -> Self {
        Self { body: Some(body), lingers: version == Version::HTTP_2 }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.lingers
            && !self.is_end_stream()
            && let Some(mut body) = self.body.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
            runtime.spawn(tokio::time::timeout(LONGEST_LINGER, rest));
        }
    }
}

/// Seen from outside the upload: does it move, and is it the client's fault that it does not.
#[derive(Default)]
pub(super) struct Pace {
    source: Mutex<Option<Source>>,
    pieces: AtomicU32,
    broken: AtomicBool,
    stalled: AtomicBool,
    too_large: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
#[error("the request body is longer than the app takes")]
struct TooLarge;

#[derive(Debug, thiserror::Error)]
#[error("the client sent no further piece of the body in time")]
struct Stalled;

#[derive(Debug, thiserror::Error)]
#[error("the body is being sent to another upstream")]
struct Superseded;

impl Pace {
    /// What is sent from now on is kept for [`Self::again`], as long as it is little.
    pub(super) fn keep(&self) {
        if let Some(source) = &mut *self.source() {
            source.keeps = true;
        }
    }

    /// The answer has begun: the body is not sent again.
    pub(super) fn settle(&self) {
        if let Some(source) = &mut *self.source() {
            source.give_up();
        }
    }

    /// The same body from its beginning, if that is to be had; who sends it now has it no more.
    pub(super) fn again(self: &Arc<Self>) -> Option<Upload> {
        let mut source = self.source();
        let Some(source) = &mut *source else { return Some(Upload::Empty) };
        if source.gone {
            return None;
        }
        source.turn += 1;
        Some(Upload::Client(Turn {
            pace: Arc::clone(self),
            number: source.turn,
            sent: 0,
            left: source.most,
            waits: None,
        }))
    }

    fn source(&self) -> MutexGuard<'_, Option<Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pieces(&self) -> u32 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// What is wrong with the body; the app has no part in it.
    pub(super) fn fault(&self) -> Option<Fault> {
        let faults = [
            (&self.too_large, Fault::BodyTooLarge),
            (&self.stalled, Fault::BodyStalled),
            (&self.broken, Fault::BodyBroken),
        ];
        faults.into_iter().find(|(is, _)| is.load(Ordering::Relaxed)).map(|(_, fault)| fault)
    }
}

impl Source {
    fn give_up(&mut self) {
        self.keeps = false;
        if !std::mem::take(&mut self.kept).is_empty() {
            self.gone = true;
        }
    }

    /// Keeps the piece that goes now, if it is data and there is room.
    fn note(&mut self, piece: &Frame<Bytes>) {
        let data = piece.data_ref().filter(|data| self.keeps && self.kept_bytes + data.len() <= MOST_KEPT_BYTES);
        match data.filter(|_| self.kept.len() < MOST_KEPT_PIECES) {
            Some(data) => {
                self.kept_bytes += data.len();
                self.kept.push(data.clone());
            }
            None => {
                self.give_up();
                self.gone = true;
            }
        }
    }
}

impl Upload {
    /// `longest` bounds the wait for each piece, `most` all bytes together.
    pub(super) fn new(body: Received, pace: &Arc<Pace>, longest: Duration, most: Option<u64>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let most = most.unwrap_or(u64::MAX);
        let (keeps, gone, kept, kept_bytes) = (false, false, Vec::new(), 0);
        *pace.source() = Some(Source { body, longest, most, turn: 0, keeps, kept, kept_bytes, gone });
        Self::Client(Turn { pace: Arc::clone(pace), number: 0, sent: 0, left: most, waits: None })
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { pace, number, sent, left, waits } = self;
        let mut source = pace.source();
        let Some(source) = source.as_mut().filter(|source| source.turn == *number) else {
            return Poll::Ready(Some(Err(Superseded.into())));
        };
        let piece = match source.kept.get(*sent) {
            Some(kept) => {
                *sent += 1;
                Ok(Frame::data(kept.clone()))
            }
            None => {
                let Some(body) = &mut source.body.body else { return Poll::Ready(None) };
                let Poll::Ready(piece) = Pin::new(body).poll_frame(cx) else {
                    let longest = source.longest;
                    let waits = waits.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + longest)));
                    std::task::ready!(waits.as_mut().poll(cx));
                    pace.stalled.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Stalled.into())));
                };
                *waits = None;
                pace.pieces.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = piece else { return Poll::Ready(None) };
                match &piece {
                    Ok(piece) => {
                        source.note(piece);
                        *sent = source.kept.len();
                    }
                    Err(_) => pace.broken.store(true, Ordering::Relaxed),
                }
                piece.map_err(BoxError::from)
            }
        };
        let length = piece.as_ref().ok().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        Poll::Ready(Some(match left.checked_sub(length) {
            Some(rest) => {
                *left = rest;
                piece
            }
            None => {
                pace.too_large.store(true, Ordering::Relaxed);
                Err(TooLarge.into())
            }
        }))
    }

    /// Of the kept pieces, those that were not sent yet.
    fn rest(&self, source: &Source) -> u64 {
        source.kept.get(self.sent..).map_or(0, |rest| rest.iter().map(|piece| piece.len() as u64).sum())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(turn) => turn.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        let Self::Client(turn) = self else { return true };
        let source = turn.pace.source();
        source.as_ref().is_none_or(|source| turn.sent >= source.kept.len() && source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Client(turn) = self else { return SizeHint::with_exact(0) };
        let source = turn.pace.source();
        let Some(source) = source.as_ref() else { return SizeHint::default() };
        let hint = source.body.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        match hint.exact() {
            Some(length) => SizeHint::with_exact(length + turn.rest(source)),
            None => hint,
        }
    }
}

/// The body of an answer to a client.
pub(super) enum Answer {
    /// A page of our own.
    Page(Option<Bytes>),
    Relayed(Box<Relayed>),
    Compressed(Box<(Relayed, Coder)>),
}

/// An upstream's answer under way. Dropped early, it closes the connection to the upstream.
pub(super) struct Relayed {
    body: Incoming,
    link: Option<Box<Link>>,
    pass: Pass,
    line: Line,
}

impl Relayed {
    pub(super) fn new(body: Incoming, link: Box<Link>, pass: Pass, line: Line) -> Self {
        let mut relayed = Self { body, link: Some(link), pass, line };
        if relayed.body.is_end_stream() {
            relayed.settle();
        }
        relayed
    }

    /// The answer is complete: the connection can serve the next request, unless the upload goes on.
    fn settle(&mut self) {
        if let Some(mut link) = self.link.take()
            && link.is_usable()
        {
            self.pass.upstream().give_back(link);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let piece = std::task::ready!(self.poll_piece(cx));
        if let Some(Ok(piece)) = &piece {
            self.line.passed(piece.data_ref().map_or(0, Bytes::len));
        }
        match &piece {
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            Some(Ok(_)) | None => self.settle(),
            Some(Err(_)) => self.link = None,
        }
        Poll::Ready(piece)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(piece);
        }
        if let Some(link) = &mut self.link
            && link.poll_drive(cx).is_ready()
        {
            self.link = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

/// The next piece of an answer that goes through a coder.
fn poll_compressed(
    relayed: &mut Relayed,
    coder: &mut Coder,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    loop {
        if let Some(piece) = coder.take_piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if coder.has_ended() {
            return Poll::Ready(coder.take_trailers().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if coder.ends_turn() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match relayed.poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => coder.write(&piece)?,
                Err(frame) => coder.finish(frame.into_trailers().ok())?,
            },
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => coder.finish(None)?,
            Poll::Pending if coder.holds() => coder.flush()?,
            Poll::Pending => return Poll::Pending,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Page(page) => Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Self::Relayed(relayed) => relayed.poll_next(cx).map(|piece| piece.map(|piece| piece.map_err(Into::into))),
            Self::Compressed(both) => poll_compressed(&mut both.0, &mut both.1, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_none(),
            Self::Relayed(relayed) => relayed.body.is_end_stream(),
            Self::Compressed(both) => both.1.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64)),
            Self::Relayed(relayed) => relayed.body.size_hint(),
            Self::Compressed(_) => SizeHint::default(),
        }
    }
}
