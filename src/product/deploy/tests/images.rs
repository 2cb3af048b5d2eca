//! What is collected and what stays, in process and on both databases.

use super::volumes::person;
use super::*;
use crate::base::access::{Actor, Role};
use crate::base::error::Kind;
use crate::machinery::image::{AddedLayer, ImageSpec, LayerWriter, assemble, inspect};
use crate::product::disk::{self, Collected};

struct Stage {
    server: Server,
    store: Store,
    blobs: BlobStore,
    actor: Actor,
    app: App,
    environment: Environment,
}

/// An image of one layer that holds `text`.
fn built(blobs: &BlobStore, text: &str) -> ImageDigest {
    let mut layer = LayerWriter::new(blobs);
    layer.file("workspace/app", 0o644, (1000, 1000), text.as_bytes()).expect("a file");
    let layers = vec![AddedLayer { layer: layer.finish().expect("a layer"), created_by: "tests".into() }];
    assemble(blobs, &ImageSpec { layers, ..ImageSpec::default() }).expect("an image")
}

impl Stage {
    async fn on(store: &Store, keep: u32) -> Self {
        let mut server = Server::on(store.clone(), &ManualClock::at(NEW_YEAR)).await;
        let disk = config::Disk { keep_images: keep, grace_seconds: 0, ..Default::default() };
        server.ctx.config = Arc::new(Config { disk, ..Config::default() });
        let first = live(store).await;
        let mut tx = store.begin().await.expect("begin");
        let found = store::environments::find(&mut tx, &Scope::Platform, &first.environment_id).await.expect("find");
        let environment = found.expect("an environment");
        let found = store::apps::find(&mut tx, &Scope::Platform, &environment.app_id).await.expect("find");
        let app = found.expect("an app");
        let owner = MembershipScope::Organization(app.organization_id.clone());
        let mut actor = person(&mut tx, &app, "ann", owner, Role::Owner).await;
        actor.user.platform_admin = true;
        tx.commit().await.expect("commit");
        let blobs = server.blobs.clone();
        Self { server, store: store.clone(), blobs, actor, app, environment }
    }

    /// A release that went live, with an image of this text, in the store and in the engine.
    async fn deployed(&self, number: i64, text: &str) -> Release {
        let image = built(&self.blobs, text);
        self.server.engine.add_image(&image);
        let mut tx = self.store.begin().await.expect("begin");
        let first = store::releases::by_number(&mut tx, &self.environment.id, 1).await.expect("find").expect("v1");
        let release = Release { id: Id::fresh(), number, image, ..first };
        store::releases::insert(&mut tx, &release).await.expect("a release");
        let deployment = Deployment {
            id: Id::fresh(),
            environment_id: self.environment.id.clone(),
            job_id: Id::fresh(),
            kind: DeploymentKind::Push,
            release_id: Some(release.id.clone()),
            state: DeploymentState::Succeeded,
            reason: None,
            created_by: None,
            created_at: Timestamp(NEW_YEAR + number),
            finished_at: None,
        };
        store::deployments::insert(&mut tx, &deployment).await.expect("a deployment");
        let found = store::environments::find(&mut tx, &Scope::Platform, &self.environment.id).await.expect("find");
        let found = found.expect("an environment");
        let spec = EnvironmentSpec { release: Some(release.id.clone()), ..found.spec };
        store::environments::write_spec(&mut tx, &found.id, found.generation, &spec).await.expect("a spec");
        tx.commit().await.expect("commit");
        release
    }

    async fn clean(&self) -> Collected {
        disk::clean(&self.server.ctx, &self.actor).await.expect("a collection")
    }

    async fn kept(&self) -> Vec<i64> {
        let mut tx = self.store.read().await.expect("read");
        let all = store::releases::with_image(&mut tx, &self.environment.id).await.expect("releases");
        all.into_iter().map(|release| release.number).collect()
    }

    async fn rollback(&self, number: Option<i64>) -> Result<Deployment> {
        let mut tx = self.store.read().await?;
        let found = store::environments::find(&mut tx, &Scope::Platform, &self.environment.id).await?;
        drop(tx);
        let environment = found.expect("an environment");
        super::super::rollback(&self.server.ctx, &self.actor, &self.app, &environment, number).await
    }

    fn is_whole(&self, image: &ImageDigest) -> bool {
        inspect(&self.blobs, image).is_ok_and(|facts| facts.layers.iter().all(|layer| self.blobs.has(&layer.digest)))
    }
}

#[tokio::test]
async fn what_retention_keeps_stays_and_the_rest_goes_everywhere() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store, 2).await;
        let mut all = Vec::new();
        for number in 2..=9 {
            all.push(stage.deployed(number, &format!("text {number}")).await);
        }
        let collected = stage.clean().await;
        // v1 has no blobs; v2 to v5 had manifest, config and layer each.
        assert_eq!((collected.releases, collected.blobs, collected.young), (5, 12, 0));
        assert_eq!(stage.kept().await, [9, 8, 7, 6], "the live one, the last good one, and two");
        for release in &all {
            let kept = release.number >= 6;
            assert_eq!(stage.is_whole(&release.image), kept, "v{}", release.number);
            assert_eq!(stage.server.engine.images().contains(&release.image), kept, "v{}", release.number);
        }
        let again = stage.clean().await;
        assert_eq!((again.releases, again.blobs, again.images), (0, 0, 0), "again is once");

        let refused = stage.rollback(Some(3)).await.expect_err("it is gone");
        assert_eq!(refused.kind, Kind::Conflict);
        for part in ["v3 cannot be deployed again", "2026-01-01", "disk.keep_images", "Still kept: v9, v8, v7, v6"] {
            assert!(refused.public.contains(part), "{}", refused.public);
        }
        stage.deployed(10, "text 3").await;
        assert_eq!(stage.kept().await, [10, 9, 8, 7, 6, 3], "the same image again serves the old release, too");
        stage.rollback(Some(3)).await.expect("ordered");
    })
    .await;
}

#[tokio::test]
async fn what_a_deployment_was_ordered_from_stays_whatever_is_kept() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store, 1).await;
        let mut all = Vec::new();
        for number in 2..=7 {
            all.push(stage.deployed(number, &format!("text {number}")).await);
        }
        stage.rollback(Some(2)).await.expect("ordered");
        stage.clean().await;
        assert_eq!(stage.kept().await, [7, 6, 5, 2], "the job that waits names v2");
        assert!(stage.is_whole(&all[0].image));
        stage.rollback(None).await.expect("the last good one always stays");
    })
    .await;
}

#[tokio::test]
async fn what_a_job_has_made_stays_until_the_job_has_ended() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store, 0).await;
        stage.deployed(2, "live").await;
        let (image, layer) = (built(&stage.blobs, "just built"), stage.blobs.put_bytes(b"a layer").expect("a blob"));
        let orphan = built(&stage.blobs, "of nobody");
        let queue = &stage.server.ctx.queue;
        let mut tx = store.begin().await.expect("begin");
        let job = queue.enqueue(&mut tx, "push", "someone", serde_json::json!({})).await.expect("a job");
        store::jobs::add_steps(&mut tx, &job, 0, &["build", "image"]).await.expect("steps");
        let outputs =
            [serde_json::json!({"layers": [{"digest": layer.to_string()}]}), serde_json::json!({"image": image})];
        for (at, output) in outputs.iter().enumerate() {
            let done = StepState::Succeeded;
            store::jobs::step_finished(&mut tx, &job, at, done, output, None, Timestamp(NEW_YEAR)).await.expect("done");
        }
        tx.commit().await.expect("commit");

        stage.clean().await;
        assert!(stage.is_whole(&image) && stage.blobs.has(&layer), "its steps hand on from one to the next");
        assert!(!stage.is_whole(&orphan));
        let mut tx = store.begin().await.expect("begin");
        let (now, lease) = (Timestamp(NEW_YEAR + 1), Timestamp(NEW_YEAR + MINUTE));
        store::jobs::claim(&mut tx, "us", now, lease).await.expect("no fault").expect("the job");
        store::jobs::finish(&mut tx, &job, "us", JobState::Failed, Some("no"), now).await.expect("finished");
        tx.commit().await.expect("commit");
        stage.clean().await;
        assert!(!stage.is_whole(&image) && !stage.blobs.has(&layer));
    })
    .await;
}

#[tokio::test]
async fn what_is_of_apps_that_are_gone_goes_and_the_rest_stays() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store, 1).await;
        let engine: &dyn Engine = &stage.server.engine;
        let release = stage.deployed(2, "live").await;
        for app in [stage.app.id.clone(), AppId::fresh()] {
            let spec = crate::machinery::runtime::SandboxSpec {
                name: format!("build-{app}"),
                image: release.image.clone(),
                limits: Limits::default(),
                variables: BTreeMap::new(),
                privileges: crate::machinery::runtime::Privileges::None,
            };
            engine.open_sandbox(&spec).await.expect("a sandbox");
            std::fs::create_dir_all(stage.server.dir.path().join("caches")).expect("directory");
            let cache = stage.server.dir.path().join("caches").join(format!("{app}.json"));
            std::fs::write(cache, "{}").expect("a cache");
        }
        assert_eq!(stage.clean().await.caches, 1);
        assert_eq!(engine.sandboxes().await.expect("sandboxes"), [format!("build-{}", stage.app.id)]);
        let caches = std::fs::read_dir(stage.server.dir.path().join("caches")).expect("caches");
        assert_eq!(caches.count(), 1);

        let usage = disk::usage(&stage.server.ctx, &stage.actor).await.expect("a look");
        let [of_app] = &usage.apps[..] else { panic!("one app") };
        assert!(of_app.images == 2 && of_app.images_own > 0 && of_app.images_shared == 0, "{of_app:?}");
        let platform = usage.platform.expect("an administrator asks");
        assert!(platform.blobs >= of_app.images_own && platform.room.is_some());
    })
    .await;
}
