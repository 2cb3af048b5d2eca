//! Every operation of the OpenAPI document × persona. An operation that is not in the table fails
//! the test: somebody has to say who may do it.

use hythe::base::access::Role;
use hythe::base::secret::Secret;
use hythe::edges::api;
use hythe::product::{apps, deploy, insight, routing};
use serde_json::{Value, json};

use super::harness::{Answer, Person, TestApi};

/// What an operation needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Least {
    Anybody,
    /// A token of whomever: it is about what the caller can see.
    Caller,
    /// It is about the person itself: no token for one app will do.
    Person,
    Viewer,
    Developer,
    Admin,
}

/// Method and path, who may, and a body that is well.
fn table() -> Vec<(&'static str, &'static str, Least, Value)> {
    const E: &str = "/v1/apps/{app}/environments/{environment}";
    let at = |rest: &str| -> &'static str { format!("{E}{rest}").leak() };
    vec![
        ("get", "/v1/healthz", Least::Anybody, Value::Null),
        ("get", "/v1/openapi.json", Least::Anybody, Value::Null),
        ("get", "/v1/status", Least::Caller, Value::Null),
        ("get", "/v1/whoami", Least::Caller, Value::Null),
        ("get", "/v1/keys", Least::Person, Value::Null),
        ("post", "/v1/keys", Least::Person, json!({"public_key": super::verbs::KEY})),
        ("delete", "/v1/keys/{name}", Least::Person, Value::Null),
        ("get", "/v1/tokens", Least::Person, Value::Null),
        ("post", "/v1/tokens", Least::Person, json!({"name": "ci", "expires_in_days": 7})),
        ("delete", "/v1/tokens/{name}", Least::Person, Value::Null),
        ("get", "/v1/apps", Least::Caller, Value::Null),
        ("get", "/v1/sizes", Least::Caller, Value::Null),
        ("get", "/v1/volumes", Least::Caller, Value::Null),
        ("get", "/v1/packages", Least::Caller, Value::Null),
        ("get", "/v1/disk", Least::Caller, Value::Null),
        ("delete", "/v1/apps/{app}/cache", Least::Developer, Value::Null),
        ("get", "/v1/apps/{app}", Least::Viewer, Value::Null),
        ("get", "/v1/events", Least::Caller, Value::Null),
        ("get", "/v1/apps/{app}/events", Least::Viewer, Value::Null),
        ("get", "/v1/apps/{app}/builds", Least::Viewer, Value::Null),
        ("get", "/v1/apps/{app}/builds/{build}", Least::Viewer, Value::Null),
        ("get", "/v1/apps/{app}/builds/{build}/output", Least::Viewer, Value::Null),
        ("post", "/v1/apps/{app}/builds/{build}/cancel", Least::Developer, Value::Null),
        ("get", "/v1/apps/{app}/environments", Least::Viewer, Value::Null),
        ("get", at(""), Least::Viewer, Value::Null),
        ("get", at("/certs"), Least::Viewer, Value::Null),
        ("post", at("/certs"), Least::Developer, certificate()),
        ("get", at("/certs/names"), Least::Viewer, Value::Null),
        ("put", at("/certs/auto"), Least::Developer, json!({"ordered": true})),
        ("delete", at("/certs/{certificate}"), Least::Developer, Value::Null),
        ("get", at("/domains"), Least::Viewer, Value::Null),
        ("post", at("/domains"), Least::Developer, json!({"domain": "*.shop.example.com"})),
        ("post", at("/domains/{domain}/verify"), Least::Developer, Value::Null),
        ("delete", at("/domains/{domain}"), Least::Developer, Value::Null),
        ("get", at("/logs"), Least::Viewer, Value::Null),
        ("get", at("/sbom"), Least::Viewer, Value::Null),
        ("get", "/v1/apps/{app}/build-sbom", Least::Viewer, Value::Null),
        ("get", at("/why"), Least::Viewer, Value::Null),
        ("get", "/v1/apps/{app}/drains", Least::Viewer, Value::Null),
        ("post", "/v1/apps/{app}/drains", Least::Developer, json!({"url": "syslog://logs.example.com:514"})),
        ("delete", "/v1/apps/{app}/drains/{drain}", Least::Developer, Value::Null),
        ("get", "/v1/apps/{app}/webhooks", Least::Viewer, Value::Null),
        ("post", "/v1/apps/{app}/webhooks", Least::Developer, json!({"url": "https://hooks.example.com/in"})),
        ("delete", "/v1/apps/{app}/webhooks/{webhook}", Least::Developer, Value::Null),
        ("get", "/v1/apps/{app}/webhooks/{webhook}/deliveries", Least::Viewer, Value::Null),
        ("post", "/v1/apps/{app}/webhooks/{webhook}/replay", Least::Developer, json!({})),
        ("get", at("/metrics"), Least::Viewer, Value::Null),
        ("get", at("/processes"), Least::Viewer, Value::Null),
        ("get", at("/checks"), Least::Viewer, Value::Null),
        ("get", at("/buildpacks"), Least::Viewer, Value::Null),
        ("get", at("/traffic"), Least::Viewer, Value::Null),
        ("get", at("/releases/{number}/diff"), Least::Viewer, Value::Null),
        ("get", at("/releases"), Least::Viewer, Value::Null),
        ("get", at("/releases/{number}"), Least::Viewer, Value::Null),
        ("get", at("/deployments"), Least::Viewer, Value::Null),
        ("get", at("/deployments/{deployment}"), Least::Viewer, Value::Null),
        ("get", at("/deployments/{deployment}/output"), Least::Viewer, Value::Null),
        ("get", at("/variables"), Least::Developer, Value::Null),
        ("patch", at(""), Least::Developer, json!({"check": "/healthz"})),
        ("patch", at("/processes"), Least::Developer, json!({"web": 2})),
        ("patch", at("/formation"), Least::Developer, json!({"web": {"quantity": 1, "size": "small"}})),
        ("get", at("/volumes"), Least::Viewer, Value::Null),
        ("get", at("/volumes/{volume}"), Least::Viewer, Value::Null),
        ("post", at("/volumes"), Least::Developer, json!({"name": "more"})),
        ("post", at("/volumes/{volume}/restore"), Least::Developer, json!({})),
        ("put", at("/volumes/{volume}/mounts/{process}"), Least::Developer, json!({"path": "/data"})),
        ("delete", at("/volumes/{volume}/mounts/{process}"), Least::Developer, Value::Null),
        ("delete", at("/volumes/{volume}/mounts"), Least::Developer, Value::Null),
        ("delete", at("/volumes/{volume}"), Least::Admin, Value::Null),
        ("put", at("/processes/{process}/scaling"), Least::Developer, json!({"min": 0, "max": 2})),
        ("delete", at("/processes/{process}/scaling"), Least::Developer, Value::Null),
        ("patch", at("/traffic"), Least::Developer, json!({"maintenance": true})),
        ("put", at("/buildpacks"), Least::Developer, json!({"buildpacks": ["./mine"]})),
        ("patch", at("/checks"), Least::Developer, json!({"web": {"liveness": {"path": "/up"}}})),
        ("post", at("/sources"), Least::Developer, json!({"image": "registry.example/shop:1"})),
        ("post", at("/restart"), Least::Developer, Value::Null),
        ("post", at("/promote"), Least::Developer, json!({"from": "staging"})),
        ("post", at("/continue"), Least::Developer, Value::Null),
        ("post", at("/abort"), Least::Developer, Value::Null),
        ("post", "/v1/apps/{app}/environments", Least::Developer, json!({"name": "testing"})),
        ("patch", at("/variables"), Least::Developer, json!({"COLOUR": "blue"})),
        ("post", at("/rollback"), Least::Developer, json!({"release": 1})),
        ("post", at("/rebase"), Least::Developer, Value::Null),
        ("get", "/v1/apps/{app}/rebase", Least::Developer, Value::Null),
        ("get", "/v1/rebase", Least::Caller, Value::Null),
        ("get", at("/commands"), Least::Developer, Value::Null),
        ("post", at("/commands"), Least::Developer, json!({"command": ["ls"]})),
        ("get", at("/commands/{command}"), Least::Developer, Value::Null),
        ("get", at("/commands/{command}/output"), Least::Developer, Value::Null),
        ("delete", at("/commands/{command}"), Least::Developer, Value::Null),
        ("post", at("/attach"), Least::Developer, json!({"command": ["ls"]})),
        ("get", at("/crons"), Least::Viewer, Value::Null),
        ("get", at("/crons/{cron}"), Least::Viewer, Value::Null),
        ("post", at("/crons"), Least::Developer, json!({"schedule": "@daily", "command": "ls", "name": "other"})),
        ("post", at("/crons/{cron}/run"), Least::Developer, Value::Null),
        ("delete", at("/crons/{cron}"), Least::Developer, Value::Null),
        ("patch", "/v1/apps/{app}", Least::Admin, json!({"name": "shop"})),
        ("delete", at(""), Least::Admin, Value::Null),
        ("delete", "/v1/apps/{app}", Least::Admin, Value::Null),
    ]
}

/// A certificate for the own host of `shop`, and its key.
fn certificate() -> Value {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["shop.localhost".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).expect("signed");
    json!({"certificate": certificate.pem(), "key": key.serialize_pem()})
}

/// Operations that are no one's after set-up, or whose answer is of a shape of its own; each has a test below.
const APART: [(&str, &str); 9] = [
    ("get", "/v1/certs/authority"),
    ("post", "/v1/apps/{app}/environments/{environment}/builds"),
    ("post", "/v1/setup"),
    ("post", "/v1/apps"),
    ("get", "/metrics"),
    ("get", "/v1/host/metrics"),
    ("post", "/v1/disk/clean"),
    ("get", "/v1/base"),
    ("post", "/v1/base/update"),
];

fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&api::document()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").iter();
    paths
        .flat_map(|(path, item)| item.as_object().expect("an item").keys().map(move |m| (m.clone(), path.clone())))
        .collect()
}

#[test]
fn every_operation_is_in_the_table() {
    let table = table();
    for (method, path) in operations() {
        let known = table.iter().any(|(m, p, ..)| *m == method && *p == path)
            || APART.iter().any(|(m, p)| *m == method && *p == path);
        assert!(known, "{method} {path}: who may do it?");
    }
    let all = operations();
    for (method, path, ..) in table {
        assert!(all.iter().any(|(m, p)| m == method && p == path), "{method} {path} is no operation");
    }
}

struct Stage {
    api: TestApi,
    build: String,
    deployment: String,
    command: String,
    drain: String,
    webhook: String,
    certificate: String,
}

/// A fresh world with root's app `shop`, and in it one person.
async fn stage(who: &str) -> (Stage, Option<Person>) {
    // No question leaves the machine.
    let mut config = hythe::base::config::Config::default();
    config.domains.resolver = Some(crate::harness::Dns::start().address);
    let (api, root) = TestApi::start_with(config).await;
    let app = api.app(&root, "shop").await;
    let staging = apps::NewEnvironment { name: "staging".parse().expect("a name"), branch: None };
    apps::create_environment(&api.ctx, &root.actor, &app, staging).await.expect("an environment");
    let (build, deployment) = api.deliver(&app).await;
    let command = api.command(&root, &app).await;
    let drain = insight::add_drain(&api.ctx, &root.actor, &app, None, "syslog://logs.example.com:514").await;
    let drain = drain.expect("a drain").id.to_string();
    let production = apps::environment(&api.ctx, &root.actor, &app, "production").await.expect("production");
    let (pair, key) = (certificate(), |pair: &Value| Secret::new(pair["key"].as_str().unwrap_or_default().to_owned()));
    let text = pair["certificate"].as_str().unwrap_or_default();
    let uploaded = routing::add_certificate(&api.ctx, &root.actor, &app, &production, (text, &key(&pair)))
        .await
        .expect("uploaded");
    let certificate = uploaded.certificate.id.to_string();
    deploy::add_domain(&api.ctx, &root.actor, &app, &production, "www.example.com").await.expect("a domain");
    for name in ["store", "gone"] {
        let name = name.parse().expect("a name");
        deploy::create_volume(&api.ctx, &root.actor, &app, &production, name, true).await.expect("a volume");
    }
    deploy::destroy_volume(&api.ctx, &root.actor, &app, &production, "gone").await.expect("a tombstone");
    let webhook = insight::add_webhook(&api.ctx, &root.actor, &app, None, "https://hooks.example.com/in", &[]).await;
    let webhook = webhook.expect("a webhook").0.id.to_string();
    let person = match who {
        "anonymous" => None,
        // An administrator's, and yet for one app and with one role.
        "viewer of shop" => Some(bound(&api, &root, "viewer").await),
        "developer of shop" => Some(bound(&api, &root, "developer").await),
        "administrator" => Some(root),
        "outsider" => Some(api.person("outsider", None).await),
        "viewer" => Some(api.person("viewer", Some((&root.actor, Role::Viewer))).await),
        "developer" => Some(api.person("developer", Some((&root.actor, Role::Developer))).await),
        _ => Some(api.person("owner", Some((&root.actor, Role::Owner))).await),
    };
    (
        Stage {
            api,
            build: build.id.to_string(),
            deployment: deployment.id.to_string(),
            command,
            drain,
            webhook,
            certificate,
        },
        person,
    )
}

/// The same person with a token for `shop` alone.
async fn bound(api: &TestApi, root: &Person, role: &str) -> Person {
    let new = json!({"name": "bound", "app": "shop", "role": role, "expires_in_days": 30});
    let made = api.call("POST", "/v1/tokens", Some(&root.token), Some(&new)).await;
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    Person { actor: root.actor.clone(), token }
}

impl Stage {
    async fn try_it(&self, person: Option<&Person>, app: &str, operation: &(&str, &str, Least, Value)) -> Answer {
        let (method, path, _, body) = operation;
        let path = path
            .replace("{app}", app)
            .replace("{environment}", "production")
            .replace("{volume}/restore", "gone/restore")
            .replace("{volume}", "store")
            .replace("{build}", &self.build)
            .replace("{number}", "1")
            .replace("{process}", "web")
            .replace("{certificate}", &self.certificate)
            .replace("{domain}", "www.example.com")
            .replace("{drain}", &self.drain)
            .replace("{webhook}", &self.webhook)
            .replace("{deployment}", &self.deployment)
            .replace("{command}", &self.command)
            .replace("/packages", "/packages?package=openssl")
            .replace("{cron}", "tidy")
            .replace("{name}", if path.contains("tokens") { "ci" } else { "ann@laptop" });
        let body = Some(body).filter(|body| !body.is_null());
        self.api.call(&method.to_uppercase(), &path, person.map(|p| p.token.as_str()), body).await
    }
}

async fn walk(who: &str, may: impl Fn(Least) -> bool) {
    let (stage, person) = stage(who).await;
    // Making a key or a token comes before removing it, and destroying the app last of all.
    let (mut order, mut faults) = (table(), Vec::new());
    order.sort_by_key(|(method, path, ..)| (*method == "delete", path.ends_with("{app}")));
    for operation in &order {
        let (method, path, least, _) = operation;
        let answer = stage.try_it(person.as_ref(), "shop", operation).await;
        let expected: Box<dyn Fn(u16) -> bool> = match (&person, may(*least)) {
            // 426: it could be done over a connection that can be upgraded.
            (_, true) => Box::new(|status| (200..300).contains(&status) || matches!(status, 409 | 426)),
            (None, false) => Box::new(|status| status == 401),
            (Some(_), false) if who == "outsider" => Box::new(|status| status == 404),
            (Some(_), false) => Box::new(|status| status == 403),
        };
        if !expected(answer.status) {
            faults.push(format!("{who}: {method} {path}: {} {}", answer.status, answer.text));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn anonymous() {
    walk("anonymous", |least| least == Least::Anybody).await;
}

#[tokio::test]
async fn outsider() {
    walk("outsider", |least| least <= Least::Person).await;
}

#[tokio::test]
async fn viewer() {
    walk("viewer", |least| least <= Least::Viewer).await;
}

#[tokio::test]
async fn developer() {
    walk("developer", |least| least <= Least::Developer).await;
}

#[tokio::test]
async fn a_viewer_s_token_for_the_app() {
    walk("viewer of shop", |least| least <= Least::Viewer && least != Least::Person).await;
}

#[tokio::test]
async fn a_developer_s_token_for_the_app() {
    walk("developer of shop", |least| least <= Least::Developer && least != Least::Person).await;
}

/// What a token for one app does not reach is as absent as what nobody made, also to an administrator's.
#[tokio::test]
async fn a_token_for_one_app_reaches_no_other() {
    let (stage, person) = stage("developer of shop").await;
    let root = stage.api.person("second", None).await;
    let other = stage.api.app(&root, "other").await;
    let mine = stage
        .api
        .app(&Person { actor: person.as_ref().expect("a person").actor.clone(), token: String::new() }, "mine")
        .await;
    for operation in table().iter().filter(|(_, path, ..)| path.contains("{app}")) {
        for (there, nowhere) in [
            ("other".to_owned(), "othar".to_owned()),
            ("mine".to_owned(), "mina".to_owned()),
            (other.id.to_string(), "app_00000000000000000000000000000000".to_owned()),
            (mine.id.to_string(), "app_00000000000000000000000000000000".to_owned()),
        ] {
            let seen = stage.try_it(person.as_ref(), &there, operation).await;
            let unseen = stage.try_it(person.as_ref(), &nowhere, operation).await;
            assert_eq!((seen.status, seen.same_for_all()), (404, unseen.same_for_all()), "{} {there}", operation.1);
        }
    }
    let token = person.as_ref().map(|p| p.token.as_str());
    let items = |answer: Answer| answer.json()["items"].as_array().expect("items").len();
    assert_eq!(items(stage.api.call("GET", "/v1/apps", token, None).await), 1);
    for path in ["/metrics", "/v1/host/metrics"] {
        assert_eq!(stage.api.call("GET", path, token, None).await.status, 404, "{path}");
    }
    assert_eq!(stage.api.call("POST", "/v1/disk/clean", token, None).await.status, 404);
    assert_eq!(stage.api.call("POST", "/v1/apps", token, Some(&json!({"name": "new"}))).await.status, 403);
    // It is listed with what it is for, without its text, and goes with its app.
    let owner = stage.api.person("owner", Some((&person.as_ref().expect("a person").actor, Role::Owner))).await;
    let none = json!({"name": "x", "app": "nothing"});
    assert_eq!(stage.api.call("POST", "/v1/tokens", Some(&owner.token), Some(&none)).await.status, 404);
    let own = json!({"name": "x", "app": "shop", "role": "owner"});
    assert_eq!(stage.api.call("POST", "/v1/tokens", Some(&owner.token), Some(&own)).await.status, 422);
    let viewer = stage.api.person("viewer", Some((&person.as_ref().expect("a person").actor, Role::Viewer))).await;
    let more = json!({"name": "x", "app": "shop", "role": "developer"});
    assert_eq!(stage.api.call("POST", "/v1/tokens", Some(&viewer.token), Some(&more)).await.status, 403);
    let made =
        stage.api.call("POST", "/v1/tokens", Some(&owner.token), Some(&json!({"name": "x", "app": "shop"}))).await;
    let text = made.json()["token"].as_str().expect("a token").to_owned();
    let listed = stage.api.call("GET", "/v1/tokens", Some(&owner.token), None).await;
    assert!(!listed.text.contains(&text), "{}", listed.text);
    let shown = &listed.json()["items"][1];
    assert_eq!((&shown["app"], &shown["role"]), (&json!("shop"), &json!("developer")), "{}", listed.text);
    assert_eq!(stage.api.call("GET", "/v1/apps/shop", Some(&text), None).await.status, 200);
    assert_eq!(stage.api.call("DELETE", "/v1/apps/shop", Some(&owner.token), None).await.status, 204);
    assert_eq!(stage.api.call("GET", "/v1/whoami", Some(&text), None).await.status, 401);
}

#[tokio::test]
async fn owner() {
    walk("owner", |_| true).await;
}

#[tokio::test]
async fn administrator() {
    walk("administrator", |_| true).await;
}

/// Status, body and headers: what is there and foreign is like what is not there.
#[tokio::test]
async fn what_an_outsider_may_not_see_answers_like_what_does_not_exist() {
    let (stage, person) = stage("outsider").await;
    let foreign = {
        let found = stage.api.person("finder", None).await;
        assert_eq!(stage.api.call("GET", "/v1/apps", Some(&found.token), None).await.json()["items"], json!([]));
        let mut tx = stage.api.ctx.store.read().await.expect("a transaction");
        let all = hythe::state::store::apps::list(&mut tx, &hythe::base::access::Scope::Platform, None, 10).await;
        all.expect("apps")[0].id.to_string()
    };
    let absent = "app_00000000000000000000000000000000";
    for operation in table().iter().filter(|(_, path, ..)| path.contains("{app}")) {
        for (there, nowhere) in [("shop", "shap"), (foreign.as_str(), absent), ("default%2Fshop", "default%2Fshap")] {
            let seen = stage.try_it(person.as_ref(), there, operation).await;
            let unseen = stage.try_it(person.as_ref(), nowhere, operation).await;
            assert_eq!((seen.status, seen.same_for_all()), (404, unseen.same_for_all()), "{} {there}", operation.1);
            let names = |a: &Answer| a.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(names(&seen), names(&unseen));
        }
    }
}

/// The same name may exist twice; neither owner reaches the other's.
#[tokio::test]
async fn a_namesake_is_ones_own() {
    let (api, root) = TestApi::start().await;
    let outsider = api.person("outsider", None).await;
    let (theirs, own) = (api.app(&root, "shop").await, api.app(&outsider, "shop").await);
    let seen = api.call("GET", "/v1/apps/shop", Some(&outsider.token), None).await.json();
    assert_eq!(seen["id"], own.id.to_string());
    assert_eq!(seen["url"], "http://shop-outsider.localhost:8080");
    // The administrator sees both, and is told how to name one.
    let both = api.call("GET", "/v1/apps/shop", Some(&root.token), None).await;
    assert_eq!(both.status, 409);
    assert!(both.text.contains("default/shop") && both.text.contains("outsider/shop"), "{}", both.text);
    let one = api.call("GET", "/v1/apps/default%2Fshop", Some(&root.token), None).await.json();
    assert_eq!(one["id"], theirs.id.to_string());
    assert_eq!(one["git_url"], "ssh://git@localhost:2222/default/shop.git");
    assert_eq!(one["git_http_url"], "http://hythe.localhost:8080/default/shop.git");
}

/// An app of another organization cannot be made, whoever asks.
#[tokio::test]
async fn apps_are_made_in_ones_own_organization_only() {
    for (who, status) in [("anonymous", 401), ("outsider", 404), ("viewer", 403), ("developer", 201), ("owner", 201)] {
        let (stage, person) = stage(who).await;
        let body = json!({"name": "second", "organization": "default"});
        let answer = stage.api.call("POST", "/v1/apps", person.as_ref().map(|p| p.token.as_str()), Some(&body)).await;
        assert_eq!(answer.status, status, "{who}: {}", answer.text);
    }
}

/// An archive is looked at for those only who may deploy it; here it has no files.
#[tokio::test]
async fn archives_are_taken_from_who_may_deploy() {
    let path = "/v1/apps/shop/environments/production/builds";
    let cases = [("anonymous", 401), ("outsider", 404), ("viewer", 403), ("developer", 422), ("owner", 422)];
    for (who, status) in cases {
        let (stage, person) = stage(who).await;
        let mut request = axum::http::Request::post(path).header("content-type", "application/x-tar");
        if let Some(person) = &person {
            request = request.header("authorization", format!("Bearer {}", person.token));
        }
        let request = request.body(axum::body::Body::from(vec![0; 1024])).expect("a request");
        let answer = stage.api.send(request).await;
        assert_eq!(answer.status, status, "{who}: {}", answer.text);
        assert_eq!(answer.text.contains("the archive has no files"), status == 422, "{who}: {}", answer.text);
    }
}

/// Identity comes from a token that is good now, and from nothing else.
#[tokio::test]
async fn nothing_but_a_good_token_identifies() {
    let (api, root) = TestApi::start().await;
    let good = &root.token;
    for header in [
        String::new(),
        format!("Basic {good}"),
        good.clone(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Bearer {}", &good[..good.len() - 1]),
        format!("Bearer {good}x"),
        format!("Bearer {}", good.to_uppercase()),
        "Bearer hyt_' OR '1'='1".into(),
        format!("Bearer hyt_{}", "a".repeat(10_000)),
    ] {
        let request = axum::http::Request::get("/v1/whoami").header("authorization", &header);
        let answer = api.send(request.body(axum::body::Body::empty()).expect("a request")).await;
        assert!(matches!(answer.status, 401 | 429), "{header:.60}: {}", answer.status);
    }
    // Too many failures do not lock out whoever holds a good one.
    assert_eq!(api.call("GET", "/v1/whoami", Some(good), None).await.status, 200);
}

#[tokio::test]
async fn a_token_ends_when_it_expires_and_when_it_is_removed() {
    let (api, root) = TestApi::start().await;
    let made =
        api.call("POST", "/v1/tokens", Some(&root.token), Some(&json!({"name": "day", "expires_in_days": 1}))).await;
    let day = made.json()["token"].as_str().expect("a token").to_owned();
    assert_eq!(api.call("GET", "/v1/whoami", Some(&day), None).await.status, 200);
    let listed = api.call("GET", "/v1/tokens", Some(&root.token), None).await;
    assert!(!listed.text.contains(&day) && listed.text.contains("\"day\""));
    api.clock.advance(86_400_000);
    assert_eq!(api.call("GET", "/v1/whoami", Some(&day), None).await.status, 401);
    assert_eq!(api.call("DELETE", "/v1/tokens/setup", Some(&root.token), None).await.status, 204);
    assert_eq!(api.call("GET", "/v1/whoami", Some(&root.token), None).await.status, 401);
}

/// What is of the platform as a whole is its administrators' alone.
#[tokio::test]
async fn measurements_of_the_platform_are_for_its_administrators() {
    for (who, status) in [("anonymous", 401), ("outsider", 404), ("owner", 404), ("administrator", 200)] {
        let (stage, person) = stage(who).await;
        for (method, path) in [("GET", "/metrics"), ("GET", "/v1/host/metrics"), ("POST", "/v1/disk/clean")] {
            let answer = stage.api.call(method, path, person.as_ref().map(|p| p.token.as_str()), None).await;
            assert_eq!(answer.status, status, "{who} {path}: {}", answer.text);
        }
        for (method, path) in [("GET", "/v1/base"), ("POST", "/v1/base/update")] {
            // For who may, the latter asks the mirror of the distribution; the pushes' tests do.
            if status == 200 && method == "POST" {
                continue;
            }
            let answer = stage.api.call(method, path, person.as_ref().map(|p| p.token.as_str()), None).await;
            let refused = matches!(answer.status, 401 | 403 | 404);
            assert!(answer.status == status || status == 200 && !refused, "{who} {path}: {}", answer.text);
        }
    }
}
