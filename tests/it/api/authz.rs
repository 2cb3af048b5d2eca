//! Every operation of the OpenAPI document × persona. An operation that is not in the table fails
//! the test: somebody has to say who may do it.

use hythe::base::access::Role;
use hythe::edges::api;
use hythe::product::{apps, deploy, insight};
use serde_json::{Value, json};

use super::harness::{Answer, Person, TestApi};

/// What an operation needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Least {
    Anybody,
    /// A token of whomever: it is about the caller.
    Caller,
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
        ("get", "/v1/keys", Least::Caller, Value::Null),
        ("post", "/v1/keys", Least::Caller, json!({"public_key": super::verbs::KEY})),
        ("delete", "/v1/keys/{name}", Least::Caller, Value::Null),
        ("get", "/v1/tokens", Least::Caller, Value::Null),
        ("post", "/v1/tokens", Least::Caller, json!({"name": "ci", "expires_in_days": 7})),
        ("delete", "/v1/tokens/{name}", Least::Caller, Value::Null),
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
        ("get", "/v1/apps/{app}/environments", Least::Viewer, Value::Null),
        ("get", at(""), Least::Viewer, Value::Null),
        ("get", at("/logs"), Least::Viewer, Value::Null),
        ("get", at("/sbom"), Least::Viewer, Value::Null),
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

/// Operations that are no one's after set-up, or whose answer is of a shape of its own; each has a test below.
const APART: [(&str, &str); 6] = [
    ("post", "/v1/apps/{app}/environments/{environment}/builds"),
    ("post", "/v1/setup"),
    ("post", "/v1/apps"),
    ("get", "/metrics"),
    ("get", "/v1/host/metrics"),
    ("post", "/v1/disk/clean"),
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
}

/// A fresh world with root's app `shop`, and in it one person.
async fn stage(who: &str) -> (Stage, Option<Person>) {
    let (api, root) = TestApi::start().await;
    let app = api.app(&root, "shop").await;
    let staging = apps::NewEnvironment { name: "staging".parse().expect("a name"), branch: None };
    apps::create_environment(&api.ctx, &root.actor, &app, staging).await.expect("an environment");
    let (build, deployment) = api.deliver(&app).await;
    let command = api.command(&root, &app).await;
    let drain = insight::add_drain(&api.ctx, &root.actor, &app, None, "syslog://logs.example.com:514").await;
    let drain = drain.expect("a drain").id.to_string();
    let production = apps::environment(&api.ctx, &root.actor, &app, "production").await.expect("production");
    for name in ["store", "gone"] {
        let name = name.parse().expect("a name");
        deploy::create_volume(&api.ctx, &root.actor, &app, &production, name, true).await.expect("a volume");
    }
    deploy::destroy_volume(&api.ctx, &root.actor, &app, &production, "gone").await.expect("a tombstone");
    let webhook = insight::add_webhook(&api.ctx, &root.actor, &app, None, "https://hooks.example.com/in", &[]).await;
    let webhook = webhook.expect("a webhook").0.id.to_string();
    let person = match who {
        "anonymous" => None,
        "administrator" => Some(root),
        "outsider" => Some(api.person("outsider", None).await),
        "viewer" => Some(api.person("viewer", Some((&root.actor, Role::Viewer))).await),
        "developer" => Some(api.person("developer", Some((&root.actor, Role::Developer))).await),
        _ => Some(api.person("owner", Some((&root.actor, Role::Owner))).await),
    };
    (Stage { api, build: build.id.to_string(), deployment: deployment.id.to_string(), command, drain, webhook }, person)
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
    walk("outsider", |least| least <= Least::Caller).await;
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
    }
}
