//! Uploads under way. A session is of one repository and one user, lives in this process, and ends once: what was written is
//! a file without a name until its digest was verified, and goes with the session.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::refusal::Refusal;
use crate::base::model::{AppId, UserId};
use crate::machinery::image::{BlobWriter, ImageError};

/// A client pushes a handful at a time.
const MOST_OF_AN_APP: usize = 64;
const MOST: usize = 512;

#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

pub(super) struct Session {
    pub id: String,
    app: AppId,
    user: UserId,
    /// None once it has ended. Held for the time of one write.
    writer: Mutex<Option<BlobWriter>>,
    /// One request at a time.
    pub turn: tokio::sync::Mutex<()>,
    used: Mutex<Instant>,
}

impl Sessions {
    pub(super) fn start(&self, app: &AppId, user: &UserId, writer: BlobWriter) -> Result<Arc<Session>, Refusal> {
        let mut all = self.lock();
        if all.len() >= MOST || all.values().filter(|session| session.app == *app).count() >= MOST_OF_AN_APP {
            let text = "too many uploads are under way; finish or cancel some first";
            return Err(Refusal::Denied(StatusCode::TOO_MANY_REQUESTS, text.into()));
        }
        let session = Arc::new(Session {
            id: hex::encode(rand::random::<[u8; 16]>()),
            app: app.clone(),
            user: user.clone(),
            writer: Mutex::new(Some(writer)),
            turn: tokio::sync::Mutex::default(),
            used: Mutex::new(Instant::now()),
        });
        all.insert(session.id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Of this repository and this user; another's is not there.
    pub(super) fn find(&self, id: &str, app: &AppId, user: &UserId) -> Option<Arc<Session>> {
        let found = self.lock().get(id).cloned();
        found.filter(|session| session.app == *app && session.user == *user)
    }

    pub(super) fn end(&self, session: &Session) {
        self.lock().remove(&session.id);
        drop(session.writer().take());
    }

    /// Bytes that the app's uploads have written so far.
    pub(super) fn written(&self, app: &AppId) -> u64 {
        let of_app: Vec<_> = self.lock().values().filter(|session| session.app == *app).cloned().collect();
        of_app.iter().map(|session| session.written()).sum()
    }

    /// Forgets those that nobody has gone on with for so long.
    pub(super) fn expire(&self, idle: Duration) {
        let mut all = self.lock();
        all.retain(|_, session| {
            let at_work = session.turn.try_lock().is_err();
            at_work || session.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < idle
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn writer(&self) -> MutexGuard<'_, Option<BlobWriter>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn written(&self) -> u64 {
        self.writer().as_ref().map_or(0, BlobWriter::written)
    }

    /// Blocks. Nothing happens to a session that has ended.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), ImageError> {
        match self.writer().as_mut() {
            Some(writer) => writer.write_all(bytes).map_err(ImageError::Stream),
            None => Ok(()),
        }
    }

    /// What was written, for who verifies it; the session has ended with it.
    pub(super) fn take(&self) -> Option<BlobWriter> {
        self.writer().take()
    }

    /// What is there, as clients are told: a session without a byte says `0-0` like one with one, as registries always did.
    pub(super) fn range(&self) -> String {
        format!("0-{}", self.written().saturating_sub(1))
    }
}
