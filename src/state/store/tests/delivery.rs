use std::collections::BTreeMap;

use super::variables::SealedVariables;
use super::*;
use crate::base::model::{Canary, Guidance, Https, Manifest, Once, Scaling, Strategy, Traffic};

const ALL: Scope = Scope::Platform;

fn image(digit: &str) -> ImageDigest {
    format!("sha256:{}", digit.repeat(64)).parse().expect("digest")
}

fn processes() -> Processes {
    let web = Process {
        command: vec!["node".into(), "it's \"quoted\".js".into()],
        working_dir: Some("/app".into()),
        port: None,
    };
    BTreeMap::from([(name("web"), web)])
}

fn build(app: &AppId) -> Build {
    Build {
        id: BuildId::fresh(),
        app_id: app.clone(),
        job_id: JobId::fresh(),
        commit: "c".repeat(40),
        state: BuildState::Running,
        image: None,
        processes: Processes::new(),
        reason: None,
        created_at: at(10),
        finished_at: None,
    }
}

fn up() -> HealthCheck {
    HealthCheck::new(CheckKind::Readiness, Check::http("/up"))
}

fn release(environment: &EnvironmentId, number: i64) -> Release {
    Release {
        id: ReleaseId::fresh(),
        environment_id: environment.clone(),
        number,
        build_id: None,
        commit: None,
        image: image("a"),
        processes: processes(),
        variables_version: 3,
        formation: BTreeMap::from([(name("web"), 2)]),
        hosts: vec![name("shop.example.com")],
        manifest: Manifest { formation: BTreeMap::from([(name("worker"), 3)]), ..Manifest::default() },
        checks: BTreeMap::from([(name("web"), vec![up()])]),
        scaling: BTreeMap::from([(name("web"), SCALING)]),
        sizes: BTreeMap::from([(name("web"), name("small"))]),
        mounts: mounts(),
        kind: ReleaseKind::Settings,
        description: "push cccc".into(),
        created_by: None,
        created_at: at(11),
        image_gone_at: None,
    }
}

fn deployment(environment: &EnvironmentId) -> Deployment {
    Deployment {
        id: DeploymentId::fresh(),
        environment_id: environment.clone(),
        job_id: JobId::fresh(),
        kind: DeploymentKind::Push,
        release_id: None,
        state: DeploymentState::Running,
        reason: None,
        created_by: None,
        created_at: at(12),
        finished_at: None,
    }
}

/// One of each, inserted.
pub(super) async fn delivered(tx: &mut Tx, environment: &Environment) -> (Build, Release, Deployment) {
    let build = build(&environment.app_id);
    builds::insert(tx, &build).await.expect("build");
    let release =
        Release { build_id: Some(build.id.clone()), commit: Some(build.commit.clone()), ..release(&environment.id, 1) };
    releases::insert(tx, &release).await.expect("release");
    let deployment = deployment(&environment.id);
    deployments::insert(tx, &deployment).await.expect("deployment");
    (build, release, deployment)
}

fn mounts() -> Mounts {
    let (id, path) = (VolumeId::fresh(), name("/data"));
    BTreeMap::from([(name("web"), vec![Mount { volume: name("store"), id, path, shared: true }])])
}

const SCALING: Scaling = Scaling {
    min: 0,
    max: 3,
    in_flight: 20,
    idle_seconds: 60,
    cpu_percent: Some(70),
    memory_percent: None,
    latency_millis: Some(250),
};

#[tokio::test]
async fn an_environments_spec_is_guarded_by_its_generation() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let spec = EnvironmentSpec {
            release: Some(ReleaseId::fresh()),
            rollout: Generation(4),
            formation: BTreeMap::from([(name("web"), 3)]),
            checks: BTreeMap::from([(name("web"), vec![up()])]),
            watch_seconds: 30,
            stopped: true,
            sizes: BTreeMap::from([(name("web"), name("small"))]),
            mounts: mounts(),
            scaling: BTreeMap::from([(name("web"), SCALING)]),
            strategy: Strategy::Canary { steps: vec![10, 50], hold_seconds: Some(60) },
            once: Some(Once { rollout: Generation(4), strategy: Strategy::Rolling }),
            https: Https { redirect: Some(true), hsts_seconds: Some(60) },
            traffic: Traffic { maintenance: true, cors: vec!["*".into()], ..Traffic::default() },
            guidance: Some(Guidance { rollout: Generation(4), steps: 1, aborted: false }),
            buildpacks: vec!["./mine".parse().expect("reference")],
        };
        assert!(environments::write_spec(&mut tx, &env.id, 1, &spec).await.expect("write"));
        assert!(!environments::write_spec(&mut tx, &env.id, 1, &spec).await.expect("write"), "it moved on");
        let status = EnvironmentStatus {
            observed_generation: 2,
            state: EnvironmentState::Blocked,
            live: Generation(3),
            live_release: Some(ReleaseId::fresh()),
            scaled: BTreeMap::from([(name("web"), 2)]),
            ready: BTreeMap::from([(name("web"), 1)]),
            reason: Some("web exits with 1".into()),
            watch: Some(Watch {
                since: at(1),
                until: at(2),
                previous: Generation(2),
                previous_release: Some(ReleaseId::fresh()),
            }),
            canary: Some(Canary {
                rollout: Generation(4),
                step: 0,
                steps: 2,
                percent: 10,
                since: at(1),
                until: at(2),
                goes_on: true,
            }),
            beside: [Generation(4)].into(),
        };
        assert!(environments::write_status(&mut tx, &env.id, &status).await.expect("write"));
        assert!(!environments::write_status(&mut tx, &EnvironmentId::fresh(), &status).await.expect("write"));
        environments::set_branch(&mut tx, &env.id, &name("trunk")).await.expect("branch");
        let found = environments::find(&mut tx, &ALL, &env.id).await.expect("find").expect("environment");
        let expected = Environment { spec, status, generation: 2, branch: name("trunk"), ..env.clone() };
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));

        environment(&mut tx, &world.blog, "production").await;
        let all = environments::all(&mut tx).await.expect("all");
        let pairs: Vec<_> = all.iter().map(|(e, a)| (e.app_id == a.id, a.name.as_str())).collect();
        assert_eq!(pairs, [(true, "shop"), (true, "blog")]);
        assert_eq!(format!("{:?}", all[0].1), format!("{:?}", world.shop));
    })
    .await;
}

#[tokio::test]
async fn variables_are_versions() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let ann = world.user(&mut tx, "ann").await;
        assert!(variables::latest(&mut tx, &env.id).await.expect("latest").is_none());
        for version in [1, 2] {
            let sealed = SealedVariables {
                environment_id: env.id.clone(),
                version,
                names: vec![name("A"), name("B")],
                sealed: vec![0, 255, u8::try_from(version).expect("small")],
                created_at: at(version),
                created_by: Some(ann.id.clone()),
            };
            variables::insert(&mut tx, &sealed).await.expect("insert");
        }
        let latest = variables::latest(&mut tx, &env.id).await.expect("latest").expect("a version");
        assert_eq!(
            (latest.version, latest.sealed.clone(), latest.created_by.clone()),
            (2, vec![0, 255, 2], Some(ann.id))
        );
        assert_eq!(latest.names, [name("A"), name("B")]);
        let first = variables::at(&mut tx, &env.id, 1).await.expect("at").expect("the first");
        assert_eq!(first.sealed, [0, 255, 1]);
        assert!(variables::at(&mut tx, &env.id, 3).await.expect("at").is_none());
        let error = variables::insert(&mut tx, &latest).await.expect_err("written once");
        assert_eq!(error.kind, crate::base::Kind::Exists);
    })
    .await;
}

#[tokio::test]
async fn releases_are_numbered_and_listed_newest_first() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let (_, first, _) = delivered(&mut tx, &env).await;
        for expected in 2..=5 {
            let number = releases::next_number(&mut tx, &env.id).await.expect("number");
            assert_eq!(number, expected);
            releases::insert(&mut tx, &release(&env.id, number)).await.expect("insert");
        }
        let found = releases::find(&mut tx, &ALL, &first.id).await.expect("find").expect("release");
        assert_eq!(format!("{found:?}"), format!("{first:?}"));
        let third = releases::by_number(&mut tx, &env.id, 3).await.expect("find").expect("release");
        assert_eq!(third.number, 3);
        assert!(releases::by_number(&mut tx, &env.id, 9).await.expect("find").is_none());
        let numbers = |list: Vec<Release>| list.into_iter().map(|r| r.number).collect::<Vec<_>>();
        assert_eq!(numbers(releases::list(&mut tx, &env.id, None, 3).await.expect("list")), [5, 4, 3]);
        assert_eq!(numbers(releases::list(&mut tx, &env.id, Some(3), 3).await.expect("list")), [2, 1]);
    })
    .await;
}

#[tokio::test]
async fn builds_and_deployments_finish_once() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let (build, release, deployment) = delivered(&mut tx, &env).await;

        let (done, made) = (BuildState::Succeeded, image("b"));
        assert!(
            builds::finish(&mut tx, &build.id, done, Some(&made), &processes(), None, at(20)).await.expect("finish")
        );
        let (bad, none) = (BuildState::Failed, Processes::new());
        let again = builds::finish(&mut tx, &build.id, bad, None, &none, Some("no"), at(21));
        assert!(!again.await.expect("finish"), "it stays as it was");
        let found = builds::of_job(&mut tx, &build.job_id).await.expect("find").expect("build");
        let expected =
            Build { state: done, image: Some(made), processes: processes(), finished_at: Some(at(20)), ..build };
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        let failed = super::delivery::build(&world.shop.id);
        builds::insert(&mut tx, &failed).await.expect("insert");
        assert!(
            builds::finish(&mut tx, &failed.id, bad, None, &none, Some("npm\0 exited 1"), at(22)).await.expect("ok")
        );
        let listed = builds::list(&mut tx, &ALL, &world.shop.id, 9).await.expect("list");
        assert_eq!(listed.iter().map(|b| &b.id).collect::<Vec<_>>(), [&failed.id, &expected.id]);
        assert_eq!(listed[0].reason.as_deref(), Some("npm exited 1"));
        assert_eq!(builds::list(&mut tx, &ALL, &world.shop.id, 1).await.expect("list").len(), 1);

        assert!(deployments::set_release(&mut tx, &deployment.id, &release.id).await.expect("set"));
        assert!(deployments::set_release(&mut tx, &deployment.id, &release.id).await.expect("set"), "again");
        let over = DeploymentState::Superseded;
        assert!(deployments::finish(&mut tx, &deployment.id, over, Some("later push"), at(30)).await.expect("finish"));
        let again = deployments::finish(&mut tx, &deployment.id, DeploymentState::Succeeded, None, at(31));
        assert!(!again.await.expect("finish"));
        assert!(!deployments::set_release(&mut tx, &deployment.id, &release.id).await.expect("set"), "it is over");
        let found = deployments::of_job(&mut tx, &deployment.job_id).await.expect("find").expect("deployment");
        let expected = Deployment {
            release_id: Some(release.id),
            state: over,
            reason: Some("later push".into()),
            finished_at: Some(at(30)),
            ..deployment
        };
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    })
    .await;
}

#[tokio::test]
async fn a_host_has_one_route() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let route = |host: &str| Route {
            id: RouteId::fresh(),
            environment_id: env.id.clone(),
            host: name(host),
            created_at: at(1),
        };
        let (a, b) = (route("b.example.com"), route("a.example.com"));
        routes::insert(&mut tx, &a).await.expect("insert");
        routes::insert(&mut tx, &b).await.expect("insert");
        let hosts = |routes: Vec<Route>| routes.into_iter().map(|r| r.host.to_string()).collect::<Vec<_>>();
        assert_eq!(hosts(routes::all(&mut tx).await.expect("all")), ["a.example.com", "b.example.com"]);
        assert_eq!(
            hosts(routes::of_environment(&mut tx, &env.id).await.expect("of")),
            ["b.example.com", "a.example.com"]
        );
        routes::set_host(&mut tx, &a.id, &name("c.example.com")).await.expect("set");
        let found = routes::find_by_host(&mut tx, &name("c.example.com")).await.expect("find").expect("route");
        assert_eq!(found.id, a.id);
        assert!(routes::find_by_host(&mut tx, &a.host).await.expect("find").is_none());
        let error = routes::set_host(&mut tx, &a.id, &b.host).await.expect_err("taken");
        assert_eq!(error.kind, crate::base::Kind::Exists);
    })
    .await;
}

#[tokio::test]
async fn an_app_goes_with_all_that_belongs_to_it() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let (build, release, deployment) = delivered(&mut tx, &env).await;
        assert!(deployments::set_release(&mut tx, &deployment.id, &release.id).await.expect("set"));
        world.member(&mut tx, "sham", MembershipScope::App(world.shop.id.clone())).await;
        assert!(apps::delete(&mut tx, &ALL, &world.shop.id).await.expect("delete"));
        assert!(environments::find(&mut tx, &ALL, &env.id).await.expect("find").is_none());
        assert!(releases::by_number(&mut tx, &env.id, 1).await.expect("find").is_none());
        assert!(builds::of_job(&mut tx, &build.job_id).await.expect("find").is_none());
        assert!(deployments::of_job(&mut tx, &deployment.job_id).await.expect("find").is_none());
        assert_eq!(apps::list(&mut tx, &ALL, None, 9).await.expect("list").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_rolls_out_from_its_release_to_its_end_or_that_of_its_job() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let (_, release, deployment) = delivered(&mut tx, &env).await;
        let job = Job {
            id: deployment.job_id.clone(),
            kind: "push".into(),
            subject: world.shop.id.to_string(),
            payload: serde_json::Value::Null,
            state: JobState::Queued,
            reason: None,
            called_off: None,
            created_at: at(1),
            finished_at: None,
        };
        jobs::insert(&mut tx, &job, &["rollout"]).await.expect("job");
        let under_way = async |tx: &mut Tx| deployments::rolling_out(tx, &env.id).await.expect("query").map(|d| d.id);
        assert_eq!(under_way(&mut tx).await, None, "it has no release yet");
        deployments::set_release(&mut tx, &deployment.id, &release.id).await.expect("set");
        assert_eq!(under_way(&mut tx).await, Some(deployment.id.clone()));
        deployments::finish(&mut tx, &deployment.id, DeploymentState::Failed, None, at(9)).await.expect("finish");
        assert_eq!(under_way(&mut tx).await, None);
        let orphan = Deployment { release_id: Some(release.id), ..self::deployment(&env.id) };
        deployments::insert(&mut tx, &orphan).await.expect("deployment");
        assert_eq!(under_way(&mut tx).await, None, "nobody works on it any more");
    })
    .await;
}

#[tokio::test]
async fn an_environment_goes_with_what_is_its_own_and_only_for_those_who_see_it() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let (kept, gone) =
            (environment(&mut tx, &world.shop, "production").await, environment(&mut tx, &world.shop, "staging").await);
        delivered(&mut tx, &kept).await;
        let (build, ..) = delivered(&mut tx, &gone).await;
        let host: DomainName = name("staging--shop.example.com");
        let route =
            Route { id: RouteId::fresh(), environment_id: gone.id.clone(), host: host.clone(), created_at: at(1) };
        routes::insert(&mut tx, &route).await.expect("route");
        let stranger = world.member(&mut tx, "sam", MembershipScope::App(world.blog.id.clone())).await;
        assert!(!environments::delete(&mut tx, &stranger, &gone.id).await.expect("delete"));
        let member = world.member(&mut tx, "mia", MembershipScope::App(world.shop.id.clone())).await;
        assert!(environments::delete(&mut tx, &member, &gone.id).await.expect("delete"));
        assert!(!environments::delete(&mut tx, &member, &gone.id).await.expect("delete"));
        assert!(routes::find_by_host(&mut tx, &host).await.expect("find").is_none());
        assert!(releases::by_number(&mut tx, &gone.id, 1).await.expect("find").is_none());
        assert!(builds::of_job(&mut tx, &build.job_id).await.expect("find").is_some(), "builds are the app's");
        assert!(releases::by_number(&mut tx, &kept.id, 1).await.expect("find").is_some());
        let route = Route { environment_id: kept.id.clone(), ..route };
        routes::insert(&mut tx, &route).await.expect("the host is free");
        assert!(routes::delete(&mut tx, &route.id).await.expect("delete"));
        assert!(!routes::delete(&mut tx, &route.id).await.expect("delete"));
    })
    .await;
}
