//! Commands and schedules in process: a clock that is moved by hand, an engine in memory, both databases.

mod guide;
mod images;
mod stopping;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::base::config::{self, Config};
use crate::base::model::*;
use crate::machinery::git::Repositories;
use crate::machinery::image::BlobStore;
use crate::machinery::runtime::Engine;
use crate::machinery::runtime::fake::FakeEngine;
use crate::product::apps::NoObservatory;
use crate::product::builds::Builder;
use crate::product::disk::Disk;
use crate::product::insight::Insight;
use crate::state::jobs::Queue;
use crate::state::logs::{LogName, LogStore};
use crate::state::store::Store;
use crate::state::store::tests::{drop_postgres, for_each_database, fresh_postgres};
use crate::state::vault::Vault;

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000;
const MINUTE: i64 = 60_000;

/// One server: its own data directory and engine, the database perhaps shared.
pub(in crate::product) struct Server {
    pub ctx: Ctx,
    clock: ManualClock,
    pub engine: FakeEngine,
    pub builder: Arc<Builder>,
    blobs: BlobStore,
    dir: tempfile::TempDir,
}

impl Server {
    async fn on(store: Store, clock: &ManualClock) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let vault = Vault::open(dir.path(), &store).await.expect("vault");
        Self::with(store, clock, dir, vault)
    }

    /// Another server on the same database.
    fn beside(&self, store: Store) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        Self::with(store, &self.clock, dir, self.ctx.vault.clone())
    }

    /// On the clock of the machine.
    pub async fn at_work(store: Store) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let vault = Vault::open(dir.path(), &store).await.expect("vault");
        Self::by(Arc::new(SystemClock), store, &ManualClock::at(NEW_YEAR), dir, vault)
    }

    fn with(store: Store, clock: &ManualClock, dir: tempfile::TempDir, vault: Vault) -> Self {
        Self::by(Arc::new(clock.clone()), store, clock, dir, vault)
    }

    fn by(shared: Arc<dyn Clock>, store: Store, clock: &ManualClock, dir: tempfile::TempDir, vault: Vault) -> Self {
        let fake = FakeEngine::with_clock(Arc::clone(&shared));
        fake.add_image(&image());
        let engine: Arc<dyn Engine> = Arc::new(fake.clone());
        let blobs = BlobStore::open(&dir.path().join("blobs")).expect("blobs");
        let builder = Builder::new(Arc::clone(&engine), blobs.clone(), &config::Build::default(), dir.path());
        let builder = Arc::new(builder);
        let logs = LogStore::open(&dir.path().join("logs")).expect("logs");
        let repositories = Arc::new(Repositories::open(dir.path().join("repos")).expect("repositories"));
        let sources = Sources::open(repositories, dir.path().join("uploads")).expect("sources");
        let ctx = Ctx {
            vault,
            queue: Queue::new(store.clone(), Arc::clone(&shared), logs.clone()),
            store,
            logs,
            clock: shared,
            wake: Arc::default(),
            certificates: Arc::default(),
            observatory: Arc::new(NoObservatory),
            desk: Arc::new(Desk::new(Arc::clone(&engine), Arc::clone(&builder))),
            sources: Arc::new(sources),
            insight: Insight::open(dir.path(), &Config::default()).expect("insight"),
            disk: Arc::new(Disk::new(engine, Arc::clone(&builder), blobs.clone(), dir.path().to_owned())),
            config: Arc::new(Config::default()),
        };
        Self { ctx, clock: clock.clone(), engine: fake, builder, blobs, dir }
    }

    fn keeper(&self) -> CommandKeeper {
        CommandKeeper::new(self.ctx.clone()).expect("an engine")
    }

    async fn look_at_crons(&self) {
        CronKeeper::new(self.ctx.clone()).look().await.expect("a look");
    }

    async fn runs(&self, cron: &CronId) -> Vec<Command> {
        let mut tx = self.ctx.store.read().await.expect("read");
        store::commands::of_cron(&mut tx, cron, 100).await.expect("runs")
    }

    async fn output(&self, command: &CommandId) -> Vec<String> {
        self.ctx.logs.read(&LogName::command(command)).await.expect("a log")
    }
}

fn image() -> ImageDigest {
    format!("sha256:{}", "a".repeat(64)).parse().expect("digest")
}

fn parsed<T: std::str::FromStr<Err = NameError>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// So many apps, each with a release that asks for two process types without a port; and one without any.
pub(in crate::product) async fn crowd(store: &Store, apps: usize) {
    let first = live(store).await;
    let mut tx = store.begin().await.expect("begin");
    let find = store::environments::find(&mut tx, &Scope::Platform, &first.environment_id).await.expect("find");
    let mut environment = find.expect("an environment");
    let app = store::apps::find(&mut tx, &Scope::Platform, &environment.app_id).await.expect("find").expect("an app");
    let process = |command: &str| Process { command: vec![command.into()], working_dir: None, port: None };
    let names = ["worker", "clock"].map(parsed::<ProcessName>);
    for number in 0..apps {
        let app = App { id: Id::fresh(), name: parsed(&format!("shop-{number}")), ..app.clone() };
        let id = EnvironmentId::fresh();
        let release = Release {
            id: Id::fresh(),
            environment_id: id.clone(),
            processes: names.iter().map(|name| (name.clone(), process(name.as_str()))).collect(),
            formation: names.iter().map(|name| (name.clone(), 1)).collect(),
            ..first.clone()
        };
        environment = Environment { id, app_id: app.id.clone(), ..environment };
        environment.spec.release = Some(release.id.clone());
        environment.spec.rollout = Generation(1);
        environment.spec.formation.clone_from(&release.formation);
        store::apps::insert(&mut tx, &app).await.expect("app");
        store::environments::insert(&mut tx, &environment).await.expect("environment");
        store::releases::insert(&mut tx, &release).await.expect("release");
    }
    tx.commit().await.expect("commit");
}

/// An app whose release is live.
async fn live(store: &Store) -> Release {
    let mut tx = store.begin().await.expect("begin");
    let now = Timestamp(NEW_YEAR);
    let status = CustomerStatus::Paid;
    let customer = Customer { id: Id::fresh(), name: parsed("acme"), status, created_at: now };
    let organization =
        Organization { id: Id::fresh(), customer_id: customer.id.clone(), name: parsed("north"), created_at: now };
    let space =
        Space { id: Id::fresh(), organization_id: organization.id.clone(), name: parsed("red"), created_at: now };
    let app = App {
        id: Id::fresh(),
        organization_id: organization.id.clone(),
        space_id: space.id.clone(),
        name: parsed("shop"),
        created_at: now,
    };
    let mut environment = Environment {
        id: Id::fresh(),
        app_id: app.id.clone(),
        name: parsed("production"),
        branch: parsed("main"),
        spec: EnvironmentSpec::default(),
        generation: 1,
        status: EnvironmentStatus::default(),
        created_at: now,
    };
    let release = Release {
        id: Id::fresh(),
        environment_id: environment.id.clone(),
        number: 1,
        build_id: None,
        commit: None,
        image: image(),
        processes: BTreeMap::new(),
        variables_version: 0,
        formation: BTreeMap::new(),
        hosts: Vec::new(),
        manifest: Manifest::default(),
        checks: Checks::new(),
        scaling: Default::default(),
        sizes: Default::default(),
        mounts: Default::default(),
        kind: ReleaseKind::Rollout,
        description: "push".into(),
        created_by: None,
        created_at: now,
        image_gone_at: None,
    };
    environment.spec.release = Some(release.id.clone());
    store::customers::insert(&mut tx, &customer).await.expect("customer");
    store::organizations::insert(&mut tx, &organization).await.expect("organization");
    store::spaces::insert(&mut tx, &space).await.expect("space");
    store::apps::insert(&mut tx, &app).await.expect("app");
    store::environments::insert(&mut tx, &environment).await.expect("environment");
    store::releases::insert(&mut tx, &release).await.expect("release");
    tx.commit().await.expect("commit");
    release
}

async fn hourly(store: &Store, release: &Release, due: i64) -> Cron {
    let cron = Cron {
        id: Id::fresh(),
        environment_id: release.environment_id.clone(),
        name: "beat".into(),
        schedule: "@hourly".into(),
        command: "bin/beat".into(),
        timezone: "UTC".into(),
        origin: CronOrigin::Person,
        next_due: Some(Timestamp(due)),
        created_at: Timestamp(NEW_YEAR),
    };
    let mut tx = store.begin().await.expect("begin");
    store::crons::insert(&mut tx, &cron).await.expect("cron");
    tx.commit().await.expect("commit");
    cron
}

#[tokio::test]
async fn a_schedule_runs_once_when_it_is_due_and_its_end_is_kept() {
    for_each_database(|store| async move {
        let server = Server::on(store.clone(), &ManualClock::at(NEW_YEAR)).await;
        let release = live(&store).await;
        let cron = hourly(&store, &release, NEW_YEAR + 60 * MINUTE).await;
        server.look_at_crons().await;
        assert!(server.runs(&cron.id).await.is_empty(), "it is not due yet");
        server.clock.advance(60 * MINUTE);
        for _ in 0..3 {
            server.look_at_crons().await;
        }
        let mut keeper = server.keeper();
        keeper.look().await.expect("a look");
        let [run] = &server.runs(&cron.id).await[..] else { panic!("one run") };
        assert_eq!((run.state, run.due_at), (CommandState::Running, Some(Timestamp(NEW_YEAR + 60 * MINUTE))));
        assert_eq!(run.process.command, ["bash", "-c", "bin/beat"]);
        // It still goes when it is due again: that time is passed over.
        while server.engine.running_commands().is_empty() {
            tokio::task::yield_now().await;
        }
        server.clock.advance(60 * MINUTE);
        server.look_at_crons().await;
        server.engine.finish_command(&run.id, 3, &["tidied", "two"]);
        keeper.settle().await;
        let runs = server.runs(&cron.id).await;
        assert_eq!(runs.iter().map(|r| r.state).collect::<Vec<_>>(), [CommandState::Skipped, CommandState::Failed]);
        assert_eq!((runs[1].exit_code, runs[1].reason.as_deref()), (Some(3), Some("it exited with 3")));
        assert!(runs[0].reason.as_deref().is_some_and(|why| why.contains("still going on")), "{runs:?}");
        assert_eq!(server.output(&run.id).await, ["tidied", "two"]);
        assert_eq!(server.engine.commands().await.expect("commands"), [], "nothing is left in the engine");
    })
    .await;
}

#[tokio::test]
async fn a_missed_time_is_made_up_for_once_or_passed_over() {
    // Down for a while: due at 1:00, 2:00, 3:00; back at 3:40, or at 3:00 for a schedule that was last due at 1:00.
    for_each_database(|store| async move {
        let server = Server::on(store.clone(), &ManualClock::at(NEW_YEAR)).await;
        let release = live(&store).await;
        let hourly = hourly(&store, &release, NEW_YEAR + 60 * MINUTE).await;
        let daily = Cron { id: Id::fresh(), name: "daily".into(), schedule: "0 1 * * *".into(), ..hourly.clone() };
        let mut tx = store.begin().await.expect("begin");
        store::crons::insert(&mut tx, &daily).await.expect("cron");
        tx.commit().await.expect("commit");
        server.clock.advance(220 * MINUTE);
        server.look_at_crons().await;
        let runs = server.runs(&hourly.id).await;
        let [run] = &runs[..] else { panic!("the last of three: {runs:?}") };
        assert_eq!((run.state, run.due_at), (CommandState::Queued, Some(Timestamp(NEW_YEAR + 180 * MINUTE))));
        let runs = server.runs(&daily.id).await;
        let [run] = &runs[..] else { panic!("{runs:?}") };
        assert_eq!(run.state, CommandState::Skipped, "two hours and forty minutes ago");
        let mut tx = store.begin().await.expect("begin");
        let next = store::crons::of_environment(&mut tx, &release.environment_id).await.expect("crons");
        let next: Vec<_> = next.iter().map(|cron| cron.next_due).collect();
        assert_eq!(next, [240, 25 * 60].map(|minutes| Some(Timestamp(NEW_YEAR + minutes * MINUTE))));
    })
    .await;
}

/// Two servers that see the same due time in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_database_run_a_time_once() {
    let (url, name) = fresh_postgres().await;
    let clock = ManualClock::at(NEW_YEAR);
    let dirs = [tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory")];
    let one = Store::open(Some(&url), dirs[0].path()).await.expect("PostgreSQL");
    let two = Store::open(Some(&url), dirs[1].path()).await.expect("PostgreSQL");
    assert_ne!(one.node(), two.node());
    let release = live(&one).await;
    let cron = hourly(&one, &release, NEW_YEAR + 60 * MINUTE).await;
    let first = Server::on(one.clone(), &clock).await;
    let second = first.beside(two.clone());
    let servers = [first, second];
    let mut keepers = [servers[0].keeper(), servers[1].keeper()];
    for hour in 1..=10 {
        clock.advance(60 * MINUTE);
        tokio::join!(servers[0].look_at_crons(), servers[1].look_at_crons());
        let [a, b] = &mut keepers;
        let (a, b) = tokio::join!(a.look(), b.look());
        a.and(b).expect("looks");
        let running = loop {
            let running: Vec<_> =
                servers.iter().flat_map(|s| s.engine.running_commands().into_iter().map(move |id| (s, id))).collect();
            if !running.is_empty() {
                break running;
            }
            tokio::task::yield_now().await;
        };
        let [(server, id)] = &running[..] else { panic!("{} at once", running.len()) };
        server.engine.finish_command(id, 0, &[]);
        for keeper in &mut keepers {
            keeper.settle().await;
        }
        let runs = servers[0].runs(&cron.id).await;
        assert_eq!(runs.len(), hour, "{runs:?}");
        assert!(runs.iter().all(|run| run.state == CommandState::Succeeded), "{runs:?}");
    }
    one.close().await;
    two.close().await;
    drop_postgres(&name).await;
}

#[tokio::test]
async fn what_a_server_had_is_taken_up_again_and_runs_once() {
    for_each_database(|store| async move {
        let clock = ManualClock::at(NEW_YEAR);
        let server = Server::on(store.clone(), &clock).await;
        let release = live(&store).await;
        let cron = hourly(&store, &release, NEW_YEAR).await;
        server.look_at_crons().await;
        let mut keeper = server.keeper();
        keeper.look().await.expect("a look");
        while server.engine.running_commands().is_empty() {
            tokio::task::yield_now().await;
        }
        // The process dies, the engine does not.
        drop(keeper);
        clock.advance(5 * MINUTE);
        let mut next = server.keeper();
        next.look().await.expect("a look");
        let run = server.runs(&cron.id).await.remove(0);
        assert_eq!(server.engine.running_commands(), std::slice::from_ref(&run.id), "the same one");
        server.engine.finish_command(&run.id, 0, &["done"]);
        next.settle().await;
        assert_eq!(server.runs(&cron.id).await[0].state, CommandState::Succeeded);
        assert_eq!(server.output(&run.id).await, ["done"]);
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_server_is_gone_is_lost_and_not_run_again() {
    for_each_database(|store| async move {
        let clock = ManualClock::at(NEW_YEAR);
        let server = Server::on(store.clone(), &clock).await;
        let release = live(&store).await;
        let cron = hourly(&store, &release, NEW_YEAR).await;
        server.look_at_crons().await;
        let mut tx = store.begin().await.expect("begin");
        let hold = store::commands::Hold { holder: "another", until: Timestamp(NEW_YEAR + MINUTE) };
        store::commands::claim(&mut tx, hold, Timestamp(NEW_YEAR)).await.expect("claim").expect("the run");
        tx.commit().await.expect("commit");
        server.keeper().look().await.expect("a look");
        assert_eq!(server.runs(&cron.id).await[0].state, CommandState::Running, "it may be there still");
        clock.advance(2 * MINUTE);
        server.keeper().look().await.expect("a look");
        let run = server.runs(&cron.id).await.remove(0);
        assert_eq!((run.state, run.reason.as_deref()), (CommandState::Failed, Some("the server that ran it is gone")));
        assert!(server.engine.running_commands().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_no_row_asks_for_is_removed_from_the_engine() {
    for_each_database(|store| async move {
        let server = Server::on(store.clone(), &ManualClock::at(NEW_YEAR)).await;
        let release = live(&store).await;
        let spec = crate::machinery::runtime::CommandSpec {
            id: CommandId::fresh(),
            environment: release.environment_id.clone(),
            app: parsed("shop"),
            space: SpaceId::fresh(),
            release: release.id.clone(),
            image: image(),
            process: "run.1".into(),
            command: vec!["sleep".into(), "1000".into()],
            working_dir: None,
            variables: BTreeMap::new(),
            limits: Limits::default(),
            mounts: Vec::new(),
        };
        server.engine.run(&spec).await.expect("run");
        server.keeper().look().await.expect("a look");
        assert_eq!(server.engine.commands().await.expect("commands"), []);
    })
    .await;
}

#[tokio::test]
async fn jobs_that_ended_long_ago_go_with_their_logs() {
    for_each_database(|store| async move {
        const MONTH: i64 = 30 * 24 * 60 * MINUTE;
        let clock = ManualClock::at(NEW_YEAR);
        let server = Server::on(store.clone(), &clock).await;
        let ended = |subject: &'static str| {
            let (server, store) = (&server, &store);
            async move {
                let mut tx = store.begin().await.expect("begin");
                let now = server.ctx.now();
                let id =
                    server.ctx.queue.enqueue(&mut tx, "kind", subject, serde_json::Value::Null).await.expect("job");
                store::jobs::claim(&mut tx, "me", now, now.plus_millis(MINUTE)).await.expect("claim").expect("the job");
                store::jobs::finish(&mut tx, &id, "me", JobState::Failed, None, now).await.expect("finish");
                tx.commit().await.expect("commit");
                id
            }
        };
        let old = ended("old").await;
        clock.advance(MONTH);
        let young = ended("young").await;
        clock.advance(1);
        let mut tx = store.begin().await.expect("begin");
        let waits = server.ctx.queue.enqueue(&mut tx, "kind", "waits", serde_json::Value::Null).await.expect("job");
        tx.commit().await.expect("commit");
        let command = LogName::command(&CommandId::fresh());
        let names = [&old, &young, &waits].map(LogName::job);
        for name in names.iter().chain([&command]) {
            server.ctx.logs.append(name, "a line").expect("a log");
        }
        let logs = server.dir.path().join("logs");
        std::fs::write(logs.join("notes.log"), "somebody's").expect("a file");
        assert_eq!(purge::purge(&server.ctx).await.expect("purge"), 0, "what was just written is nobody's to remove");
        for file in std::fs::read_dir(&logs).expect("logs").flatten() {
            let file = std::fs::File::options().append(true).open(file.path()).expect("a log");
            let then = std::time::Duration::from_millis(u64::try_from(NEW_YEAR).expect("a time"));
            file.set_modified(std::time::UNIX_EPOCH + then).expect("an older log");
        }
        assert_eq!(purge::purge(&server.ctx).await.expect("purge"), 2, "of the old job, and of no command");
        let mut left = Vec::new();
        for name in names.iter().chain([&command]) {
            left.push(server.ctx.logs.read(name).await.expect("read").len());
        }
        assert_eq!(left, [0, 1, 1, 0]);
        assert!(logs.join("notes.log").exists());
        let mut tx = store.read().await.expect("read");
        assert!(store::jobs::find(&mut tx, &old).await.expect("find").is_none());
        assert!(store::jobs::find(&mut tx, &young).await.expect("find").is_some());
    })
    .await;
}
