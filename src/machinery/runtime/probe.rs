//! Is a replica ready? One attempt, bounded in time; when to ask again is for the caller.
//! The fault says what was seen, in words that a person who pushed the app understands.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::model::Check;

/// What a replica that is not ready was seen doing; completes the sentence "the process …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFault {
    #[error("does not accept connections on port {port}")]
    Refused { port: u16 },
    #[error("cannot be reached on port {port}: {cause}")]
    Unreachable { port: u16, cause: String },
    #[error("accepts no connection on port {port} in {} ms", .within.as_millis())]
    ConnectTimedOut { port: u16, within: Duration },
    #[error("does not answer GET {path} in {} ms", .within.as_millis())]
    AnswerTimedOut { path: String, within: Duration },
    #[error("answers GET {path} with {status}")]
    Status { path: String, status: u16 },
    /// Closed without an answer, or answered something that is no HTTP/1.
    #[error("does not speak HTTP on port {port}: {cause}")]
    NotHttp { port: u16, cause: String },
    /// The check itself cannot be asked: its path holds what no request line may hold.
    #[error("cannot be checked at {path:?}: not a path that starts with / and holds no spaces or control characters")]
    BadPath { path: String },
}

/// The longest status line worth reading (RFC 9112 §4 sets no bound).
const LONGEST_STATUS_LINE: usize = 1024;

/// Only what is asked over the network; for the others, which need no address, here all is well.
pub async fn ready(addr: SocketAddr, check: &Check, timeout: Duration) -> Result<(), ProbeFault> {
    let path = match check {
        Check::Alive { .. } | Check::Command { .. } => return Ok(()),
        Check::Tcp => None,
        Check::Http { path, .. } => Some(path.as_str()),
    };
    if let Some(path) = path.filter(|p| !p.starts_with('/') || p.chars().any(|c| !c.is_ascii_graphic())) {
        return Err(ProbeFault::BadPath { path: path.to_owned() });
    }
    let port = addr.port();
    let deadline = tokio::time::Instant::now() + timeout;
    let mut stream = match tokio::time::timeout_at(deadline, TcpStream::connect(addr)).await {
        Err(_) => return Err(ProbeFault::ConnectTimedOut { port, within: timeout }),
        Ok(Err(fault)) if fault.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err(ProbeFault::Refused { port });
        }
        Ok(Err(fault)) => return Err(ProbeFault::Unreachable { port, cause: fault.to_string() }),
        Ok(Ok(stream)) => stream,
    };
    let Some(path) = path else { return Ok(()) };
    match tokio::time::timeout_at(deadline, get(&mut stream, addr, path)).await {
        Err(_) => Err(ProbeFault::AnswerTimedOut { path: path.to_owned(), within: timeout }),
        Ok(Err(fault)) => Err(ProbeFault::NotHttp { port, cause: fault.to_string() }),
        Ok(Ok(status)) if check.is_met_by(status) => Ok(()),
        Ok(Ok(status)) => Err(ProbeFault::Status { path: path.to_owned(), status }),
    }
}

/// The status code of the first answer, read no further than its first line.
async fn get(stream: &mut TcpStream, addr: SocketAddr, path: &str) -> std::io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: hythe-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::with_capacity(64);
    let mut chunk = [0; 256];
    while !line.contains(&b'\n') {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::Error::other("it closed the connection without an answer"));
        }
        line.extend_from_slice(&chunk[..read]);
        if line.len() > LONGEST_STATUS_LINE {
            break;
        }
    }
    status_of(&line).ok_or_else(|| std::io::Error::other("its answer does not start with an HTTP/1 status line"))
}

/// `HTTP/1.x NNN …` (RFC 9112 §4).
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (version, code) = (rest.first()?, rest.get(2..5)?);
    let after = rest.get(5).copied();
    let well = version.is_ascii_digit() && rest.get(1) == Some(&b' ') && matches!(after, Some(b' ' | b'\r' | b'\n'));
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (well && (100..=999).contains(&code)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    /// Runs a check against a listener that answers the first connection with `answer` and closes it.
    async fn against(answer: &'static [u8], check: Check) -> Result<(), ProbeFault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("address");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut head = [0; 512];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer).await;
        };
        tokio::join!(ready(addr, &check, SOON), serve).0
    }

    fn at(path: &str) -> Check {
        Check::http(path)
    }

    #[tokio::test]
    async fn below_500_is_ready() {
        for answer in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"HTTP/1.0 404 Not Found\r\n", b"HTTP/1.1 302\r\n"] {
            assert_eq!(against(answer, at("/health")).await, Ok(()));
        }
        let seen = against(b"HTTP/1.1 503 Busy\r\n\r\n", at("/health")).await;
        assert_eq!(seen, Err(ProbeFault::Status { path: "/health".into(), status: 503 }));
        assert_eq!(seen.expect_err("503").to_string(), "answers GET /health with 503");
    }

    #[tokio::test]
    async fn a_named_status_is_the_only_one_that_is_well() {
        let check = Check::Http { path: "/up".into(), status: Some(204) };
        assert_eq!(against(b"HTTP/1.1 204 No Content\r\n\r\n", check.clone()).await, Ok(()));
        let seen = against(b"HTTP/1.1 200 OK\r\n\r\n", check).await;
        assert_eq!(seen, Err(ProbeFault::Status { path: "/up".into(), status: 200 }));
    }

    #[tokio::test]
    async fn what_is_no_http_is_said() {
        for answer in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1 2OO OK\r\n", b"HTTP/1.12000\r\n", b"HTTP/2 200\r\n"] {
            let seen = against(answer, at("/")).await;
            assert!(matches!(seen, Err(ProbeFault::NotHttp { .. })), "{answer:?}: {seen:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_an_open_one_is_enough_for_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("address");
        assert_eq!(ready(addr, &Check::Tcp, SOON).await, Ok(()));
        drop(listener);
        assert_eq!(ready(addr, &Check::Tcp, SOON).await, Err(ProbeFault::Refused { port: addr.port() }));
    }

    #[tokio::test]
    async fn silence_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("address");
        let short = Duration::from_millis(30);
        let seen = ready(addr, &at("/"), short).await;
        assert_eq!(seen, Err(ProbeFault::AnswerTimedOut { path: "/".into(), within: short }));
    }

    #[tokio::test]
    async fn a_path_cannot_carry_a_second_request() {
        for path in ["", "health", "/a b", "/a\r\nX: y", "/\0", "/ü"] {
            let seen = ready(([127, 0, 0, 1], 9).into(), &at(path), SOON).await;
            assert_eq!(seen, Err(ProbeFault::BadPath { path: path.into() }));
        }
    }
}
