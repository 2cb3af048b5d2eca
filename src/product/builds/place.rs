//! The warm sandbox of one app: opened once, woken for a build, frozen when nobody has used it for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::images::Images;
use super::last::Last;
use super::remains::Remains;
use super::session::{Request, Session, SessionFault, Sink};
use super::{BuildFailure, BuildLog, export, messages};
use crate::base::model::{AppId, ImageDigest};
use crate::machinery::runtime::{Engine, EngineError, Privileges, SandboxSpec};

/// How long a sandbox stays awake after its last use.
pub(super) const AWAKE: Duration = Duration::from_secs(60);

/// When a phase, or all those of a build, must have ended, and what else bounds it.
pub(super) struct Deadline<'b> {
    pub began: Instant,
    pub bounds: &'b Bounds,
}

#[derive(Default)]
pub(super) struct Place {
    sandbox: String,
    session: Option<Session>,
    /// Of the sandbox, as far as this process has opened it.
    image: Option<ImageDigest>,
    /// Nothing of earlier builds is in it: layers are to be put back.
    pub fresh: bool,
    /// What the sandbox had of earlier builds when the source with this mark was put into it; nothing was asked since.
    pub found: Option<(String, Remains)>,
    /// What was built here last; goes with the sandbox.
    pub last: Option<Last>,
    /// Counts the uses, so that a timer sees whether it is the last one.
    pub uses: u64,
}

impl Place {
    pub fn new(app: &AppId) -> Self {
        Self { sandbox: format!("build-{app}"), ..Self::default() }
    }

    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// Opens or wakes the sandbox with the image and has its driver listening.
    pub async fn open(
        &mut self,
        engine: &dyn Engine,
        images: &Images,
        image: &ImageDigest,
    ) -> Result<(), BuildFailure> {
        self.uses += 1;
        let is_awake = self.session.as_ref().is_some_and(Session::is_open);
        if is_awake && self.image.as_ref() == Some(image) {
            return Ok(());
        }
        self.forget_session();
        let spec = SandboxSpec {
            name: self.sandbox.clone(),
            image: image.clone(),
            limits: images.limits(),
            variables: BTreeMap::new(),
            privileges: Privileges::None,
        };
        let opened = match engine.open_sandbox(&spec).await {
            // The engine may have lost the image since it was loaded.
            Err(EngineError::NotFound { .. } | EngineError::Refused { .. }) => {
                images.load(image).await?;
                engine.open_sandbox(&spec).await
            }
            other => other,
        };
        if opened.map_err(|error| messages::engine(&error))? {
            self.fresh = true;
            images.place_bundle(&self.sandbox).await?;
        }
        let session = Session::start(engine, &self.sandbox, images.variables()).await;
        self.session = Some(session.map_err(|error| messages::engine(&error))?);
        self.image = Some(image.clone());
        Ok(())
    }

    /// One phase in the open sandbox. A sandbox whose driver is lost, or that broke its bounds, is closed.
    pub async fn request(
        &mut self,
        engine: &dyn Engine,
        request: Request,
        deadline: &Deadline<'_>,
        log: &dyn BuildLog,
        sink: Sink<'_>,
    ) -> Result<Vec<u8>, BuildFailure> {
        self.found = None;
        let Some(session) = &mut self.session else { return Err(messages::sandbox_lost()) };
        let bounds = deadline.bounds;
        let left = Duration::from_secs(bounds.seconds).saturating_sub(deadline.began.elapsed());
        let asked = session.request(request, bounds.output_bytes, log, sink);
        let answered = tokio::select! {
            answered = tokio::time::timeout(left, asked) => answered,
            failure = bounds.broken(engine, &self.sandbox) => {
                self.close(engine).await;
                return Err(failure);
            }
        };
        let failure = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(SessionFault::Engine(error))) => messages::engine(&error),
            Ok(Err(SessionFault::Source(error))) => messages::source_unreadable(&export::chain(&error)),
            Ok(Err(fault @ (SessionFault::Ended | SessionFault::Garbled(_)))) => {
                tracing::warn!(sandbox = self.sandbox, fault = %fault, "a build sandbox is of no use any more");
                messages::sandbox_lost()
            }
            Ok(Err(SessionFault::Flood)) => messages::flooded(bounds.output_bytes),
            Err(_) => messages::timed_out(bounds.seconds),
        };
        self.close(engine).await;
        Err(failure)
    }

    /// Freezes the sandbox until it is opened again.
    pub async fn sleep(&mut self, engine: &dyn Engine) {
        self.forget_session();
        if let Err(error) = engine.pause_sandbox(&self.sandbox).await {
            tracing::warn!(sandbox = self.sandbox, error = %export::chain(&error), "a build sandbox could not be paused");
        }
    }

    pub async fn remove(&mut self, engine: &dyn Engine) -> Result<(), EngineError> {
        self.forget_session();
        self.last = None;
        engine.close_sandbox(&self.sandbox).await
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.image = None;
        self.found = None;
    }

    /// Removes the sandbox where that can be done.
    pub async fn close(&mut self, engine: &dyn Engine) {
        if let Err(error) = self.remove(engine).await {
            tracing::warn!(sandbox = self.sandbox, error = %export::chain(&error), "a build sandbox could not be removed");
        }
    }
}
