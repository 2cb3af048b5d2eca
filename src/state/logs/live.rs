//! One log that somebody writes or follows: its file, and how far it is written.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::line::{self, END};
use super::unusable;
use crate::base::error::Result;

/// Largest log in bytes, its last notice apart.
pub(super) const LARGEST: u64 = 64 << 20;
pub(super) const FULL: &str = " !     The log is full: further lines are not kept.";

pub(super) struct Live {
    pub(super) path: PathBuf,
    /// The open file while somebody writes. Its lock orders writers.
    writer: Mutex<Option<File>>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Bytes that are in the file.
    pub(super) written: u64,
    /// Nothing follows them, for now.
    pub(super) ended: bool,
    full: bool,
    /// The file does not end with a line feed: a process died while it wrote.
    torn: bool,
}

impl Live {
    /// Reads from the file, if there is one, how far the log has come.
    pub(super) fn find(path: PathBuf) -> Result<Self> {
        let progress = match File::open(&path) {
            Ok(file) => Progress::of(&file).map_err(|e| unusable(&path, e))?,
            Err(e) if e.kind() == ErrorKind::NotFound => Progress::default(),
            Err(e) => return Err(unusable(&path, e)),
        };
        Ok(Self { path, writer: Mutex::new(None), progress: watch::Sender::new(progress) })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn append(&self, text: &str) -> Result<()> {
        let mut writer = self.lock();
        let progress = *self.progress.borrow();
        if progress.full {
            return Ok(());
        }
        let mut lines = line::clean(text);
        let full = progress.written + lines.len() as u64 > LARGEST;
        if full {
            let room = usize::try_from(LARGEST.saturating_sub(progress.written)).unwrap_or(0);
            let kept = lines.as_bytes()[..room].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            lines.truncate(kept);
            lines.push_str(FULL);
            lines.push('\n');
        }
        self.write(&mut writer, lines.into_bytes(), |p| (p.ended, p.full) = (false, full))
    }

    pub(super) fn close(&self) -> Result<()> {
        let mut writer = self.lock();
        if !self.progress.borrow().ended {
            self.write(&mut writer, END.to_vec(), |p| p.ended = true)?;
        }
        *writer = None;
        Ok(())
    }

    pub(super) fn delete(&self) -> Result<()> {
        let mut writer = self.lock();
        *writer = None;
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(unusable(&self.path, e)),
            _ => {}
        }
        self.progress.send_replace(Progress { ended: true, ..Progress::default() });
        Ok(())
    }

    /// One write call, so that lines of a process that is killed are whole.
    fn write(&self, writer: &mut Option<File>, mut bytes: Vec<u8>, then: impl FnOnce(&mut Progress)) -> Result<()> {
        let Progress { written, torn, .. } = *self.progress.borrow();
        if torn {
            bytes.insert(0, b'\n');
        }
        let file = match writer {
            Some(file) => file,
            None => {
                let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
                writer.insert(opened.map_err(|e| unusable(&self.path, e))?)
            }
        };
        if let Err(fault) = file.write_all(&bytes) {
            // Half a line would join the next one.
            let _ = file.set_len(written);
            *writer = None;
            return Err(unusable(&self.path, fault));
        }
        self.progress.send_modify(|p| {
            p.written += bytes.len() as u64;
            p.torn = false;
            then(p);
        });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn of(file: &File) -> std::io::Result<Self> {
        let written = file.metadata()?.len();
        let looked_at = written.min(256);
        let mut tail = vec![0; usize::try_from(looked_at).unwrap_or(0)];
        file.read_exact_at(&mut tail, written - looked_at)?;
        let mut ended = false;
        let mut last = tail.strip_suffix(b"\n").unwrap_or(&tail).rsplit(|&b| b == b'\n').peekable();
        if last.next_if(|line| line::is_end(line)).is_some() {
            ended = tail.ends_with(b"\n");
        }
        let full = last.next().is_some_and(|line| line == FULL.as_bytes()) && written >= LARGEST / 2;
        Ok(Self { written, ended, full, torn: !tail.is_empty() && !tail.ends_with(b"\n") })
    }
}
