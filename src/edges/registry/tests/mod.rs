//! The protocol, over a real store and real blobs, with people of several roles.

mod conformance;
mod hostile;
mod people;
mod pulls;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::base::access::{Actor, Role, Scope};
use crate::base::clock::{Clock, ManualClock};
use crate::base::config::Config;
use crate::base::model::*;
use crate::machinery::git::Repositories;
use crate::machinery::image::{AddedLayer, ImageSpec, LayerWriter, OCI_INDEX, OCI_MANIFEST, assemble, inspect};
use crate::product::accounts::{self, NewToken};
use crate::product::apps::{self, NewApp, NoObservatory};
use crate::product::deploy::{Desk, Sources};
use crate::product::disk::Disk;
use crate::product::insight::Insight;
use crate::state::jobs::Queue;
use crate::state::logs::LogStore;
use crate::state::store::{self, Store};
use crate::state::vault::Vault;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

struct Site {
    dir: tempfile::TempDir,
    clock: ManualClock,
    ctx: Ctx,
    blobs: BlobStore,
    registry: Registry,
    router: axum::Router,
    ann: Person,
}

/// Somebody with a token, a member of one organization.
struct Person {
    actor: Actor,
    token: String,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn code(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["errors"][0]["code"].as_str().unwrap().to_owned())
    }

    fn message(&self) -> String {
        self.json()["errors"][0]["message"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// With the app `acme/shop` of the developer ann.
async fn site() -> Site {
    site_with(|_| ()).await
}

async fn site_with(change: impl FnOnce(&mut Config)) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    change(&mut config);
    let clock = ManualClock::at(1_800_000_000_000);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let store = Store::open(None, dir.path()).await.unwrap();
    let logs = LogStore::open(&dir.path().join("logs")).unwrap();
    let repositories = Arc::new(Repositories::open(dir.path().join("repos")).unwrap());
    let sources = Sources::open(repositories, dir.path().join("uploads")).unwrap();
    let ctx = Ctx {
        vault: Vault::open(dir.path(), &store).await.unwrap(),
        queue: Queue::new(store.clone(), Arc::clone(&shared), logs.clone()),
        store,
        logs,
        clock: shared,
        wake: Arc::default(),
        certificates: Arc::default(),
        observatory: Arc::new(NoObservatory),
        desk: Arc::new(Desk::closed()),
        sources: Arc::new(sources),
        insight: Insight::open(dir.path(), &config).unwrap(),
        disk: Arc::new(Disk::closed()),
        config: Arc::new(config),
    };
    let blobs = BlobStore::open(&dir.path().join("blobs")).unwrap();
    let registry = Registry::new(ctx.clone(), blobs.clone());
    let ann = person(&ctx, "acme", "ann", Role::Developer).await;
    let site = Site { dir, clock, router: registry.router(), ctx, blobs, registry, ann };
    site.app("shop").await;
    site
}

/// In an organization that is made when it is not there.
async fn person(ctx: &Ctx, organization: &str, name: &str, role: Role) -> Person {
    let mut tx = ctx.store.begin().await.unwrap();
    let at = ctx.now();
    let customer = Customer {
        id: CustomerId::fresh(),
        name: format!("{organization}-{name}").parse().unwrap(),
        status: CustomerStatus::Free,
        created_at: at,
    };
    store::customers::insert(&mut tx, &customer).await.unwrap();
    let user = User {
        id: UserId::fresh(),
        customer_id: customer.id.clone(),
        name: format!("{organization}-{name}").parse().unwrap(),
        email: format!("{name}@{organization}.example.com"),
        enabled: true,
        platform_admin: false,
        created_at: at,
    };
    store::users::insert(&mut tx, &user).await.unwrap();
    let wanted = organization.parse().unwrap();
    let known = store::organizations::find_by_name(&mut tx, &Scope::Platform, &wanted);
    let organization = match known.await.unwrap() {
        Some(found) => found,
        None => {
            let id = OrganizationId::fresh();
            let made = Organization {
                id: id.clone(),
                customer_id: customer.id,
                name: organization.parse().unwrap(),
                created_at: at,
            };
            store::organizations::insert(&mut tx, &made).await.unwrap();
            made
        }
    };
    let scope = MembershipScope::Organization(organization.id);
    let membership = Membership { id: MembershipId::fresh(), user_id: user.id.clone(), scope, role };
    store::memberships::insert(&mut tx, &membership).await.unwrap();
    tx.commit().await.unwrap();
    let actor = Actor { user, memberships: vec![membership], bound: None };
    let new = NewToken { name: "test".into(), expires_in_days: None, grant: None };
    let (_, token) = accounts::create_token(ctx, &actor, new).await.unwrap();
    Person { actor, token: token.reveal().clone() }
}

fn digest(bytes: &[u8]) -> String {
    crate::machinery::image::content_digest(bytes, None).to_string()
}

fn digest_512(bytes: &[u8]) -> String {
    let like = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    crate::machinery::image::content_digest(bytes, Some(&like)).to_string()
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

impl Site {
    async fn app(&self, name: &str) -> App {
        let new = NewApp { name: name.parse().unwrap(), organization: Some("acme".parse().unwrap()) };
        apps::create(&self.ctx, &self.ann.actor, new).await.unwrap()
    }

    async fn send_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Got {
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Got { status: parts.status, headers: parts.headers, body }
    }

    /// By ann.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Got {
        self.send_as(Some(&self.ann.token), method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Got {
        self.send("GET", path, &[], Body::empty()).await
    }

    async fn head(&self, path: &str) -> u16 {
        self.send("HEAD", path, &[], Body::empty()).await.status.as_u16()
    }

    async fn delete(&self, path: &str) -> Got {
        self.send("DELETE", path, &[], Body::empty()).await
    }

    /// Address of a fresh upload.
    async fn begin(&self, repository: &str) -> String {
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], Body::empty()).await.is(202);
        begun.header("location").to_owned()
    }

    /// Pushes a blob in one request; its digest.
    async fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(bytes));
        self.send("POST", &path, &[], bytes.to_vec()).await.is(201);
        digest(bytes)
    }

    async fn put(&self, repository: &str, reference: &str, manifest: &Value) -> Got {
        let kind = manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send("PUT", &path, &[("content-type", &kind)], manifest.to_string()).await
    }

    /// Pushes config and layers of an image that is different for each seed, and gives its manifest.
    async fn image(&self, repository: &str, seed: &str) -> Value {
        let (config, layer) = (format!("{{\"config\":\"{seed}\"}}"), format!("layer {seed}"));
        self.blob(repository, config.as_bytes()).await;
        self.blob(repository, layer.as_bytes()).await;
        json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()), "layers": [descriptor(LAYER, layer.as_bytes())],
        })
    }

    async fn pushed_bytes(&self) -> i64 {
        let app = apps::resolve(&self.ctx, &self.ann.actor, "acme/shop").await.unwrap();
        store::images::bytes(&mut self.ctx.store.read().await.unwrap(), &app.id).await.unwrap()
    }
}
