//! People who ask an app again and again while something happens to it, and count what was no answer.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::RealServer;

/// Longer than whatever the proxy itself waits for.
const LONGEST: Duration = Duration::from_secs(70);

#[derive(Default)]
struct Tally {
    answered: usize,
    failed: Vec<String>,
}

pub struct Load {
    over: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    askers: Vec<JoinHandle<()>>,
}

impl Load {
    /// `askers` at a time, each on a connection of its own per request.
    pub fn on(server: &RealServer, app: &str, askers: usize) -> Self {
        Self::asking(server, app, askers, |port, host| ask(port, &host))
    }

    /// `askers` at a time, each on one connection for as long as it is not asked to go.
    pub fn kept(server: &RealServer, app: &str, askers: usize) -> Self {
        Self::asking(server, app, askers, |port, host| {
            thread_local!(static OPEN: RefCell<Option<TcpStream>> = const { RefCell::new(None) });
            OPEN.with_borrow_mut(|open| ask_on(open, port, &host))
        })
    }

    fn asking(
        server: &RealServer,
        app: &str,
        askers: usize,
        ask: impl Fn(u16, String) -> std::io::Result<u16> + Copy + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (port, host) = (server.proxy_port, format!("{app}.localhost"));
        let one = |_| {
            let (over, tally, host) = (Arc::clone(&over), Arc::clone(&tally), host.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = ask(port, host.clone());
                    let mut tally = tally.lock().expect("tally");
                    match answer {
                        Ok(200) => tally.answered += 1,
                        Ok(status) => tally.failed.push(format!("status {status}")),
                        Err(fault) => tally.failed.push(fault.to_string()),
                    }
                    drop(tally);
                    // As people do, not as fast as the machine can: it has other work in this test.
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        let askers = (0..askers).map(one).collect();
        Self { over, tally, askers }
    }

    pub fn answered(&self) -> usize {
        self.tally.lock().expect("tally").answered
    }

    /// Ends it; every request must have been answered with 200.
    #[track_caller]
    pub fn served_throughout(self) {
        self.over.store(true, Ordering::Relaxed);
        for asker in self.askers {
            asker.join().expect("asker");
        }
        let tally = self.tally.lock().expect("tally");
        let (answered, failed) = (tally.answered, tally.failed.len());
        let first: Vec<_> = tally.failed.iter().take(5).collect();
        assert!(answered > 0 && failed == 0, "{failed} of {} requests failed, such as {first:?}", answered + failed);
    }
}

fn ask_on(open: &mut Option<TcpStream>, port: u16, host: &str) -> std::io::Result<u16> {
    let mut stream = match open.take() {
        Some(stream) => stream,
        None => TcpStream::connect(("127.0.0.1", port))?,
    };
    stream.set_read_timeout(Some(LONGEST))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    let head = loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Err(std::io::Error::other(format!("the connection ended after {} bytes", answer.len())));
        }
        answer.extend_from_slice(&piece[..length]);
        if let Some(at) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = field("content-length:").and_then(|text| text.parse().ok()).expect("a length");
    let mut rest = vec![0; (head + length).saturating_sub(answer.len())];
    stream.read_exact(&mut rest)?;
    if field("connection:") != Some("close") {
        *open = Some(stream);
    }
    text.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(|| std::io::Error::other("no status"))
}

fn ask(port: u16, host: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LONGEST))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let line = String::from_utf8_lossy(answer.get(..12).unwrap_or_default()).into_owned();
    line.get(9..)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("{line:?} is no answer")))
}
