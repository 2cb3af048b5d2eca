//! The data plane: HTTP/1.1 and anything upgraded from it, and HTTP/2, inside TLS or without, from a host to one replica of an app,
//! which speaks either, inside TLS or without.
//!
//! - The route table arrives by a watch channel and is never changed in place; whoever sends it is
//!   unknown here, so the same code runs on another node.
//! - A request enters an [`Upstream`] before it is sent there and leaves when its last byte has
//!   passed, tunnels included. After [`Upstream::retire`] none enters, so `in_flight() == 0` then
//!   means that the replica can be stopped without a lost request.
//! - The host of the API is looked up first: no route can shadow it.
//! - Bodies stream both ways at the pace of the slower side; nothing is buffered whole.
//! - What a client says about itself (`X-Forwarded-*`, `Forwarded`) is replaced, not believed.
//!
//! - Counters and access lines never hold a request up: see `meter`.
//!
//! Left to others: which replicas there are and when they are ready, where certificates are from, keeping lines and counts.

mod balance;
mod body;
mod challenges;
mod channel;
mod compression;
mod errand;
mod forward;
mod grpc;
mod headers;
mod host;
mod io;
mod link;
mod listen;
mod log;
mod meter;
mod opening;
mod pages;
mod private;
mod probe;
mod queue;
mod rules;
mod saved;
mod secure;
mod standing;
mod table;
mod tls;
mod trace;
mod tunnel;
mod upstream;
mod websocket;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use challenges::{Challenge, Challenges};
pub use meter::{Access, AccessBook, Details, Meter, Reading};
pub use probe::ask;
pub use rules::{Rules, hash_password};
pub use saved::{TableError, decode, encode, load, note, save};
pub use table::{Bell, Portion, RouteTable, Target, TargetState};
pub use tls::{Certificate, Certificates, TlsError};
#[cfg(test)]
pub use upstream::Pass;
pub use upstream::Upstream;

/// Bounds of the data plane. Every wait has one.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Open client connections; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Open connections of one IPv4 address or one IPv6 /64; further ones are closed at once.
    pub max_connections_per_address: usize,
    /// From the start of waiting for a request to the end of its head: bounds slow heads and idle connections.
    pub header_timeout: Duration,
    /// Request line and header fields together; at most 100 fields are taken.
    pub max_head_bytes: usize,
    /// Longest wait for the next piece of a request body.
    pub body_timeout: Duration,
    /// Longest time that a client may take no byte while there is one for it.
    pub write_timeout: Duration,
    /// Longest time without progress between the sending of a request and the head of its answer.
    pub first_byte_timeout: Duration,
    pub connect_timeout: Duration,
    /// How long a request waits for an app that is starting.
    pub hold: Duration,
    /// How long requests and tunnels may go on after the shutdown token.
    pub drain: Duration,
    /// `X-Forwarded-Proto` of what comes without TLS.
    pub scheme: &'static str,
    /// Where requests of apps leave a line; none: nowhere.
    pub access: Option<Arc<AccessBook>>,
    /// `X-Forwarded-Port`; none means the port of the listener.
    pub public_port: Option<u16>,
    /// The same for TLS.
    pub public_tls_port: Option<u16>,
    /// Networks of load balancers: each connection from there begins by saying who the client is (PROXY protocol), or is closed.
    pub balancers: Vec<IpNet>,
    /// Where clients find TLS; none: plain requests are not sent on to it.
    pub tls_port: Option<u16>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            max_connections: 50_000,
            max_connections_per_address: 1_000,
            header_timeout: Duration::from_secs(30),
            max_head_bytes: 32 << 10,
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            first_byte_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            hold: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            scheme: "http",
            access: None,
            public_port: None,
            public_tls_port: None,
            balancers: Vec::new(),
            tls_port: None,
        }
    }
}

/// Cheap to clone; all clones are one proxy with the same table and bounds.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

struct Shared {
    settings: ProxySettings,
    /// The table as it was sent; what `current` has not caught up with yet is read here.
    sent: watch::Receiver<Arc<RouteTable>>,
    /// The same table without a lock, for the path of every request.
    current: Arc<ArcSwap<RouteTable>>,
    api: Mutex<Option<Arc<Target>>>,
    addresses: listen::Addresses,
    /// Cancelled when another process accepts in place of this one.
    leaving: CancellationToken,
}

impl Proxy {
    pub fn new(routes: watch::Receiver<Arc<RouteTable>>, settings: ProxySettings) -> Self {
        let current = Arc::new(ArcSwap::new(routes.borrow().clone()));
        let addresses = listen::Addresses::default();
        let leaving = CancellationToken::new();
        Self(Arc::new(Shared { settings, sent: routes, current, api: Mutex::new(None), addresses, leaving }))
    }

    /// Another process accepts on the same sockets from now on. What is connected here is served on: a client is asked to
    /// go with the answer to its next request, or in HTTP/2 at once, so that none is cut. The shutdown token ends what
    /// stays.
    pub fn leave(&self) {
        self.0.leaving.cancel();
    }

    /// Accepts until the token is cancelled, then ends what is idle at once, lets requests and
    /// tunnels finish within `settings.drain`, cuts the rest and returns. After `leave`, returns as soon as nobody is
    /// connected any more.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        listen::serve(&self.0, listener, None, shutdown).await;
    }

    /// As `serve`, for clients that speak TLS.
    pub async fn serve_tls(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), TlsError> {
        let tls = tls::setup(Arc::clone(&self.0.current))?;
        listen::serve(&self.0, listener, Some(tls), shutdown).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
