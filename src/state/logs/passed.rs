//! Lines of jobs, passed on as they are written to who keeps them elsewhere as well. The writer never waits: what does
//! not fit is dropped and counted; it stands in the job's own log all the same.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::base::model::JobId;

/// Texts under way.
const MOST: usize = 4096;

#[derive(Debug)]
pub struct JobLine {
    pub job: JobId,
    /// The step that wrote it; empty outside of steps.
    pub step: &'static str,
    /// One or more lines.
    pub text: String,
}

#[derive(Default)]
pub(super) struct Passage(OnceLock<(mpsc::Sender<JobLine>, Arc<AtomicU64>)>);

pub struct JobLines {
    lines: mpsc::Receiver<JobLine>,
    dropped: Arc<AtomicU64>,
}

impl Passage {
    /// None: somebody has taken it already.
    pub(super) fn open(&self) -> Option<JobLines> {
        let (sender, lines) = mpsc::channel(MOST);
        let dropped = Arc::<AtomicU64>::default();
        self.0.set((sender, Arc::clone(&dropped))).ok()?;
        Some(JobLines { lines, dropped })
    }

    pub(super) fn pass_on(&self, job: &JobId, step: &'static str, text: &str) {
        let Some((sender, dropped)) = self.0.get() else { return };
        let line = JobLine { job: job.clone(), step, text: text.to_owned() };
        if let Err(TrySendError::Full(_)) = sender.try_send(line) {
            dropped.fetch_add(1, Relaxed);
        }
    }
}

impl JobLines {
    /// Those that are there, at least one, and how many did not fit before them; none when no more come.
    pub async fn next(&mut self) -> Option<(Vec<JobLine>, u64)> {
        let mut lines = Vec::new();
        (self.lines.recv_many(&mut lines, 256).await > 0).then(|| (lines, self.dropped.swap(0, Relaxed)))
    }
}
