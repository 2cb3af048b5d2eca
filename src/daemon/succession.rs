//! How one process of the platform follows another and no client notices: the newer one listens on the sockets of the
//! older one, which serves those who are connected to it until they have gone. `machinery/handover` starts it and carries
//! the sockets; here is the order of things.
//!
//! After the hand-over the newer one sends its route tables to the older one, so that no request reaches a replica that
//! is no more, and hears from it whom requests wait for. Format: a table is its length (32 bits, big-endian) and the text
//! of its file; a host that is waited for is a line. An older one that cannot read a newer one's table sends its clients
//! away as a stop does: a request that goes nowhere is better than one that goes wrong.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::machinery::handover::{self, Predecessor, Successor, Word};
use crate::machinery::proxy::{self, Bell, RouteTable};

/// A newer process that does not say in time that it is well is not waited for: this one goes on.
const TO_BE_READY: Duration = Duration::from_secs(60);
/// Changes of the database by a newer version included.
const TO_SERVE: Duration = Duration::from_secs(600);
/// Those who stay connected for longer are cut.
const FAREWELL: Duration = Duration::from_secs(3600);
/// Of a table; 100,000 routes are 25 MB.
const LARGEST_TABLE: u32 = 512 << 20;

/// What the process is told from outside.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hand_over: Signal,
    program: PathBuf,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        // Asked before somebody puts another file in its place.
        let program = std::env::current_exe().context("where this program lies cannot be told")?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hand_over: signal(SignalKind::user_defined2())?,
            program,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Until SIGTERM or SIGINT (none), or SIGUSR2 with a newer process that is ready. One that is not changes nothing.
    pub(super) async fn end(&mut self, doors: &Doors) -> Option<Successor> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return None,
                _ = self.interrupt.recv() => return None,
                _ = self.hand_over.recv() => {}
            }
            tracing::info!(program = %self.program.display(), "starting the next process to hand over to");
            match doors.successor(self.program.clone()).await {
                Ok(successor) => return Some(successor),
                Err(error) => tracing::error!(%error, "the next process cannot take over; this one goes on"),
            }
        }
    }
}

/// Where clients come in: the listening sockets, each under its name.
pub(super) struct Doors {
    kept: Vec<(&'static str, OwnedFd)>,
    before: Option<Predecessor>,
}

impl Doors {
    /// With those of the process whose place this one takes, if it was started for that.
    pub(super) fn new() -> anyhow::Result<Self> {
        let before = std::env::var_os(handover::VARIABLE).map(|_| Predecessor::meet()).transpose();
        let before = before.with_context(|| {
            format!("{} is set, and no process hands over to this one; unset it", handover::VARIABLE)
        })?;
        Ok(Self { kept: Vec::new(), before })
    }

    /// Whether another process has the state still.
    pub(super) fn has_predecessor(&self) -> bool {
        self.before.is_some()
    }

    /// `setting` and `variable` are named when the address cannot be had.
    pub(super) async fn open(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        setting: &str,
        variable: &str,
    ) -> anyhow::Result<TcpListener> {
        let before = self.before.as_mut().and_then(|before| before.take(name));
        // One that listens elsewhere is closed: the configuration has changed.
        let same = before.filter(|socket| socket.local_addr().is_ok_and(|at| at == address || address.port() == 0));
        let listener = match same {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)?
            }
            None => bind(address, setting, variable).await?,
        };
        self.kept.push((name, listener.as_fd().try_clone_to_owned()?));
        Ok(listener)
    }

    /// Tells the process before that this one is ready, and waits until the state is free.
    pub(super) async fn state(&mut self) -> anyhow::Result<()> {
        let Some(mut before) = self.before.take() else { return Ok(()) };
        let waited = tokio::task::spawn_blocking(move || {
            before.tell(Word::Ready)?;
            before.hear(Word::Go)?;
            Ok::<_, std::io::Error>(before)
        });
        self.before = Some(waited.await?.context("the process before did not hand over")?);
        Ok(())
    }

    /// Tells the process before that this one serves. What it needs to know from then on is to be carried to it; none
    /// without one.
    pub(super) fn serving(&mut self) -> anyhow::Result<Option<Carrier>> {
        let Some(mut before) = self.before.take() else { return Ok(None) };
        before.tell(Word::Serving).context("the process before has ended")?;
        Ok(Some(Carrier(stream(before.into_stream())?)))
    }

    async fn successor(&self, program: PathBuf) -> anyhow::Result<Successor> {
        let kept: std::io::Result<Vec<_>> =
            self.kept.iter().map(|(name, socket)| Ok((*name, socket.try_clone()?))).collect();
        let kept = kept?;
        let words: Vec<OsString> = std::env::args_os().skip(1).collect();
        let started = tokio::task::spawn_blocking(move || {
            let sockets: Vec<_> = kept.iter().map(|(name, socket)| (*name, socket)).collect();
            let mut successor = Successor::start(&program, &words, &sockets)?;
            match successor.hear(Word::Ready, TO_BE_READY) {
                Ok(()) => Ok(successor),
                Err(fault) => {
                    successor.dismiss();
                    Err(fault)
                }
            }
        });
        Ok(started.await??)
    }
}

async fn bind(address: SocketAddr, setting: &str, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; free the port, or set {setting} (or {variable}) to another")
    })
}

/// The end of a process that another follows.
pub(super) struct Farewell(UnixStream);

/// Nobody writes to the state any more: the newer process takes it.
///
/// # Errors
/// When it does not come to serve: then nobody has the state, and a supervisor has to start one anew.
pub(super) async fn give_state(mut successor: Successor) -> anyhow::Result<(u32, Farewell)> {
    let id = successor.id();
    let waited = tokio::task::spawn_blocking(move || {
        successor.tell(Word::Go)?;
        successor.hear(Word::Serving, TO_SERVE)?;
        Ok::<_, std::io::Error>(successor)
    });
    let successor = waited.await?.context("the next process took the state over and does not serve")?;
    Ok((id, Farewell(stream(successor.into_stream())?)))
}

impl Farewell {
    /// Passes on what comes until `over`: all clients have gone. Ends sooner when it is told to, the time is up, or the
    /// newer process has ended.
    pub(super) async fn wait(
        self,
        table: watch::Sender<Arc<RouteTable>>,
        signals: &mut Signals,
        over: impl Future<Output = ()>,
    ) {
        let (reader, writer) = self.0.into_split();
        let rung = Arc::new(Notify::new());
        tokio::select! {
            () = over => {}
            () = signals.stop() => {}
            () = tokio::time::sleep(FAREWELL) => tracing::warn!("clients that did not leave in time are cut"),
            ended = take_tables(reader, &table, &rung) => {
                let cause = ended.map_or_else(|error| error.to_string(), |()| "it has ended".to_owned());
                tracing::warn!(cause, "nothing more is heard of the next process");
            }
            ended = tell_waits(writer, table.subscribe(), &rung) => {
                if let Err(error) = ended {
                    tracing::warn!(%error, "the next process cannot be told who waits");
                }
            }
        }
    }
}

async fn take_tables(
    mut reader: OwnedReadHalf,
    table: &watch::Sender<Arc<RouteTable>>,
    rung: &Arc<Notify>,
) -> anyhow::Result<()> {
    loop {
        let length = match reader.read_u32().await {
            Ok(length) if length <= LARGEST_TABLE => length,
            Ok(length) => return Err(anyhow!("a table of {length} bytes is too large")),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut text = vec![0; usize::try_from(length)?];
        reader.read_exact(&mut text).await?;
        let next = proxy::decode(&text, || Bell::new(Arc::clone(rung))).map_err(|error| anyhow!(error))?;
        table.send_modify(|before| *before = Arc::new(next.keeping(before)));
    }
}

/// Rings that nobody heard since this process gave the state away are told as well.
async fn tell_waits(
    mut writer: OwnedWriteHalf,
    mut table: watch::Receiver<Arc<RouteTable>>,
    rung: &Notify,
) -> anyhow::Result<()> {
    loop {
        let current = Arc::clone(&table.borrow_and_update());
        let waited: Vec<_> = current.routes().filter(|(_, target)| target.bell.was_rung()).collect();
        for (host, _) in waited {
            writer.write_all(format!("{host}\n").as_bytes()).await?;
        }
        tokio::select! {
            () = rung.notified() => {}
            changed = table.changed() => changed?,
        }
    }
}

/// Of the newer process to the older one.
pub(super) struct Carrier(UnixStream);

impl Carrier {
    /// Until the older one has ended.
    pub(super) async fn run(self, table: watch::Receiver<Arc<RouteTable>>, shutdown: CancellationToken) {
        let (reader, writer) = self.0.into_split();
        let ring = ring_for(BufReader::new(reader), table.clone());
        let over = tokio::select! {
            () = shutdown.cancelled() => return,
            over = ring => over,
            over = send_tables(writer, table) => over,
        };
        match over {
            Ok(()) => tracing::info!("the process before has ended"),
            Err(error) => tracing::info!(%error, "the process before is gone"),
        }
    }
}

async fn send_tables(mut writer: OwnedWriteHalf, mut table: watch::Receiver<Arc<RouteTable>>) -> anyhow::Result<()> {
    table.mark_changed();
    loop {
        table.changed().await?;
        let current = Arc::clone(&table.borrow_and_update());
        let text = proxy::encode(&current)?;
        writer.write_u32(u32::try_from(text.len())?).await?;
        writer.write_all(&text).await?;
    }
}

async fn ring_for(reader: BufReader<OwnedReadHalf>, table: watch::Receiver<Arc<RouteTable>>) -> anyhow::Result<()> {
    let mut lines = reader.lines();
    while let Some(host) = lines.next_line().await? {
        if let Some(target) = host.parse().ok().and_then(|host| table.borrow().target(&host).cloned()) {
            target.bell.ring();
        }
    }
    Ok(())
}

fn stream(stream: std::os::unix::net::UnixStream) -> std::io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_its_setting() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = taken.local_addr().expect("address");
        let mut doors = Doors { kept: Vec::new(), before: None };
        let fault = doors.open("git", address, "git.listen", "HYTHE_GIT_LISTEN").await.expect_err("taken");
        let text = format!("{fault:#}");
        assert!(text.contains("git.listen") && text.contains(&address.to_string()), "{text}");
    }
}
