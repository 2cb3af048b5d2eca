use super::*;
use crate::base::model::{
    AppId, CanaryHeld, DeploymentId, DeploymentKind, EnvironmentId, EnvironmentSpec, EnvironmentState,
    EnvironmentStatus, EventId, Failure, Formation, Generation, Happened, Id, Process, ReleaseId, ReplicaExited,
    ReplicaFailed, ReplicaReady, ReplicaState, Routed, UserId,
};

/// 2026-01-31 12:00:00.
const NOON: i64 = 1_769_860_800_000;

fn release(number: i64) -> Release {
    let web = Process { command: vec!["node".into()], working_dir: None, port: None };
    Release {
        id: ReleaseId::fresh(),
        environment_id: EnvironmentId::fresh(),
        number,
        build_id: None,
        commit: None,
        image: format!("sha256:{}", "a".repeat(64)).parse().expect("digest"),
        processes: BTreeMap::from([("web".parse().expect("name"), web)]),
        manifest: Default::default(),
        checks: Default::default(),
        scaling: Default::default(),
        sizes: Default::default(),
        mounts: Default::default(),
        kind: Default::default(),
        variables_version: 0,
        formation: Formation::new(),
        hosts: Vec::new(),
        description: String::new(),
        created_by: None,
        created_at: Timestamp(NOON),
        image_gone_at: None,
    }
}

/// `shop` at v42 (rollout 7), two replicas of web wanted, `ready` of them ready.
fn facts(state: EnvironmentState, ready: u32) -> Facts {
    let environment = Environment {
        id: EnvironmentId::fresh(),
        app_id: AppId::fresh(),
        name: "production".parse().expect("name"),
        branch: "main".parse().expect("branch"),
        spec: EnvironmentSpec {
            release: Some(ReleaseId::fresh()),
            rollout: Generation(7),
            ..EnvironmentSpec::default()
        },
        generation: 7,
        status: EnvironmentStatus {
            observed_generation: 7,
            state,
            live: Generation(7),
            live_release: Some(ReleaseId::fresh()),
            ready: BTreeMap::from([("web".parse().expect("name"), ready)]),
            reason: None,
            ..EnvironmentStatus::default()
        },
        created_at: Timestamp(NOON),
    };
    Facts {
        now: Timestamp(NOON + 300_000),
        app: "shop".into(),
        environment,
        wanted: Some(release(42)),
        live: Some(release(42)),
        urls: vec!["http://shop.example.com".into()],
        processes: BTreeMap::from([("web".into(), 2)]),
        replicas: Vec::new(),
        engine_answers: true,
        events: Vec::new(),
    }
}

impl Facts {
    /// So many seconds after noon.
    fn then(mut self, second: i64, happened: Happened) -> Self {
        let ann = matches!(
            happened,
            Happened::DeploymentStarted { .. } | Happened::DeploymentFailed { .. } | Happened::Stopped {}
        );
        self.events.push(Event {
            id: EventId::fresh(),
            at: Timestamp(NOON + second * 1000),
            app_id: self.environment.app_id.clone(),
            environment_id: Some(self.environment.id.clone()),
            happened,
            subject: String::new(),
            actor: ann.then(UserId::fresh),
            actor_name: ann.then(|| "ann".parse().expect("name")),
            cause: None,
        });
        self
    }

    /// The push of v42, live at noon.
    fn pushed(self) -> Self {
        self.then(-60, Happened::DeploymentStarted { deployment: DeploymentId::fresh(), how: DeploymentKind::Push })
            .then(-5, Happened::RolloutStarted { release: 42, rollout: 7 })
            .then(-1, Happened::ReplicaReady(ready(1)))
            .then(-1, Happened::RoutePublished(route()))
            .then(0, Happened::EnvironmentLive { rollout: 7, release: Some(42) })
            .then(0, Happened::DeploymentSucceeded { deployment: DeploymentId::fresh(), release: Some(42) })
    }

    fn told(&self) -> String {
        chain::explain(self).lines().join("\n")
    }
}

fn ready(ordinal: u32) -> ReplicaReady {
    ReplicaReady { process: "web".parse().expect("name"), ordinal, rollout: 7, release: Some(42), millis: 400 }
}

fn route() -> Routed {
    Routed { rollout: 7, hosts: vec!["shop.example.com".into()], replicas: vec!["a".into()] }
}

fn exit(code: i64, out_of_memory: bool, lines: &[&str]) -> Happened {
    Happened::ReplicaExited(ReplicaExited {
        process: "web".parse().expect("name"),
        ordinal: 1,
        rollout: 7,
        release: Some(42),
        code,
        out_of_memory,
        memory_limit: 512 << 20,
        ran_millis: Some(42_000),
        lines: lines.iter().map(ToString::to_string).collect(),
    })
}

fn delayed(crashes: u32, until: i64) -> Happened {
    let until = Timestamp(NOON + until * 1000);
    Happened::RestartDelayed { process: "web".parse().expect("name"), rollout: 7, crashes, until }
}

#[test]
fn an_app_that_is_well_gets_one_line() {
    let facts = facts(EnvironmentState::Live, 2).pushed();
    assert_eq!(facts.told().lines().count(), 1);
    insta::assert_snapshot!(facts.told());
}

#[test]
fn memory_that_ran_out_is_told_from_the_push_to_the_503() {
    let lines = ["cache holds 40000 entries", "cache holds 50000 entries"];
    let facts = facts(EnvironmentState::Converging, 0)
        .pushed()
        .then(170, exit(137, true, &["older"]))
        .then(230, exit(137, true, &lines))
        .then(230, delayed(2, 231))
        .then(290, exit(137, true, &lines))
        .then(290, delayed(3, 316))
        .then(291, Happened::RouteWithdrawn(route()));
    insta::assert_snapshot!(facts.told());
}

#[test]
fn a_rollout_that_was_given_up_names_its_cause_and_what_serves() {
    let mut facts = facts(EnvironmentState::Blocked, 2)
        .then(-600, Happened::RoutePublished(route()))
        .then(0, Happened::DeploymentStarted { deployment: DeploymentId::fresh(), how: DeploymentKind::Push })
        .then(20, Happened::RolloutStarted { release: 42, rollout: 7 })
        .then(22, exit(1, false, &["Error: Cannot find module 'left-pad'"]))
        .then(22, Happened::EnvironmentBlocked { rollout: 7, release: Some(42), reason: "web exited with 1".into() });
    facts.environment.status.live = Generation(6);
    facts.live = Some(release(41));
    facts.environment.status.reason = Some(
        "web exited with 1 before it was ready\nLast lines of its log:\n    Error: Cannot find module 'left-pad'\n\
         Start the same command on your machine, with PORT set, and mend what it says."
            .into(),
    );
    insta::assert_snapshot!(facts.told());
}

#[test]
fn a_replica_that_is_not_ready_says_what_it_waits_for() {
    let mut facts = facts(EnvironmentState::Converging, 0)
        .then(200, Happened::DeploymentStarted { deployment: DeploymentId::fresh(), how: DeploymentKind::Push })
        .then(250, Happened::RolloutStarted { release: 42, rollout: 7 });
    facts.environment.status.live = Generation(0);
    facts.live = None;
    facts.replicas = vec![ReplicaView {
        process: "web".parse().expect("name"),
        ordinal: 1,
        generation: Generation(7),
        release: ReleaseId::fresh(),
        state: ReplicaState::Running,
        ready: true,
        started_at: Some(Timestamp(NOON + 260_000)),
        fault: None,
    }];
    insta::assert_snapshot!(facts.told());
}

#[test]
fn what_is_over_is_a_word_beside_what_is_well() {
    let failed = Happened::DeploymentFailed {
        deployment: DeploymentId::fresh(),
        release: None,
        reason: "build failed: npm exited 1".into(),
    };
    let facts = facts(EnvironmentState::Live, 2).pushed().then(100, exit(3, false, &["oops"])).then(200, failed);
    insta::assert_snapshot!(facts.told());
}

#[test]
fn nothing_and_stopped_are_told_calmly() {
    let mut empty = facts(EnvironmentState::Empty, 0);
    (empty.wanted, empty.live) = (None, None);
    let stopped = facts(EnvironmentState::Stopped, 0).pushed().then(60, Happened::Stopped {});
    let mut deaf = facts(EnvironmentState::Live, 2).pushed();
    deaf.engine_answers = false;
    insta::assert_snapshot!([empty.told(), stopped.told(), deaf.told()].join("\n\n"));
}

#[test]
fn a_canary_that_is_held_says_what_it_waits_for() {
    let mut facts = facts(EnvironmentState::Holding, 2).pushed();
    facts.environment.status.live = Generation(6);
    facts.live = Some(release(41));
    facts.environment.status.reason = Some(
        "v42 is held: 10 % of the requests go to it, the others to v41 (step 1 of 2)\n\
         Let it go on: hythe releases:continue -a shop."
            .into(),
    );
    let until = Timestamp(NOON + 600_000);
    let held = CanaryHeld { rollout: 7, release: Some(42), percent: 10, until, goes_on: false };
    insta::assert_snapshot!(facts.then(5, Happened::CanaryHeld(held)).told());
}

#[test]
fn a_replica_that_was_replaced_for_its_liveness_is_a_word_beside_what_is_well() {
    let failed = ReplicaFailed {
        process: "web".parse().expect("name"),
        ordinal: 2,
        rollout: 7,
        release: Some(42),
        fault: "answers GET /live with 500".into(),
        how: Failure::Liveness,
        ran_millis: Some(180_000),
        lines: vec!["deadlock".into()],
    };
    let told = facts(EnvironmentState::Live, 2).pushed().then(200, Happened::ReplicaFailed(failed)).told();
    assert!(
        told.contains("web.2 failed its liveness check after 3 min and is replaced: it answers GET /live with 500")
    );
    assert!(told.contains("| deadlock"), "{told}");
}
