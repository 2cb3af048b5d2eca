//! Connections to addresses that a user named: logs go out by syslog or HTTP, events as signed posts; sources come in;
//! names are asked whose they are.
//!
//! Invariants: the address that a name resolves to is checked and then connected to, so that no second look-up can lead
//! elsewhere; redirects are not followed, or by a `Fetcher` judged again; every wait is bounded; nothing of an answer is kept but its
//! status, unless the answer is what was fetched.
//!
//! Left to others: what to send, to whom, when to try again.

mod bucket;
mod dns;
mod fetch;
mod guard;
mod http;
mod signed;
mod syslog;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::model::{OutboundUrl, Scheme};

pub use bucket::{Keys, Object};
pub use dns::Dns;
pub use fetch::{Fetched, Fetcher};
pub use guard::Guard;
pub use signed::{Key, Message, post};

const CONNECT: Duration = Duration::from_secs(10);
/// For one batch, until it is taken.
const SEND: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("the name {host} cannot be resolved")]
    Unresolved { host: String, source: io::Error },
    #[error(
        "{host} leads to {address}, which is not an address of the public internet; an administrator can allow private ones (outbound.private)"
    )]
    Refused { host: String, address: IpAddr },
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no trusted TLS connection to {host}: {source}")]
    Tls { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{host} did not take what was sent: {source}")]
    Send { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{host} answered {status}")]
    Answer { host: String, status: u16 },
    /// The cause has no address in it, which a redirect may have given a signature.
    #[error("{host} does not give it: {cause}")]
    Fetch { host: String, cause: String },
}

impl OutboundError {
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// The receiver said that it is there no more (RFC 9110 §15.5.11).
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Answer { status: 410, .. })
    }
}

pub type Result<T, E = OutboundError> = std::result::Result<T, E>;

/// One line on its way out.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub at: Timestamp,
    pub app: String,
    pub environment: String,
    /// `app`, `proxy` and so on.
    pub source: &'static str,
    /// `web.1`
    pub name: String,
    /// Written to standard error.
    pub error: bool,
    pub text: String,
}

/// A way out, open as long as it works; after a fault, open another one.
pub enum Outlet {
    Syslog(syslog::Connection),
    Http(http::Sender),
}

impl Outlet {
    pub async fn open(url: &OutboundUrl, guard: Guard) -> Result<Self> {
        match url.scheme {
            Scheme::Syslog | Scheme::SyslogTls => syslog::Connection::open(url, guard).await.map(Self::Syslog),
            Scheme::Http | Scheme::Https => http::Sender::open(url, guard).await.map(Self::Http),
        }
    }

    /// All of them were handed over; for syslog that means to the network.
    pub async fn send(&mut self, parcels: &[Parcel]) -> Result<()> {
        match self {
            Self::Syslog(connection) => connection.send(parcels).await,
            Self::Http(sender) => sender.send(parcels).await,
        }
    }
}
