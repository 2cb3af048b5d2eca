//! The API over a real store in a folder of its own, with people and one app that was delivered to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use hythe::base::access::{Actor, Role, Scope};
use hythe::base::clock::{Clock, ManualClock};
use hythe::base::config::{self, Config};
use hythe::base::model::*;
use hythe::edges::api;
use hythe::machinery::image::BlobStore;
use hythe::machinery::runtime::Engine;
use hythe::machinery::runtime::fake::FakeEngine;
use hythe::product::Ctx;
use hythe::product::accounts::{self, NewOperator, NewToken};
use hythe::product::apps::{self, NewApp, NoObservatory};
use hythe::product::builds::Builder;
use hythe::product::deploy;
use hythe::product::disk::Disk;
use hythe::state::jobs::Queue;
use hythe::state::logs::{LogName, LogStore};
use hythe::state::store::{self, Store};
use hythe::state::vault::Vault;
use serde_json::Value;
use tower::ServiceExt;

pub const COMMIT: &str = "1f0c1f0c1f0c1f0c1f0c1f0c1f0c1f0c1f0c1f0c";

pub struct TestApi {
    pub ctx: Ctx,
    pub clock: ManualClock,
    pub router: axum::Router,
    _dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// Without what differs from request to request.
    pub fn same_for_all(&self) -> Value {
        let mut json = self.json();
        if let Some(object) = json.as_object_mut() {
            object.remove("request_id");
        }
        json
    }
}

/// Somebody with a token.
pub struct Person {
    pub actor: Actor,
    pub token: String,
}

/// Over an engine in memory.
fn disk(dir: &std::path::Path) -> Disk {
    let engine: Arc<dyn Engine> = Arc::new(FakeEngine::new());
    let blobs = BlobStore::open(&dir.join("blobs")).expect("blobs");
    let builder = Builder::new(Arc::clone(&engine), blobs.clone(), &config::Build::default(), dir);
    Disk::new(engine, Arc::new(builder), blobs, dir.to_owned())
}

fn sources(dir: &std::path::Path) -> hythe::product::deploy::Sources {
    let repositories = hythe::machinery::git::Repositories::open(dir.join("repos")).expect("repositories");
    hythe::product::deploy::Sources::open(Arc::new(repositories), dir.join("uploads")).expect("sources")
}

impl TestApi {
    /// Nobody is there yet.
    pub async fn empty() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at(1_800_000_000_000);
        let store = Store::open(None, dir.path()).await.expect("a store");
        let logs = LogStore::open(dir.path()).expect("logs");
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let ctx = Ctx {
            vault: Vault::open(dir.path(), &store).await.expect("a vault"),
            queue: Queue::new(store.clone(), Arc::clone(&shared), logs.clone()),
            store,
            logs,
            clock: shared,
            wake: Arc::default(),
            certificates: Arc::default(),
            observatory: Arc::new(NoObservatory),
            desk: Arc::new(hythe::product::deploy::Desk::closed()),
            sources: Arc::new(sources(dir.path())),
            insight: hythe::product::insight::Insight::open(dir.path(), &config).expect("insight"),
            disk: Arc::new(disk(dir.path())),
            config: Arc::new(config),
        };
        Self { router: api::router(ctx.clone()), ctx, clock, _dir: dir }
    }

    /// With its administrator `root`.
    pub async fn start() -> (Self, Person) {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(config: Config) -> (Self, Person) {
        let api = Self::with(config).await;
        let token = accounts::ensure_setup_token(&api.ctx).await.expect("no fault").expect("a set-up token");
        let operator = NewOperator { name: name("root"), email: "root@example.com".into(), ssh_key: None };
        let (_, token) = accounts::setup(&api.ctx, &token, operator).await.expect("set up");
        let actor = accounts::actor_by_token(&api.ctx, token.reveal()).await.expect("an actor");
        (api, Person { actor, token: token.reveal().clone() })
    }

    /// A user of another customer, or of `beside`'s first organization with a role.
    pub async fn person(&self, text: &str, beside: Option<(&Actor, Role)>) -> Person {
        let mut tx = self.ctx.store.begin().await.expect("a transaction");
        let customer_id = match beside {
            Some((other, _)) => other.user.customer_id.clone(),
            None => {
                let status = CustomerStatus::Free;
                let customer =
                    Customer { id: CustomerId::fresh(), name: name(text), status, created_at: self.ctx.now() };
                store::customers::insert(&mut tx, &customer).await.expect("a customer");
                customer.id
            }
        };
        let user = User {
            id: UserId::fresh(),
            customer_id,
            name: name(text),
            email: format!("{text}@example.com"),
            enabled: true,
            platform_admin: false,
            created_at: self.ctx.now(),
        };
        store::users::insert(&mut tx, &user).await.expect("a user");
        let mut memberships = Vec::new();
        if let Some((other, role)) = beside {
            let organization =
                store::organizations::first_of_customer(&mut tx, &Scope::Platform, &other.user.customer_id);
            let organization = organization.await.expect("no fault").expect("an organization");
            let scope = MembershipScope::Organization(organization.id);
            let membership = Membership { id: MembershipId::fresh(), user_id: user.id.clone(), scope, role };
            store::memberships::insert(&mut tx, &membership).await.expect("a membership");
            memberships.push(membership);
        }
        tx.commit().await.expect("committed");
        let actor = Actor { user, memberships, bound: None };
        let new = NewToken { name: "test".into(), expires_in_days: None, grant: None };
        let (_, token) = accounts::create_token(&self.ctx, &actor, new).await.expect("a token");
        Person { actor, token: token.reveal().clone() }
    }

    pub async fn app(&self, owner: &Person, text: &str) -> App {
        let new = NewApp { name: text.parse().expect("a name"), organization: None };
        apps::create(&self.ctx, &owner.actor, new).await.expect("an app")
    }

    /// Release v1 of `production`, with the build and the deployment that made it.
    pub async fn deliver(&self, app: &App) -> (Build, Deployment) {
        let mut tx = self.ctx.store.begin().await.expect("a transaction");
        let environment = store::environments::of_app(&mut tx, &Scope::Platform, &app.id).await.expect("no fault");
        let environment = environment.into_iter().next().expect("production");
        let web = Process { command: vec!["node".into(), "server.js".into()], working_dir: None, port: None };
        let processes = BTreeMap::from([(process("web"), web.clone()), (process("release"), web)]);
        let job = Job {
            id: JobId::fresh(),
            kind: "push".into(),
            subject: environment.id.to_string(),
            payload: Value::Null,
            state: JobState::Queued,
            reason: None,
            called_off: None,
            created_at: self.ctx.now(),
            finished_at: None,
        };
        store::jobs::insert(&mut tx, &job, &["Build", "Release"]).await.expect("a job");
        let image: ImageDigest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        let build = Build {
            id: BuildId::fresh(),
            app_id: app.id.clone(),
            job_id: job.id.clone(),
            commit: COMMIT.into(),
            state: BuildState::Succeeded,
            image: Some(image.clone()),
            processes: processes.clone(),
            reason: None,
            created_at: self.ctx.now(),
            finished_at: None,
        };
        store::builds::insert(&mut tx, &build).await.expect("a build");
        let release = Release {
            id: ReleaseId::fresh(),
            environment_id: environment.id.clone(),
            number: 1,
            build_id: Some(build.id.clone()),
            commit: Some(COMMIT.into()),
            image,
            processes,
            variables_version: 0,
            formation: BTreeMap::new(),
            hosts: Vec::new(),
            manifest: Manifest::default(),
            checks: Checks::new(),
            scaling: Default::default(),
            sizes: Default::default(),
            mounts: Default::default(),
            kind: ReleaseKind::Rollout,
            description: "push 1f0c1f0c".into(),
            created_by: None,
            created_at: self.ctx.now(),
            image_gone_at: None,
        };
        store::releases::insert(&mut tx, &release).await.expect("a release");
        let deployment = Deployment {
            id: DeploymentId::fresh(),
            environment_id: environment.id.clone(),
            job_id: job.id.clone(),
            kind: DeploymentKind::Push,
            release_id: Some(release.id.clone()),
            state: DeploymentState::Succeeded,
            reason: None,
            created_by: None,
            created_at: self.ctx.now(),
            finished_at: Some(self.ctx.now()),
        };
        store::deployments::insert(&mut tx, &deployment).await.expect("a deployment");
        let spec = EnvironmentSpec { release: Some(release.id), rollout: Generation(1), ..environment.spec };
        assert!(
            store::environments::write_spec(&mut tx, &environment.id, environment.generation, &spec)
                .await
                .expect("spec")
        );
        tx.commit().await.expect("committed");
        let log = LogName::job(&job.id);
        self.ctx.logs.append(&log, "-----> Node.js detected").expect("a line");
        self.ctx.logs.close(&log).expect("closed");
        (build, deployment)
    }

    /// A queued command, and a schedule named `tidy`; the command's id.
    pub async fn command(&self, owner: &Person, app: &App) -> String {
        let environment = apps::environment(&self.ctx, &owner.actor, app, "production").await.expect("production");
        let new = deploy::NewCommand { words: vec!["ls".into()], ..deploy::NewCommand::default() };
        let command = deploy::run_detached(&self.ctx, &owner.actor, app, &environment, &new).await.expect("a command");
        let cron = deploy::NewCron {
            name: Some("tidy".into()),
            schedule: "@daily".into(),
            command: "bin/tidy".into(),
            timezone: None,
        };
        deploy::add_cron(&self.ctx, &owner.actor, app, &environment, cron).await.expect("a schedule");
        command.id.to_string()
    }

    pub async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a request")).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 8 << 20).await.expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }
}

pub fn name(text: &str) -> TenantName {
    text.parse().expect("a name")
}

fn process(text: &str) -> ProcessName {
    text.parse().expect("a process name")
}
