//! After `101 Switching Protocols`: bytes both ways until both sides have ended, or until one has
//! ended and the other says nothing more.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::listen::Connection;
use super::log::Line;
use super::upstream::Pass;

/// A side whose peer has ended may be silent this long.
const LONGEST_HALF_OPEN: Duration = Duration::from_secs(60);
const PIECE: usize = 16 << 10;

/// Everything that lives as long as the tunnel.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) upstream: OnUpgrade,
    pub(super) link: Box<Link>,
    pub(super) pass: Pass,
    pub(super) line: Line,
    pub(super) connection: Arc<Connection>,
}

impl Tunnel {
    pub(super) async fn run(self) {
        let Self { client, upstream, mut link, pass, line, connection } = self;
        let cut = connection.cut();
        let tunnel = async {
            let (Ok(client), Ok(upstream)) = tokio::join!(client, switched(&mut link, upstream)) else { return };
            drop(link);
            let (from_client, to_client) = split(TokioIo::new(client));
            let (from_upstream, to_upstream) = split(TokioIo::new(upstream));
            let half_open = CancellationToken::new();
            let up = pump(from_client, to_upstream, &half_open);
            let down = pump(from_upstream, to_client, &half_open);
            // An error of either direction ends both.
            let _ = tokio::try_join!(up, down);
        };
        tokio::select! {
            () = tunnel => {}
            () = cut.cancelled() => {}
        }
        drop((pass, line));
    }
}

/// The link's bytes until it has handed its socket over.
async fn switched(link: &mut Link, upgrade: OnUpgrade) -> hyper::Result<Upgraded> {
    let mut upgrade = pin!(upgrade);
    poll_fn(|cx| {
        if let Poll::Ready(done) = upgrade.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        let _ = link.poll_drive(cx);
        upgrade.as_mut().poll(cx)
    })
    .await
}

type Side = TokioIo<Upgraded>;

async fn pump(mut from: ReadHalf<Side>, mut to: WriteHalf<Side>, half_open: &CancellationToken) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut other_ended = half_open.is_cancelled();
    loop {
        let read = if other_ended {
            tokio::time::timeout(LONGEST_HALF_OPEN, from.read(&mut piece)).await??
        } else {
            tokio::select! {
                read = from.read(&mut piece) => read?,
                () = half_open.cancelled() => {
                    other_ended = true;
                    continue;
                }
            }
        };
        if read == 0 {
            half_open.cancel();
            return to.shutdown().await;
        }
        to.write_all(&piece[..read]).await?;
        to.flush().await?;
    }
}
