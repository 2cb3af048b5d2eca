//! Volumes in process: tombstones under a clock that is moved by hand.

use super::*;
use crate::base::access::{Actor, Role};
use crate::base::error::Kind;
use crate::machinery::runtime::CommandSpec;
use crate::machinery::runtime::fake::{Fault, Op};

const DAY: i64 = 86_400_000;

pub(super) struct Stage {
    pub server: Server,
    pub actor: Actor,
    pub app: App,
    pub environment: Environment,
    release: Release,
}

impl Stage {
    pub async fn on(store: &Store) -> Self {
        let server = Server::on(store.clone(), &ManualClock::at(NEW_YEAR)).await;
        let release = live(store).await;
        let mut tx = store.begin().await.expect("begin");
        let found = store::environments::find(&mut tx, &Scope::Platform, &release.environment_id).await.expect("find");
        let environment = found.expect("an environment");
        let found = store::apps::find(&mut tx, &Scope::Platform, &environment.app_id).await.expect("find");
        let app = found.expect("an app");
        let owner = MembershipScope::Organization(app.organization_id.clone());
        let actor = person(&mut tx, &app, "ann", owner, Role::Owner).await;
        tx.commit().await.expect("commit");
        Self { server, actor, app, environment, release }
    }

    pub fn ctx(&self) -> &Ctx {
        &self.server.ctx
    }

    async fn create(&self, called: &str) -> Volume {
        let (app, environment) = (&self.app, &self.environment);
        create_volume(self.ctx(), &self.actor, app, environment, parsed(called), false).await.expect("created")
    }

    async fn destroy(&self, called: &str) -> Result<Volume> {
        destroy_volume(self.ctx(), &self.actor, &self.app, &self.environment, called).await
    }

    async fn restore(&self, called: &str, name: Option<&str>) -> Result<Volume> {
        let (app, environment, name) = (&self.app, &self.environment, name.map(parsed));
        restore_volume(self.ctx(), &self.actor, app, environment, called, name).await
    }

    /// The engine has it from now on, as after a first mount.
    async fn used(&self, volume: &Volume) {
        let path = "/data".parse().expect("a path");
        let mount = Mount { volume: volume.name.clone(), id: volume.id.clone(), path, shared: false };
        let spec = CommandSpec {
            id: CommandId::fresh(),
            environment: self.environment.id.clone(),
            app: self.app.name.clone(),
            space: self.app.space_id.clone(),
            release: self.release.id.clone(),
            image: image(),
            process: "run.1".into(),
            command: vec!["true".into()],
            working_dir: None,
            variables: BTreeMap::new(),
            limits: Limits::default(),
            mounts: vec![mount],
        };
        self.server.engine.run(&spec).await.expect("run");
    }

    async fn held(&self) -> usize {
        self.server.engine.volumes().await.expect("volumes").len()
    }
}

pub(super) async fn person(tx: &mut store::Tx, app: &App, called: &str, scope: MembershipScope, role: Role) -> Actor {
    let found = store::organizations::find(tx, &Scope::Platform, &app.organization_id).await.expect("find");
    let user = User {
        id: Id::fresh(),
        customer_id: found.expect("an organization").customer_id,
        name: parsed(called),
        email: format!("{called}@example.com"),
        enabled: true,
        platform_admin: false,
        created_at: Timestamp(NEW_YEAR),
    };
    store::users::insert(tx, &user).await.expect("user");
    let membership = Membership { id: Id::fresh(), user_id: user.id.clone(), scope, role };
    store::memberships::insert(tx, &membership).await.expect("membership");
    Actor { user, memberships: vec![membership], bound: None }
}

#[tokio::test]
async fn a_tombstone_is_kept_to_its_last_day_and_not_a_moment_longer() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        let volume = stage.create("store").await;
        stage.used(&volume).await;
        assert_eq!(stage.held().await, 1);
        let gone = stage.destroy("store").await.expect("destroyed");
        assert_eq!(gone.kept_until, Some(Timestamp(NEW_YEAR + 7 * DAY)));
        stage.server.clock.advance(7 * DAY - 1);
        assert!(!purge_volumes(stage.ctx()).await.expect("a sweep"));
        assert_eq!(stage.held().await, 1, "its data is there to the last");
        let back = stage.restore("store", None).await.expect("restored");
        assert_eq!((back.id, back.state), (volume.id.clone(), VolumeState::Live));

        stage.destroy("store").await.expect("destroyed");
        stage.server.clock.advance(7 * DAY);
        let late = stage.restore("store", None).await.expect_err("its time is over");
        assert!(late.is_not_found());
        stage.server.engine.fail_next(Op::RemoveVolume, 1, Fault::Refused("volume is in use".into()));
        assert!(purge_volumes(stage.ctx()).await.expect("a sweep"), "something is left to do");
        assert_eq!(stage.held().await, 1);
        for _ in 0..2 {
            assert!(!purge_volumes(stage.ctx()).await.expect("a sweep"));
            assert_eq!(stage.held().await, 0);
        }
        assert!(destroyed_volumes(stage.ctx(), &stage.actor).await.expect("list").is_empty());
        assert!(stage.restore("store", None).await.expect_err("it is no more").is_not_found());
    })
    .await;
}

#[tokio::test]
async fn what_a_destroyed_app_had_comes_back_in_another_of_its_organization() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        let volume = stage.create("store").await;
        stage.used(&volume).await;
        let other = App { id: Id::fresh(), name: parsed("other"), ..stage.app.clone() };
        let place = Environment { id: Id::fresh(), app_id: other.id.clone(), ..stage.environment.clone() };
        let place = Environment { spec: EnvironmentSpec::default(), ..place };
        let mut tx = store.begin().await.expect("begin");
        store::apps::insert(&mut tx, &other).await.expect("app");
        store::environments::insert(&mut tx, &place).await.expect("environment");
        let guest = person(&mut tx, &other, "guest", MembershipScope::App(other.id.clone()), Role::Admin).await;
        tx.commit().await.expect("commit");

        destroy(stage.ctx(), &stage.actor, &stage.app).await.expect("the app is destroyed");
        let left = destroyed_volumes(stage.ctx(), &stage.actor).await.expect("list");
        assert_eq!(
            (left.len(), left[0].origin.as_str(), left[0].environment_id.as_ref()),
            (1, "shop/production", None)
        );
        purge_volumes(stage.ctx()).await.expect("a sweep");
        assert_eq!(stage.held().await, 1);

        assert!(destroyed_volumes(stage.ctx(), &guest).await.expect("list").is_empty());
        let id = volume.id.as_str();
        let stolen = restore_volume(stage.ctx(), &guest, &other, &place, id, None).await;
        assert!(stolen.expect_err("a guest of one app has nothing of another").is_not_found());
        let by_name = restore_volume(stage.ctx(), &stage.actor, &other, &place, "store", None).await;
        assert!(by_name.expect_err("it never had this name here").is_not_found());
        let name = Some(parsed("kept"));
        let back = restore_volume(stage.ctx(), &stage.actor, &other, &place, id, name).await.expect("restored");
        assert_eq!((back.origin.as_str(), back.name.as_str()), ("other/production", "kept"));
        let seen = volumes(stage.ctx(), &guest, &other, &place, true).await.expect("list");
        assert_eq!((seen[0].volume.id.as_str(), seen[0].bytes), (id, Some(0)));
    })
    .await;
}

#[tokio::test]
async fn what_a_release_mounts_is_not_destroyed_and_names_are_taken_once() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        stage.create("store").await;
        let twin =
            create_volume(stage.ctx(), &stage.actor, &stage.app, &stage.environment, parsed("store"), true).await;
        assert_eq!(twin.expect_err("the name is taken").kind, Kind::Exists);
        let volume = volume(stage.ctx(), &stage.actor, &stage.app, &stage.environment, "store", false).await;
        let volume = volume.expect("found").volume;
        let mut spec = stage.environment.spec.clone();
        let (name, id, path) = (volume.name.clone(), volume.id.clone(), parsed("/data"));
        spec.mounts.insert(parsed("web"), vec![Mount { volume: name, id, path, shared: false }]);
        let mut tx = store.begin().await.expect("begin");
        assert!(store::environments::write_spec(&mut tx, &stage.environment.id, 1, &spec).await.expect("write"));
        tx.commit().await.expect("commit");
        let refused = stage.destroy("store").await.expect_err("it is in use");
        assert!(refused.public.contains("web has it mounted at /data"), "{}", refused.public);
        assert!(refused.public.contains("volumes:unmount store"), "{}", refused.public);
    })
    .await;
}
