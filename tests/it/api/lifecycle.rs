//! Set-up, apps and what follows from changing them.

use hythe::product::accounts;
use serde_json::{Value, json};

use super::harness::TestApi;

#[tokio::test]
async fn set_up_works_once_and_only_with_the_token() {
    let api = TestApi::empty().await;
    let first = accounts::ensure_setup_token(&api.ctx).await.expect("no fault").expect("a token");
    let token = accounts::ensure_setup_token(&api.ctx).await.expect("no fault").expect("a token");
    assert_ne!(first, token, "a new start makes a new one");
    let body =
        |token: &str| json!({"token": token, "name": "ann", "email": "ann@example.com", "ssh_key": super::verbs::KEY});
    for wrong in ["", "setup_", first.as_str(), &token[..token.len() - 1]] {
        let answer = api.call("POST", "/v1/setup", None, Some(&body(wrong))).await;
        assert_eq!(answer.status, 403, "{wrong}");
    }
    // A body that is wrong does not use the token up.
    for (field, value) in [("name", "Ann Smith"), ("email", "nobody"), ("ssh_key", "ssh-ed25519 AAAA")] {
        let mut wrong = body(&token);
        wrong[field] = json!(value);
        let answer = api.call("POST", "/v1/setup", None, Some(&wrong)).await;
        assert_eq!(answer.status, 422, "{field}: {}", answer.text);
    }
    let made = api.call("POST", "/v1/setup", None, Some(&body(&token))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(api.call("POST", "/v1/setup", None, Some(&body(&token))).await.status, 403);
    assert_eq!(accounts::ensure_setup_token(&api.ctx).await.expect("no fault"), None);
    let bearer = made.json()["token"].as_str().expect("a token").to_owned();
    let who = api.call("GET", "/v1/whoami", Some(&bearer), None).await.json();
    assert_eq!((&who["name"], &who["platform_admin"]), (&json!("ann"), &json!(true)));
    let keys = api.call("GET", "/v1/keys", Some(&bearer), None).await.json();
    assert_eq!(keys["items"][0]["fingerprint"], super::verbs::FINGERPRINT);
    let by_key = accounts::actor_by_fingerprint(&api.ctx, super::verbs::FINGERPRINT).await.expect("no fault");
    assert_eq!(by_key.map(|a| a.user.name.to_string()).as_deref(), Some("ann"));
}

#[tokio::test]
async fn too_many_wrong_tokens_are_told_to_wait() {
    let api = TestApi::empty().await;
    accounts::ensure_setup_token(&api.ctx).await.expect("no fault");
    let body = json!({"token": "setup_guess", "name": "ann", "email": "ann@example.com"});
    let mut last = None;
    for _ in 0..11 {
        last = Some(api.call("POST", "/v1/setup", None, Some(&body)).await);
    }
    let last = last.expect("an answer");
    assert_eq!(last.status, 429, "{}", last.text);
    assert!(last.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_app_is_made_renamed_and_destroyed_with_its_host() {
    let (api, root) = TestApi::start().await;
    let token = Some(root.token.as_str());
    let made = api.call("POST", "/v1/apps", token, Some(&json!({"name": "shop"}))).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["url"], "http://shop.localhost:8080");
    assert_eq!(made.json()["git_url"], "ssh://git@localhost:2222/shop.git");
    assert_eq!(made.json()["git_http_url"], "http://hythe.localhost:8080/shop.git");
    assert_eq!(api.call("POST", "/v1/apps", token, Some(&json!({"name": "shop"}))).await.status, 409);
    for reserved in ["hythe", "api", "www"] {
        assert_eq!(api.call("POST", "/v1/apps", token, Some(&json!({"name": reserved}))).await.status, 422);
    }
    let renamed = api.call("PATCH", "/v1/apps/shop", token, Some(&json!({"name": "store"}))).await;
    assert_eq!(renamed.json()["url"], "http://store.localhost:8080", "{}", renamed.text);
    assert_eq!(api.call("GET", "/v1/apps/shop", token, None).await.status, 404);
    // The old host is free again.
    assert_eq!(api.call("POST", "/v1/apps", token, Some(&json!({"name": "shop"}))).await.status, 201);
    assert_eq!(api.call("PATCH", "/v1/apps/shop", token, Some(&json!({"name": "store"}))).await.status, 409);
    assert_eq!(api.call("DELETE", "/v1/apps/store", token, None).await.status, 204);
    assert_eq!(api.call("DELETE", "/v1/apps/store", token, None).await.status, 404);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let (api, root) = TestApi::start().await;
    for name in ["a", "b", "c"] {
        api.app(&root, name).await;
    }
    let token = Some(root.token.as_str());
    let first = api.call("GET", "/v1/apps?limit=2", token, None).await;
    assert_eq!((&first.json()["items"][1]["name"], &first.json()["next"]), (&json!("b"), &json!("b")));
    assert_eq!(first.headers["link"], "<?after=b&limit=2>; rel=\"next\"");
    let second = api.call("GET", "/v1/apps?limit=2&after=b", token, None).await.json();
    assert_eq!((&second["items"][0]["name"], &second["next"]), (&json!("c"), &Value::Null));
}

#[tokio::test]
async fn scaling_and_checking_write_the_spec() {
    let (api, root) = TestApi::start().await;
    let app = api.app(&root, "shop").await;
    let token = Some(root.token.as_str());
    let (production, processes) =
        ("/v1/apps/shop/environments/production", "/v1/apps/shop/environments/production/processes");
    assert_eq!(api.call("POST", &format!("{production}/restart"), token, None).await.status, 409, "nothing runs");
    api.deliver(&app).await;
    let scaled = api.call("PATCH", processes, token, Some(&json!({"web": 3}))).await.json();
    assert_eq!((&scaled["items"][0]["name"], &scaled["items"][0]["wanted"]), (&json!("web"), &json!(3)));
    assert_eq!(scaled["items"].as_array().map(Vec::len), Some(1), "the release process is no process type");
    for (body, word) in [
        (json!({"worker": 1}), "it has web"),
        (json!({"web": 101}), "must be 0 to 100"),
        (json!({"release": 1}), "runs once"),
        (json!({"web": -1}), "invalid value"),
    ] {
        let answer = api.call("PATCH", processes, token, Some(&body)).await;
        assert!(answer.status == 422 && answer.text.contains(word), "{body}: {}", answer.text);
    }
    let checked = api.call("PATCH", production, token, Some(&json!({"check": "/up", "branch": "trunk"}))).await.json();
    assert_eq!((&checked["check"], &checked["branch"]), (&json!("/up"), &json!("trunk")));
    let back = api.call("PATCH", production, token, Some(&json!({"check": null}))).await.json();
    assert_eq!((&back["check"], &back["branch"]), (&Value::Null, &json!("trunk")));
    let stopped = api.call("PATCH", production, token, Some(&json!({"stopped": true}))).await.json();
    assert_eq!(stopped["stopped"], true);
}

#[tokio::test]
async fn variables_are_versioned_and_sealed_at_rest() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let (token, path) = (Some(root.token.as_str()), "/v1/apps/shop/environments/production/variables");
    assert_eq!(api.call("GET", path, token, None).await.json(), json!({"version": 0, "values": {}}));
    let set = api.call("PATCH", path, token, Some(&json!({"KEY": "hunter2", "B": "1"}))).await;
    assert_eq!(set.json(), json!({"version": 1, "deployment": null}), "{}", set.text);
    let same = api.call("PATCH", path, token, Some(&json!({"KEY": "hunter2", "GONE": null}))).await.json();
    assert_eq!(same["version"], 1, "nothing changed");
    let changed = api.call("PATCH", path, token, Some(&json!({"B": null}))).await.json();
    assert_eq!(changed["version"], 2);
    assert_eq!(api.call("GET", path, token, None).await.json(), json!({"version": 2, "values": {"KEY": "hunter2"}}));
    let mut tx = api.ctx.store.read().await.expect("a transaction");
    let environments = hythe::state::store::environments::all(&mut tx).await.expect("environments");
    let row = hythe::state::store::variables::at(&mut tx, &environments[0].0.id, 1).await.expect("no fault");
    let sealed = row.expect("version 1").sealed;
    assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
}

#[tokio::test]
async fn output_is_text_or_events() {
    let (api, root) = TestApi::start().await;
    let app = api.app(&root, "shop").await;
    api.deliver(&app).await;
    let path = "/v1/apps/shop/builds/latest/output?follow=true";
    let plain = api.call("GET", path, Some(&root.token), None).await;
    assert_eq!(plain.text, "-----> Node.js detected\n");
    let request = axum::http::Request::get(path)
        .header("authorization", format!("Bearer {}", root.token))
        .header("accept", "text/event-stream")
        .body(axum::body::Body::empty());
    let events = api.send(request.expect("a request")).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.text, "data: -----> Node.js detected\n\n");
}

#[tokio::test]
async fn every_answer_has_an_id_and_every_refusal_is_a_problem() {
    let (api, root) = TestApi::start().await;
    let health = api.call("GET", "/v1/healthz", None, None).await;
    assert_eq!((health.status, health.headers["request-id"].len()), (200, 32));
    for (method, path, token, status, kind) in [
        ("GET", "/nowhere", None, 404, "no-such-path"),
        ("PUT", "/v1/apps", Some(root.token.as_str()), 405, "no-such-method"),
        ("GET", "/v1/apps", None, 401, "unauthenticated"),
        ("GET", "/v1/apps/shop", Some(root.token.as_str()), 404, "not-found"),
        ("POST", "/v1/apps", Some(root.token.as_str()), 415, "unsupported-media-type"),
    ] {
        let answer = api.call(method, path, token, None).await;
        let problem = answer.json();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert_eq!(problem["type"], format!("urn:hythe:problem:{kind}"));
        assert_eq!(problem["request_id"], answer.headers["request-id"].to_str().expect("text"));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn the_document_is_served_and_whole() {
    let (api, _) = TestApi::start().await;
    let document = api.call("GET", "/v1/openapi.json", None, None).await.json();
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")));
    assert_eq!(document["security"], json!([{"token": []}]));
    assert_eq!(document["paths"]["/v1/setup"]["post"]["security"], json!([{}]));
    // Each `$ref` leads somewhere, each parameter of a path is described once.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let mut names: Vec<_> =
                operation["parameters"].as_array().into_iter().flatten().map(|p| p["name"].to_string()).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(all, names.len(), "{method} {path} describes a parameter twice");
            let wanted = path.matches('{').count();
            let described =
                operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path").count();
            assert_eq!(wanted, described, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn checks_are_merged_and_refused_with_their_field() {
    let (api, root) = TestApi::start().await;
    let app = api.app(&root, "shop").await;
    api.deliver(&app).await;
    let (token, path) = (Some(root.token.as_str()), "/v1/apps/shop/environments/production/checks");
    let seen = api.call("GET", path, token, None).await.json();
    assert_eq!((&seen["items"][0]["origin"], &seen["items"][0]["tcp"]), (&json!("default"), &json!(true)), "{seen}");
    let both = json!({"web": {
        "readiness": {"path": "/up", "status": 204, "every": 0.1, "attempts": 2},
        "liveness": {"command": ["test", "-f", "/tmp/a b"], "delay": 10},
    }});
    let seen = api.call("PATCH", path, token, Some(&both)).await.json();
    let kinds: Vec<_> = seen["items"].as_array().expect("items").iter().map(|i| i["kind"].clone()).collect();
    assert_eq!(kinds, ["readiness", "liveness"], "{seen}");
    assert_eq!(seen["items"][0]["every"], json!(0.1));
    let seen = api.call("PATCH", path, token, Some(&json!({"web": {"liveness": null}}))).await.json();
    assert_eq!(seen["items"].as_array().map(Vec::len), Some(1), "null takes one away and leaves the other: {seen}");
    let detail = api.call("GET", "/v1/apps/shop/environments/production", token, None).await.json();
    assert_eq!((&detail["check"], &detail["wanted"]["number"]), (&json!("/up"), &json!(3)));
    let description = &detail["wanted"]["description"];
    assert_eq!((description, &detail["wanted"]["kind"]), (&json!("unset check web liveness"), &json!("settings")));
    for (body, field) in [
        (json!({"web": {"readiness": {"path": "up"}}}), "web.readiness.path"),
        (json!({"web": {"readiness": {"path": "/up", "every": 0.01}}}), "web.readiness.every"),
        (json!({"web": {"readiness": {"path": "/up", "tcp": true}}}), "web.readiness"),
        (json!({"web": {"readiness": {"tcp": true, "status": 200}}}), "web.readiness"),
        (json!({"worker": {"readiness": {"tcp": true}}}), "worker"),
        (json!({"web": {"health": {"tcp": true}}}), "web"),
    ] {
        let refused = api.call("PATCH", path, token, Some(&body)).await;
        assert_eq!(refused.status, 422, "{body}: {}", refused.text);
        let errors = refused.json()["errors"].clone();
        assert!(errors.as_object().is_some_and(|e| e.keys().any(|k| k.starts_with(field))), "{field}: {errors}");
    }
}

#[tokio::test]
async fn environments_have_hosts_that_follow_the_apps_name() {
    let (api, root) = TestApi::start().await;
    let other = api.person("other", None).await;
    let token = Some(root.token.as_str());
    api.app(&root, "shop").await;
    let made = api.call("POST", "/v1/apps/shop/environments", token, Some(&json!({"name": "staging"}))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    assert_eq!((&made["branch"], &made["urls"][0]), (&json!("staging"), &json!("http://staging--shop.localhost:8080")));
    assert_eq!(api.call("PATCH", "/v1/apps/shop", token, Some(&json!({"name": "store"}))).await.status, 200);
    let path = "/v1/apps/store/environments/staging";
    let shown = api.call("GET", path, token, None).await.json();
    assert_eq!(shown["urls"][0], "http://staging--store.localhost:8080");
    // A namesake of another organization takes the longer one.
    let theirs = Some(other.token.as_str());
    api.app(&other, "store").await;
    let made = api.call("POST", "/v1/apps/store/environments", theirs, Some(&json!({"name": "staging"}))).await.json();
    assert_eq!(made["urls"][0], "http://staging--store-other.localhost:8080");
    let long = json!({"name": "a".repeat(30)});
    api.app(&root, &"b".repeat(40)).await;
    let refused = api.call("POST", &format!("/v1/apps/{}/environments", "b".repeat(40)), token, Some(&long)).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert_eq!(api.call("DELETE", path.replace("store", "default%2Fstore").as_str(), token, None).await.status, 204);
    assert_eq!(api.call("GET", path.replace("store", "default%2Fstore").as_str(), token, None).await.status, 404);
}
