//! A socket in front of the engine's that can be cut and mended: for Hythe the engine has stopped,
//! for everybody else on this machine it goes on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::engine;

#[derive(Default)]
struct State {
    cut: AtomicBool,
    hangs: AtomicBool,
    /// The request that is held: what its first bytes contain, and whether one has come.
    awaited: Mutex<Option<(String, bool)>>,
    open: Mutex<Vec<UnixStream>>,
}

impl State {
    /// Stands still with a piece that is awaited.
    fn hold(&self, piece: &[u8]) {
        let head = String::from_utf8_lossy(piece.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
        {
            let mut awaited = self.awaited.lock().expect("lock");
            match awaited.as_mut() {
                Some((text, come)) if !*come && head.contains(text.as_str()) => *come = true,
                _ => return,
            }
        }
        while self.awaited.lock().expect("lock").is_some() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

pub struct Relay {
    // In /tmp: the path of a socket is at most 107 bytes long.
    dir: TempDir,
    state: Arc<State>,
}

impl Relay {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hythe-relay-").tempdir_in("/tmp").expect("directory");
        let listener = UnixListener::bind(dir.path().join("engine.sock")).expect("socket");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !shared.cut.load(Ordering::SeqCst) {
                    serve(&shared, client);
                }
            }
        });
        Self { dir, state }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }

    /// Every connection breaks and none is answered any more.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().expect("lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Everything stands still: connections stay open, nothing passes.
    pub fn hang(&self) {
        self.state.hangs.store(true, Ordering::SeqCst);
    }

    /// The first request whose head contains `text` does not arrive, until `mend`; all else passes.
    pub fn hold(&self, text: &str) {
        *self.state.awaited.lock().expect("lock") = Some((text.to_owned(), false));
    }

    /// Whether such a request has come.
    pub fn holds(&self) -> bool {
        self.state.awaited.lock().expect("lock").as_ref().is_some_and(|(_, come)| *come)
    }

    pub fn mend(&self) {
        *self.state.awaited.lock().expect("lock") = None;
        self.state.hangs.store(false, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

fn serve(state: &Arc<State>, client: UnixStream) {
    let Ok(engine) = UnixStream::connect(Path::new(&engine::socket())) else { return };
    let (Ok(from_client), Ok(from_engine)) = (client.try_clone(), engine.try_clone()) else { return };
    {
        let mut open = state.open.lock().expect("lock");
        open.extend(client.try_clone());
        open.extend(engine.try_clone());
    }
    let (one, two) = (Arc::clone(state), Arc::clone(state));
    thread::spawn(move || copy(&one, from_client, engine, |piece| one.hold(piece)));
    thread::spawn(move || copy(&two, from_engine, client, |_| ()));
}

/// Until one side ends; the end is passed on, as attached streams are closed half by half.
fn copy(state: &State, mut from: UnixStream, mut to: UnixStream, hold: impl Fn(&[u8])) {
    let mut piece = [0; 64 << 10];
    while let Ok(n) = from.read(&mut piece) {
        while state.hangs.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        hold(&piece[..n]);
        if n == 0 || to.write_all(&piece[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
