//! The terminal that a verb is typed at: this process's own, or one at the far end of a session. What happens at it
//! beside its bytes, and raw mode, in which every key is a byte for whoever listens.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::base::model::{Happening, Signal, Window};

pub struct Terminal {
    /// Value of `TERM`.
    pub name: Option<String>,
    pub window: Window,
    pub mode: Mode,
}

/// Who makes lines of keys.
#[derive(Clone)]
pub enum Mode {
    /// The kernel, on this machine.
    Own,
    /// The far end: true while bytes shall pass as they are.
    Far(Arc<AtomicBool>),
}

impl Terminal {
    /// When both ends of this process are one.
    pub(super) fn own() -> Option<Self> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return None;
        }
        let name = std::env::var("TERM").ok().filter(|name| !name.is_empty());
        Some(Self { name, window: window()?, mode: Mode::Own })
    }
}

fn window() -> Option<Window> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(Window { columns: size.ws_col.max(1), rows: size.ws_row.max(1) })
}

/// Raw mode until it is dropped.
pub(super) enum Raw {
    Own(Termios),
    Far(Arc<AtomicBool>),
}

impl Raw {
    pub(super) fn begin(mode: &Mode) -> std::io::Result<Self> {
        match mode {
            Mode::Own => {
                let before = termios::tcgetattr(std::io::stdin())?;
                let mut raw = before.clone();
                raw.make_raw();
                termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
                Ok(Self::Own(before))
            }
            Mode::Far(raw) => {
                raw.store(true, Ordering::Release);
                Ok(Self::Far(Arc::clone(raw)))
            }
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        match self {
            Self::Own(before) => {
                let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
            }
            Self::Far(raw) => raw.store(false, Ordering::Release),
        }
    }
}

/// Where happenings come from.
pub enum Happenings {
    /// Signals of this process, from the first time somebody asks.
    Own(Option<Box<Signals>>),
    Far(mpsc::Receiver<Happening>),
}

pub struct Signals {
    resized: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Happenings {
    /// From here on this process's signals are told and no longer obeyed.
    pub(super) fn listen(&mut self) -> std::io::Result<()> {
        if let Self::Own(signals @ None) = self {
            *signals = Some(Box::new(Signals::listen()?));
        }
        Ok(())
    }

    /// Never resolves where nothing can happen. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Happening {
        match self {
            Self::Own(None) => std::future::pending().await,
            Self::Own(Some(signals)) => loop {
                tokio::select! {
                    _ = signals.resized.recv() => if let Some(window) = window() { return Happening::Resized(window) },
                    _ = signals.interrupt.recv() => return Happening::Signalled(Signal::Int),
                    _ = signals.terminate.recv() => return Happening::Signalled(Signal::Term),
                    _ = signals.hangup.recv() => return Happening::Gone,
                }
            },
            Self::Far(told) => told.recv().await.unwrap_or(Happening::Gone),
        }
    }
}
