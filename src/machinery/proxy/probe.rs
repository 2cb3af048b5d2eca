//! One question to a replica, in what it speaks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Request;
use hyper::header::{ACCEPT, HOST, USER_AGENT};

use super::body::Upload;
use super::upstream::{Upstream, Wanted};
use crate::base::model::Protocol;

/// Status of the answer to `GET path`, on a connection that serves nothing else. `longest` bounds its making, the caller the rest.
pub async fn ask(address: SocketAddr, protocol: Protocol, path: &str, longest: Duration) -> io::Result<u16> {
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, "hythe-probe")
        .header(ACCEPT, "*/*")
        .body(Upload::Empty)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let wanted = Wanted { repeatable: true, fresh: true, switches: false };
    let mut link = Upstream::speaking(protocol, address, "").link(wanted, longest).await?;
    let answer = link.send(request).await.map_err(|unsent| io::Error::other(unsent.into_error()))?;
    Ok(answer.status().as_u16())
}
