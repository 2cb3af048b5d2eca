//! The desk at which commands are started: it holds the engine, and knows whose streams are in somebody's hands. What
//! nobody holds any more is for the keeper to end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::base::error::{Error, Result};
use crate::base::model::{CommandId, Environment, Exit, ProcessName, ReplicaState, Signal, Window};
use crate::machinery::runtime::{Attached, Channel, CommandSpec, Control, Engine, EngineError, EnterSpec};
use crate::product::builds::Builder;

pub struct Desk {
    machine: Option<Machine>,
    held: Mutex<HashSet<CommandId>>,
    pub(super) wake: Notify,
    /// Somebody changed a schedule.
    cron: Notify,
    /// Who is about to have a command in hand, until it is made.
    making: TaskTracker,
    /// Replicas that are entered at once, one permit each.
    entries: Arc<Semaphore>,
    /// Last words to what was entered, after whoever entered has left.
    leaving: TaskTracker,
}

const MOST_ENTRIES: usize = 200;
/// How long a desk that closes waits for an engine that makes what was asked for.
const LAST_ONES: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(in crate::product::deploy) struct Machine {
    pub(in crate::product::deploy) engine: Arc<dyn Engine>,
    pub(in crate::product::deploy) builder: Arc<Builder>,
}

/// The streams of a command. Whoever drops it lets go of the command: it is ended, with grace.
pub struct Session {
    input: Option<(mpsc::Sender<Bytes>, mpsc::Sender<Control>)>,
    output: BoxStream<'static, Result<(Channel, Bytes), EngineError>>,
    exit: BoxFuture<'static, Result<Exit, EngineError>>,
    _hold: Hold,
}

/// What a session says next.
#[derive(Debug)]
pub enum Piece {
    Output(Bytes),
    Errors(Bytes),
    /// The last one; `reason` is for people, and empty when the code says all.
    End {
        code: i64,
        reason: String,
    },
}

impl Session {
    fn new(attached: Attached, hold: Hold) -> Self {
        let Attached { stdin, control, output, exit } = attached;
        Self { input: Some((stdin, control)), output, exit, _hold: hold }
    }

    /// The ways in, once; dropping the first is the end of the input.
    ///
    /// # Panics
    /// When they were taken before.
    pub fn take_input(&mut self) -> (mpsc::Sender<Bytes>, mpsc::Sender<Control>) {
        self.input.take().unwrap_or_else(|| panic!("the input of a session is taken once"))
    }

    /// Dropping the future loses nothing. Do not ask again after the end.
    pub async fn next(&mut self) -> Piece {
        match self.output.next().await {
            Some(Ok((Channel::Out, bytes))) => return Piece::Output(bytes),
            Some(Ok((Channel::Err, bytes))) => return Piece::Errors(bytes),
            Some(Err(fault)) => return lost(fault),
            None => {}
        }
        match (&mut self.exit).await {
            Ok(Exit { code, out_of_memory: true }) => Piece::End { code, reason: "it ran out of memory".into() },
            Ok(Exit { code, .. }) => Piece::End { code, reason: String::new() },
            Err(EngineError::NotFound { .. }) => {
                Piece::End { code: KILLED, reason: "it was ended from outside".into() }
            }
            Err(fault) => lost(fault),
        }
    }
}

/// As a shell counts a process that SIGKILL ended.
const KILLED: i64 = 137;

fn lost(fault: EngineError) -> Piece {
    Piece::End { code: KILLED, reason: refused(fault).public }
}

impl Desk {
    pub fn new(engine: Arc<dyn Engine>, builder: Arc<Builder>) -> Self {
        Self { machine: Some(Machine { engine, builder }), ..Self::closed() }
    }

    /// Without an engine: nothing can be started.
    pub fn closed() -> Self {
        Self {
            machine: None,
            held: Mutex::default(),
            wake: Notify::new(),
            cron: Notify::new(),
            making: TaskTracker::new(),
            entries: Arc::new(Semaphore::new(MOST_ENTRIES)),
            leaving: TaskTracker::new(),
        }
    }

    /// Something was asked for, or somebody has let go: the keeper looks.
    pub(in crate::product::deploy) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(in crate::product::deploy) fn cron_wake(&self) {
        self.cron.notify_one();
    }

    pub(in crate::product::deploy) async fn cron_woken(&self) {
        self.cron.notified().await;
    }

    pub(in crate::product::deploy) fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().ok_or_else(|| Error::unavailable("there is no engine here", "the desk is closed"))
    }

    pub(super) fn is_held(&self, id: &CommandId) -> bool {
        self.lock().contains(id)
    }

    /// Call it before the command has a row, so that nobody takes it for left behind.
    pub(super) fn hold(self: &Arc<Self>, id: &CommandId) -> Hold {
        self.lock().insert(id.clone());
        Hold::Command { desk: Arc::clone(self), id: id.clone() }
    }

    /// Ask before the command has a row, and keep it until it is there or its failure is noted: a desk that closes waits.
    pub(super) fn opening(&self) -> Result<TaskTrackerToken> {
        let token = self.making.token();
        if self.making.is_closed() {
            return Err(Error::unavailable(
                "the platform is stopping; try again when it is back",
                "the desk is closed",
            ));
        }
        Ok(token)
    }

    /// From now on nothing is put into anybody's hands. Returns when what is being made is there, or has failed.
    pub(super) async fn close(&self) {
        self.making.close();
        if tokio::time::timeout(LAST_ONES, self.making.wait()).await.is_err() {
            tracing::warn!("the engine does not answer; a command that it still makes is for the next start to end");
        }
    }

    /// Made to its end, whoever leaves meanwhile: then it is let go of as soon as it is there, and not left half made.
    pub(super) async fn run(&self, hold: Hold, spec: CommandSpec, window: Option<Window>) -> Result<Session> {
        let machine = self.machine()?.clone();
        let made = self.making.spawn(async move {
            let mut attached = machine.engine.run_attached(&spec, window).await;
            if attached.is_err() && machine.fetched(&spec).await? {
                attached = machine.engine.run_attached(&spec, window).await;
            }
            Ok(Session::new(attached.map_err(refused)?, hold))
        });
        made.await.map_err(Error::internal)?
    }

    /// The newest running replica of that name, of the live rollout if it can be.
    pub(super) async fn enter(
        self: &Arc<Self>,
        environment: &Environment,
        (process, ordinal): (&ProcessName, u32),
        spec: EnterSpec,
        window: Option<Window>,
        grace: Duration,
    ) -> Result<Session> {
        let machine = self.machine()?;
        let place = Arc::clone(&self.entries).try_acquire_owned();
        let place = place.map_err(|_| Error::limit("too many replicas are entered at once; try again later"))?;
        let all = machine.engine.observe().await.map_err(refused)?;
        let mine = all.into_iter().filter(|r| {
            r.workload.environment == environment.id
                && r.workload.process == *process
                && r.ordinal == ordinal
                && r.state == ReplicaState::Running
        });
        let replica = mine.max_by_key(|r| (r.generation == environment.status.live, r.generation));
        let replica = replica.ok_or_else(|| Error::not_found(format!("running replica {process}.{ordinal}")))?;
        let mut attached = machine.engine.enter(&replica.id, spec, window).await.map_err(refused)?;
        let ended = Arc::new(AtomicBool::new(false));
        let (control, mark) = (attached.control.clone(), Arc::clone(&ended));
        attached.exit = attached.exit.inspect(move |_| mark.store(true, Ordering::Release)).boxed();
        let hold = Hold::Entered { desk: Arc::clone(self), control, ended, grace, _place: place };
        Ok(Session::new(attached, hold))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<CommandId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    /// Gives the engine the image of `spec` if it lacks it; true when it did.
    pub(super) async fn fetched(&self, spec: &CommandSpec) -> Result<bool> {
        if !matches!(self.engine.has_image(&spec.image).await, Ok(false)) {
            return Ok(false);
        }
        let loaded = self.builder.load(&spec.image).await;
        loaded.map(|_| true).map_err(|failure| Error::unavailable(failure.reason.clone(), failure))
    }
}

pub(super) enum Hold {
    Command {
        desk: Arc<Desk>,
        id: CommandId,
    },
    Entered {
        desk: Arc<Desk>,
        control: mpsc::Sender<Control>,
        ended: Arc<AtomicBool>,
        grace: Duration,
        _place: OwnedSemaphorePermit,
    },
}

impl Drop for Hold {
    fn drop(&mut self) {
        match self {
            Self::Command { desk, id } => {
                desk.lock().remove(id);
                desk.wake();
            }
            Self::Entered { ended, .. } if ended.load(Ordering::Acquire) => {}
            // Hanging up is what a terminal does; a shell does not obey SIGTERM.
            Self::Entered { desk, control, grace, .. } => {
                let (control, grace) = (control.clone(), *grace);
                desk.leaving.spawn(async move {
                    let _ = control.send(Control::Signal(Signal::Hup)).await;
                    tokio::time::sleep(grace).await;
                    let _ = control.send(Control::Signal(Signal::Kill)).await;
                });
            }
        }
    }
}

/// An engine's fault as a person may read it.
pub(in crate::product::deploy) fn refused(error: EngineError) -> Error {
    match error {
        EngineError::Unreachable { .. } => {
            Error::unavailable("the engine does not answer; see whether it runs: hythe doctor", error)
        }
        EngineError::NoSpace => Error::unavailable("the engine's disk is full", error),
        EngineError::Refused { ref source, .. } => {
            Error::conflict(format!("the command could not be started: {source}")).because(error)
        }
        EngineError::NotFound { ref subject } => Error::not_found(subject.clone()),
        EngineError::MissingLayers => Error::internal(error),
    }
}
