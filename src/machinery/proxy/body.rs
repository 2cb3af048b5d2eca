//! Bodies in both directions, with what must happen when they end: a request body that watches
//! its own pace, and an answer that gives its connection back and leaves its upstream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::link::Link;
use super::log::Line;
use super::upstream::Pass;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body on its way to an upstream.
pub(super) enum Upload {
    Empty,
    Client { body: Incoming, pace: Arc<Pace>, longest: Duration, waits: Option<Pin<Box<Sleep>>> },
}

/// Seen from outside the upload: does it move, and is it the client's fault that it does not.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pieces: AtomicU32,
    broken: AtomicBool,
    stalled: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
#[error("the client sent no further piece of the body in time")]
struct Stalled;

impl Pace {
    pub(super) fn pieces(&self) -> u32 {
        self.pieces.load(Ordering::Relaxed)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }
}

impl Upload {
    /// `longest` bounds the wait for each piece.
    pub(super) fn new(body: Incoming, pace: &Arc<Pace>, longest: Duration) -> Self {
        if body.is_end_stream() {
            Self::Empty
        } else {
            Self::Client { body, pace: Arc::clone(pace), longest, waits: None }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self::Client { body, pace, longest, waits } = self.get_mut() else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(piece) => {
                *waits = None;
                pace.pieces.fetch_add(1, Ordering::Relaxed);
                if let Some(Err(_)) = &piece {
                    pace.broken.store(true, Ordering::Relaxed);
                }
                Poll::Ready(piece.map(|piece| piece.map_err(Into::into)))
            }
            Poll::Pending => {
                let waits = waits.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + *longest)));
                std::task::ready!(waits.as_mut().poll(cx));
                pace.stalled.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(Stalled.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body, .. } => body.size_hint(),
        }
    }
}

/// The body of an answer to a client.
pub(super) enum Answer {
    /// A page of our own.
    Page(Option<Bytes>),
    Relayed(Box<Relayed>),
}

/// An upstream's answer under way. Dropped early, it closes the connection to the upstream.
pub(super) struct Relayed {
    body: Incoming,
    link: Option<Box<Link>>,
    pass: Pass,
    _line: Line,
}

impl Relayed {
    pub(super) fn new(body: Incoming, link: Box<Link>, pass: Pass, line: Line) -> Self {
        let mut relayed = Self { body, link: Some(link), pass, _line: line };
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

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let relayed = match self.get_mut() {
            Self::Page(page) => return Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Self::Relayed(relayed) => relayed,
        };
        let piece = std::task::ready!(relayed.poll_piece(cx));
        match &piece {
            Some(Ok(_)) if !relayed.body.is_end_stream() => {}
            Some(Ok(_)) | None => relayed.settle(),
            Some(Err(_)) => relayed.link = None,
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_none(),
            Self::Relayed(relayed) => relayed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64)),
            Self::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}
