//! The SSH edge: git over SSH and the platform's verbs as commands. Public keys only; a connection
//! is whoever proved to hold the key, whatever user name it gave. russh's handler is a dumb
//! translator: each exec request becomes a task of its own.
//!
//! Bounds: connections in all and per address, time to log in, attempts, channels per connection.
//! Left to others: what is spoken in a conversation of git (`edges::git`).

mod exec;
mod git;
mod handler;
mod host_key;
mod session;
mod verbs;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::MethodKind;
use russh::keys::PrivateKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edges::git::Git;
use crate::product::Ctx;

pub use host_key::load_or_make as load_or_make_host_key;
pub use verbs::{PseudoTerminal, VerbIo, Verbs};

/// How long a client may take until it is logged in.
const LOGIN_GRACE: Duration = Duration::from_secs(20);
const MAX_AUTH_ATTEMPTS: usize = 6;

pub struct SshServer {
    shared: Arc<Shared>,
    config: Arc<russh::server::Config>,
    sessions: Arc<Semaphore>,
}

/// What every connection needs.
struct Shared {
    pub ctx: Ctx,
    pub git: Git,
    pub verbs: Verbs,
    pub tasks: TaskTracker,
    per_address: Mutex<HashMap<IpAddr, usize>>,
}

impl SshServer {
    pub fn new(git: Git, verbs: Verbs, host_key: PrivateKey) -> Self {
        let ctx = git.ctx.clone();
        let config = russh::server::Config {
            server_id: russh::SshId::Standard(format!("SSH-2.0-hythe_{}", env!("CARGO_PKG_VERSION")).into()),
            methods: russh::MethodSet::from(&[MethodKind::PublicKey][..]),
            // Every refused key of an agent with many keys pays this.
            auth_rejection_time: Duration::from_millis(50),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key],
            window_size: 8 << 20,
            maximum_packet_size: 65_535,
            max_auth_attempts: MAX_AUTH_ATTEMPTS,
            inactivity_timeout: Some(Duration::from_secs(600)),
            keepalive_interval: Some(Duration::from_secs(30)),
            keepalive_max: 3,
            nodelay: true,
            ..russh::server::Config::default()
        };
        let sessions = Arc::new(Semaphore::new(ctx.config.git.max_sessions));
        let (tasks, per_address) = (TaskTracker::new(), Mutex::new(HashMap::new()));
        let shared = Shared { ctx, git, verbs, tasks, per_address };
        Self { shared: Arc::new(shared), config: Arc::new(config), sessions }
    }

    /// Serves until told to stop, then lets the sessions that are open end for a while.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        loop {
            let (stream, address) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, for one: those who are connected go on.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = Arc::clone(&self.sessions).try_acquire_owned() else {
                tracing::warn!(client.address = %address, "refused: too many connections");
                continue;
            };
            let Some(place) = Place::take(&self.shared, address.ip()) else {
                tracing::warn!(client.address = %address, "refused: too many connections from this address");
                continue;
            };
            let connection =
                connection(Arc::clone(&self.shared), Arc::clone(&self.config), stream, address, shutdown.clone());
            self.shared.tasks.spawn(hold(permit, place, connection));
        }
        self.shared.git.stopping.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
    }
}

async fn hold(permit: OwnedSemaphorePermit, place: Place, connection: impl Future<Output = ()>) {
    connection.await;
    drop((permit, place));
}

async fn connection(
    shared: Arc<Shared>,
    config: Arc<russh::server::Config>,
    stream: TcpStream,
    address: SocketAddr,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let logged_in = CancellationToken::new();
    let handler = handler::Connection::new(shared, address, logged_in.clone());
    let session = async {
        let running = russh::server::run_stream(config, stream, handler).await?;
        let handle = running.handle();
        tokio::select! {
            ended = running => ended,
            () = shutdown.cancelled() => {
                let text = "the server is stopping; work that was accepted goes on".to_owned();
                let _ = handle.disconnect(russh::Disconnect::ByApplication, text, "en".into()).await;
                Ok(())
            }
        }
    };
    let mut session = std::pin::pin!(session);
    let in_time = tokio::select! {
        ended = &mut session => { report(address, ended); return }
        () = logged_in.cancelled() => true,
        () = tokio::time::sleep(LOGIN_GRACE) => false,
    };
    if in_time {
        report(address, session.await);
    } else {
        tracing::info!(client.address = %address, "closed: not logged in in time");
    }
}

fn report(address: SocketAddr, ended: Result<(), russh::Error>) {
    if let Err(error) = ended {
        tracing::debug!(client.address = %address, %error, "a connection ended with an error");
    }
}

/// One connection of an address, given back when dropped.
struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut all = shared.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= shared.ctx.config.git.max_sessions_per_address {
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.shared.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}
