//! Questions under way. Each is a task of its own, so that a slow answer holds up its own question and no other, and so
//! that whoever asks may leave and come back: of one replica nothing is asked twice at once, and an answer that is on
//! its way is the answer to whoever asks the same meanwhile.
//!
//! Commands cost the engine tens of milliseconds each, so they go through a sluice: a few at once in all and fewer of one
//! environment, first come, first served, and each is followed by a rest as long as it took. Where more is due than that
//! bears, all are asked less often, and none is forgotten.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::asking;
use crate::base::model::{Check, EnvironmentId, HealthCheck, Protocol, Replica};
use crate::machinery::proxy;
use crate::machinery::runtime::Engine;
use crate::machinery::runtime::probe::{self, ProbeFault};

/// Commands of one environment that the engine has at once.
const OF_ONE: usize = 2;
/// From then on a command is no more than a process of its replica: others may go.
const PRESSING: Duration = Duration::from_millis(250);

/// None when the question did not reach it: the engine is away, or the replica is.
pub type Answer = Option<Result<(), String>>;

type Key = (String, Check, Protocol);
type Told = watch::Sender<Option<Answer>>;

#[derive(Clone)]
pub struct Questions(Arc<Shared>, Protocol);

struct Shared {
    engine: Arc<dyn Engine>,
    under_way: Mutex<HashMap<Key, Arc<Told>>>,
    sluice: Sluice,
    tasks: TaskTracker,
}

impl Questions {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).clamp(2, 16);
        Self::with(engine, at_once, PRESSING)
    }

    fn with(engine: Arc<dyn Engine>, at_once: usize, pressing: Duration) -> Self {
        let sluice = Sluice { all: Arc::new(Semaphore::new(at_once)), of: Mutex::default(), pressing };
        let shared = Shared { engine, under_way: Mutex::default(), sluice, tasks: TaskTracker::new() };
        Self(Arc::new(shared), Protocol::default())
    }

    /// The same, asked in another protocol where that makes a difference.
    pub fn speaking(self, protocol: Protocol) -> Self {
        Self(self.0, protocol)
    }

    /// Dropping it loses nothing: the next to ask hears the same answer.
    pub async fn ask(&self, replica: &Replica, check: &HealthCheck) -> Answer {
        let mut told = {
            let mut under_way = self.0.lock();
            let key = (replica.id.clone(), check.check.clone(), self.1);
            under_way.entry(key.clone()).or_insert_with(|| self.begin(key, replica, check)).subscribe()
        };
        let answer = told.wait_for(Option::is_some).await;
        answer.ok().and_then(|answer| answer.clone()).flatten()
    }

    fn begin(&self, key: Key, replica: &Replica, check: &HealthCheck) -> Arc<Told> {
        let told = Arc::new(watch::Sender::new(None));
        let (shared, replica, check) = (Arc::clone(&self.0), replica.clone(), check.clone());
        let (entry, protocol) = (Entry { shared: Arc::clone(&self.0), key, told: Arc::clone(&told) }, self.1);
        self.0.tasks.spawn(async move { shared.find_out(&replica, protocol, &check, entry).await });
        told
    }
}

impl Shared {
    async fn find_out(&self, replica: &Replica, protocol: Protocol, check: &HealthCheck, entry: Entry) {
        let within = Duration::from_millis(u64::try_from(check.timeout_millis).unwrap_or(0));
        let Check::Command { command } = &check.check else {
            let answer = match replica.address {
                Some(at) => ready(at, protocol, &check.check, within).await.map_err(|fault| fault.to_string()),
                None => Err("has no port to be asked on; only web has".into()),
            };
            return entry.answer(Some(answer));
        };
        let passage = self.sluice.pass(&replica.workload.environment).await;
        if entry.told.receiver_count() == 0 {
            return;
        }
        let began = tokio::time::Instant::now();
        let mut ended = std::pin::pin!(self.engine.exec_in(&replica.id, command, within));
        let ended = tokio::select! {
            ended = &mut ended => ended,
            () = tokio::time::sleep(self.sluice.pressing) => {
                drop(passage);
                return entry.answer(asking::judged(command, ended.await, within));
            }
        };
        entry.answer(asking::judged(command, ended, within));
        tokio::time::sleep(began.elapsed()).await;
        drop(passage);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Told>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the runtime finds out, and what speaks something else in its own way.
async fn ready(at: SocketAddr, protocol: Protocol, check: &Check, within: Duration) -> Result<(), ProbeFault> {
    let Check::Http { path, .. } = check else { return probe::ready(at, check, within).await };
    if protocol.is_plain() {
        return probe::ready(at, check, within).await;
    }
    probe::ready(at, &Check::Tcp, within).await?;
    let path = path.clone();
    match tokio::time::timeout(within, proxy::ask(at, protocol, &path, within)).await {
        Err(_) => Err(ProbeFault::AnswerTimedOut { path, within }),
        Ok(Err(fault)) => {
            Err(ProbeFault::NotHttp { port: at.port(), cause: format!("{protocol}: {}", asking::root(&fault)) })
        }
        Ok(Ok(status)) if check.is_met_by(status) => Ok(()),
        Ok(Ok(status)) => Err(ProbeFault::Status { path, status }),
    }
}

/// A place among the questions under way, free again however the task ends.
struct Entry {
    shared: Arc<Shared>,
    key: Key,
    told: Arc<Told>,
}

impl Entry {
    fn answer(self, answer: Answer) {
        let told = Arc::clone(&self.told);
        drop(self);
        told.send_replace(Some(answer));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.key);
    }
}

struct Sluice {
    all: Arc<Semaphore>,
    of: Mutex<HashMap<EnvironmentId, Weak<Semaphore>>>,
    /// How long a command keeps others out at most.
    pressing: Duration,
}

impl Sluice {
    /// First among its own, then among all: a crowd of one environment stands in nobody's way with more than its share.
    async fn pass(&self, environment: &EnvironmentId) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            let known = of.get(environment).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                of.retain(|_, seats| seats.strong_count() > 0);
                let seats = Arc::new(Semaphore::new(OF_ONE));
                of.insert(environment.clone(), Arc::downgrade(&seats));
                seats
            })
        };
        let own = own.acquire_owned().await.ok()?;
        Some((own, Arc::clone(&self.all).acquire_owned().await.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::{FutureExt, StreamExt, future, stream};
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::super::vital::{Death, Vital};
    use super::*;
    use crate::base::clock::{SteadyClock, SystemClock, Timestamp};
    use crate::base::model::{
        CheckKind, Generation, Id, ImageDigest, Limits, ReleaseId, SpaceId, WorkloadId, WorkloadSpec,
    };
    use crate::machinery::runtime::Exec;
    use crate::machinery::runtime::fake::{FakeEngine, Op, Stall, ended};

    const LONG: Duration = Duration::from_secs(3600);

    fn check(kind: CheckKind, word: &str) -> HealthCheck {
        HealthCheck { attempts: 1, ..HealthCheck::new(kind, Check::Command { command: vec![word.into()] }) }
    }

    /// Replicas of a new environment.
    async fn replicas(engine: &FakeEngine, count: u32) -> Vec<Replica> {
        let image: ImageDigest = format!("sha256:{}", "a".repeat(64)).parse().expect("digest");
        engine.add_image(&image);
        let spec = WorkloadSpec {
            id: WorkloadId { environment: EnvironmentId::fresh(), process: "worker".parse().expect("name") },
            generation: Generation(1),
            count,
            app: "shop".parse().expect("name"),
            space: SpaceId::fresh(),
            release: ReleaseId::fresh(),
            release_number: 1,
            image,
            process: crate::base::model::Process { command: vec!["work".into()], working_dir: None, port: None },
            variables: BTreeMap::new(),
            port: None,
            limits: Limits::default(),
            mounts: Vec::new(),
            grace_seconds: 1,
        };
        engine.ensure(&spec).await.expect("ensure");
        let all = engine.observe().await.expect("observe");
        all.into_iter().filter(|r| r.workload == spec.id).collect()
    }

    fn asked(tasks: &mut JoinSet<Answer>, questions: &Questions, replicas: &[Replica]) {
        for replica in replicas {
            let (questions, replica) = (questions.clone(), replica.clone());
            tasks.spawn(async move { questions.ask(&replica, &check(CheckKind::Liveness, "true")).await });
        }
    }

    #[tokio::test]
    async fn a_question_that_is_open_is_not_asked_again() {
        let engine = FakeEngine::new();
        let replica = replicas(&engine, 1).await.remove(0);
        let questions = Questions::with(Arc::new(engine.clone()), 2, LONG);
        engine.stall(Op::ExecIn, Stall::Before);
        let check = check(CheckKind::Readiness, "true");
        tokio::select! {
            _ = questions.ask(&replica, &check) => panic!("it stands still"),
            () = engine.stalled(Op::ExecIn, Stall::Before, 1) => {}
        }
        let go_on = async { engine.go_on(Op::ExecIn, Stall::Before) };
        let (one, other, ()) = tokio::join!(questions.ask(&replica, &check), questions.ask(&replica, &check), go_on);
        assert_eq!((one, other, engine.calls(Op::ExecIn)), (Some(Ok(())), Some(Ok(())), 1));
        assert_eq!(questions.ask(&replica, &check).await, Some(Ok(())));
        assert_eq!(engine.calls(Op::ExecIn), 2, "one that is answered is");
    }

    #[tokio::test]
    async fn a_crowd_goes_a_few_at_a_time_and_holds_up_nobody_else() {
        let engine = FakeEngine::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        engine.on_exec(move |replica, _, _| {
            seen.lock().expect("lock").push(replica.to_owned());
            Some(ended(Vec::new(), 0))
        });
        let (crowd, other) = (replicas(&engine, 20).await, replicas(&engine, 1).await);
        let questions = Questions::with(Arc::new(engine.clone()), 4, LONG);
        engine.stall(Op::ExecIn, Stall::Before);
        let mut tasks = JoinSet::new();
        asked(&mut tasks, &questions, &crowd);
        engine.stalled(Op::ExecIn, Stall::Before, OF_ONE).await;
        asked(&mut tasks, &questions, &other);
        engine.stalled(Op::ExecIn, Stall::Before, OF_ONE + 1).await;
        assert_eq!(engine.calls(Op::ExecIn), OF_ONE + 1, "the others of the crowd wait");
        engine.go_on(Op::ExecIn, Stall::Before);
        assert!(tasks.join_all().await.iter().all(|answer| *answer == Some(Ok(()))));
        let order = order.lock().expect("lock").clone();
        assert_eq!(order.len(), 21);
        assert!(order[..=OF_ONE].contains(&other[0].id), "the other is not the last one");
    }

    #[tokio::test]
    async fn what_takes_long_keeps_nobody_out() {
        let engine = FakeEngine::new();
        let crowd = replicas(&engine, 10).await;
        let questions = Questions::with(Arc::new(engine.clone()), 2, Duration::ZERO);
        engine.stall(Op::ExecIn, Stall::Before);
        let mut tasks = JoinSet::new();
        asked(&mut tasks, &questions, &crowd);
        engine.stalled(Op::ExecIn, Stall::Before, 10).await;
        engine.go_on(Op::ExecIn, Stall::Before);
        assert_eq!(tasks.join_all().await, vec![Some(Ok(())); 10]);
    }

    #[tokio::test]
    async fn a_slow_answer_holds_up_no_other_of_its_replica() {
        let engine = FakeEngine::new();
        engine.on_exec(|_, spec, _| {
            (spec.command == ["slow"])
                .then(|| Exec { output: stream::empty().boxed(), exit: future::pending().boxed() })
        });
        let replica = replicas(&engine, 1).await.remove(0);
        let questions = Questions::with(Arc::new(engine.clone()), 2, LONG);
        let mut vital = Vital::default();
        vital.follow(&[HealthCheck::new(CheckKind::Startup, Check::Alive { millis: 0 })], Timestamp(0));
        vital.answered(0, Ok(()), Timestamp(0));
        vital.follow(&[check(CheckKind::Readiness, "slow"), check(CheckKind::Liveness, "false")], Timestamp(0));
        let clock = Arc::new(SteadyClock::from(&SystemClock));
        let vital = asking::ask(questions, replica, vital, clock, CancellationToken::new()).await;
        assert_eq!(vital.standing.dead, Some(Death::Check));
    }
}
