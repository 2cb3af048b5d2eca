//! Hostile texts in every field that a person can fill: refused with a clear message, or kept and
//! shown as they are. Never a fault of the server, never a success under a name that is none.

use serde_json::{Value, json};

use super::harness::{Person, TestApi};

fn payloads() -> Vec<String> {
    let mut all: Vec<String> = [
        "$(id)",
        "`id`",
        "; id",
        "| id",
        "&& id",
        "\nid",
        "'\"; id #",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "%2e%2e%2f",
        "a\0b",
        "a\r\nX-Evil: 1",
        "\u{202e}evil",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://0177.0.0.1/",
        "file:///etc/passwd",
        "ext::sh -c id",
        "' OR '1'='1",
        "\u{1b}[2J",
        "ａｐｐ",
        "🚀",
        " ",
        "",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("x".repeat(10_000));
    all
}

async fn refused(api: &TestApi, who: &Person, method: &str, path: &str, body: &Value, field: &str) {
    let answer = api.call(method, path, Some(&who.token), Some(body)).await;
    let problem = answer.json();
    assert!(matches!(answer.status, 422 | 404), "{method} {path} {body:.80}: {} {}", answer.status, answer.text);
    if answer.status == 422 {
        let texts = problem["errors"][field].as_array().map_or(0, Vec::len);
        assert!(texts > 0, "{method} {path}: no word about {field}: {}", answer.text);
    }
    assert_eq!(answer.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let production = "/v1/apps/shop/environments/production";
    for text in payloads() {
        refused(&api, &root, "POST", "/v1/apps", &json!({"name": text}), "name").await;
        refused(&api, &root, "POST", "/v1/apps", &json!({"name": "next", "organization": text}), "organization").await;
        refused(&api, &root, "PATCH", "/v1/apps/shop", &json!({"name": text}), "name").await;
        refused(&api, &root, "PATCH", &format!("{production}/processes"), &json!({&text: 1}), &text).await;
        refused(&api, &root, "PATCH", &format!("{production}/variables"), &json!({&text: "x"}), &text).await;
        refused(&api, &root, "POST", &format!("{production}/volumes"), &json!({"name": text}), "name").await;
        let mount = format!("{production}/volumes/store/mounts/web");
        if text != "/etc/passwd" {
            refused(&api, &root, "PUT", &mount, &json!({"path": text}), "path").await;
        }
        let sizes = format!("{production}/formation");
        refused(&api, &root, "PATCH", &sizes, &json!({"web": {"size": text}}), "web").await;
        refused(&api, &root, "PATCH", &sizes, &json!({&text: {"size": "small"}}), &text).await;
        refused(&api, &root, "POST", &format!("{production}/domains"), &json!({"domain": text}), "domain").await;
        refused(&api, &root, "POST", "/v1/keys", &json!({"public_key": text}), "public_key").await;
        let named = json!({"public_key": super::verbs::KEY, "name": text});
        refused(&api, &root, "POST", "/v1/keys", &named, "name").await;
        refused(&api, &root, "POST", "/v1/tokens", &json!({"name": text}), "name").await;
        // A branch may look odd and be well; a path may too.
        for (field, body) in [("branch", json!({"branch": text})), ("check", json!({"check": text}))] {
            let answer = api.call("PATCH", production, Some(&root.token), Some(&body)).await;
            assert!(matches!(answer.status, 200 | 422), "{field} {text:.40}: {} {}", answer.status, answer.text);
        }
    }
    let apps = api.call("GET", "/v1/apps", Some(&root.token), None).await.json();
    assert_eq!(apps["items"].as_array().map(Vec::len), Some(1), "{apps}");
}

#[tokio::test]
async fn hostile_paths_and_queries_name_nothing() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    for text in payloads().iter().filter(|text| !text.is_empty() && text.len() < 1000) {
        let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        for path in [
            format!("/v1/apps/{escaped}"),
            format!("/v1/apps/shop/environments/{escaped}"),
            format!("/v1/apps/shop/environments/production/releases/{escaped}"),
            format!("/v1/apps/shop/environments/production/deployments/{escaped}"),
            format!("/v1/apps/shop/builds/{escaped}"),
            format!("/v1/{escaped}"),
        ] {
            let answer = api.call("GET", &path, Some(&root.token), None).await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        }
        for path in ["keys", "tokens"] {
            let answer = api.call("DELETE", &format!("/v1/{path}/{escaped}"), Some(&root.token), None).await;
            assert_eq!(answer.status, 404, "{path}/{escaped}: {}", answer.text);
        }
        for query in [format!("limit={escaped}"), format!("after={escaped}"), format!("what={escaped}")] {
            let answer = api.call("GET", &format!("/v1/apps?{query}"), Some(&root.token), None).await;
            assert_eq!(answer.status, 422, "{query}: {}", answer.text);
        }
    }
    for path in ["/v1/apps/%ff", "/v1/apps/%00", "/v1/apps/..%2f..%2fkeys", "/", "/v1", "/v1/apps/", "//v1/apps"] {
        assert_eq!(api.call("GET", path, Some(&root.token), None).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn values_of_variables_are_kept_as_they_are() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let path = "/v1/apps/shop/environments/production/variables";
    for text in payloads() {
        let answer = api.call("PATCH", path, Some(&root.token), Some(&json!({"VALUE": text}))).await;
        if text.contains('\0') {
            assert_eq!(answer.status, 422, "{}", answer.text);
            continue;
        }
        assert_eq!(answer.status, 200, "{text:.40}: {}", answer.text);
        let shown = api.call("GET", path, Some(&root.token), None).await.json();
        assert_eq!(shown["values"]["VALUE"], json!(text));
    }
    let long = api.call("PATCH", path, Some(&root.token), Some(&json!({"VALUE": "x".repeat(70_000)}))).await;
    assert_eq!(long.status, 422);
    assert!(long.json()["errors"]["VALUE"][0].as_str().is_some_and(|t| t.contains("65536")), "{}", long.text);
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_with_the_field() {
    let (api, root) = TestApi::start().await;
    for (body, status, word) in [
        ("", 400, "not JSON"),
        ("{", 400, "not JSON"),
        ("[]", 422, "expected struct"),
        ("null", 422, "expected struct"),
        ("{} {}", 422, "name"),
        (r#"{"name": "a"} x"#, 400, "not JSON"),
        (r#"{"name": 1}"#, 422, "name: invalid type: integer"),
        (r#"{"name": "a", "nmae": "b"}"#, 422, "unknown field `nmae`"),
        (r#"{"organization": "a"}"#, 422, "missing field `name`"),
        ("{\"name\": \"\u{7f}\"}", 422, "name: must be"),
    ] {
        let request = axum::http::Request::post("/v1/apps")
            .header("authorization", format!("Bearer {}", root.token))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_owned()));
        let answer = api.send(request.expect("a request")).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.json()["detail"].as_str().is_some_and(|d| d.contains(word)), "{body}: {}", answer.text);
    }
    let plain = axum::http::Request::post("/v1/apps")
        .header("authorization", format!("Bearer {}", root.token))
        .header("content-type", "text/plain")
        .body(axum::body::Body::from(r#"{"name":"shop"}"#));
    assert_eq!(api.send(plain.expect("a request")).await.status, 415);
    let large = axum::http::Request::post("/v1/apps")
        .header("authorization", format!("Bearer {}", root.token))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(vec![b' '; (1 << 20) + 1]));
    assert_eq!(api.send(large.expect("a request")).await.status, 413);
    // Deep nesting must not end the process.
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let request = axum::http::Request::post("/v1/apps")
        .header("authorization", format!("Bearer {}", root.token))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(deep));
    assert!(matches!(api.send(request.expect("a request")).await.status, 400 | 422));
}

/// What is run is the app's own business, inside its own container: it is kept and shown as it was said.
#[tokio::test]
async fn commands_and_schedules_are_kept_inertly_or_refused() {
    let (api, root) = TestApi::start().await;
    let app = api.app(&root, "shop").await;
    api.deliver(&app).await;
    let at = "/v1/apps/shop/environments/production";
    let token = Some(root.token.as_str());
    for text in payloads() {
        let (commands, crons) = (format!("{at}/commands"), format!("{at}/crons"));
        let body = json!({"command": ["echo", text]});
        if text.contains('\0') {
            refused(&api, &root, "POST", &commands, &body, "command").await;
        } else {
            let answer = api.call("POST", &commands, token, Some(&body)).await;
            assert_eq!((answer.status, &answer.json()["command"]), (202, &body["command"]), "{}", answer.text);
            let one = format!("{commands}/{}", answer.json()["id"].as_str().expect("an id"));
            assert_eq!(api.call("DELETE", &one, token, None).await.status, 204);
            assert_eq!(api.call("GET", &one, token, None).await.json()["state"], "failed");
        }
        for body in [
            json!({"schedule": text, "command": "true"}),
            json!({"schedule": "@daily", "command": "true", "timezone": text}),
        ] {
            refused(&api, &root, "POST", &crons, &body, "schedule").await;
        }
        let body = json!({"schedule": "@daily", "command": "true", "name": text});
        let answer = api.call("POST", &crons, token, Some(&body)).await;
        match answer.status {
            201 => assert_eq!(answer.json()["name"], text),
            _ => assert!(answer.status == 422 && answer.json()["errors"]["name"].is_array(), "{}", answer.text),
        }
        let escaped: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
        for path in [format!("commands/{escaped}"), format!("commands/{escaped}/output"), format!("crons/no{escaped}")]
        {
            let answer = api.call("GET", &format!("{at}/{path}"), token, None).await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        }
    }
    let long = json!({"command": vec!["x"; 1001]});
    refused(&api, &root, "POST", &format!("{at}/commands"), &long, "command").await;
}

#[tokio::test]
async fn buildpacks_and_packages_are_kept_inertly_or_refused() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let (at, token) = ("/v1/apps/shop/environments/production/buildpacks", Some(root.token.as_str()));
    for text in payloads() {
        let body = json!({"buildpacks": [text]});
        let answer = api.call("PUT", at, token, Some(&body)).await;
        match answer.status {
            200 => {
                assert_eq!(api.call("GET", at, token, None).await.json(), body);
                assert!(text.starts_with("http://"), "{text:?} names no buildpack: {}", answer.text);
            }
            _ => assert!(answer.status == 422 && answer.json()["errors"]["buildpacks"].is_array(), "{}", answer.text),
        }
        let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        let answer = api.call("GET", &format!("/v1/packages?package={escaped}"), token, None).await;
        match answer.status {
            200 => assert_eq!(answer.json()["items"], json!([]), "{text:?}"),
            _ => assert!(answer.status == 422 && answer.json()["errors"]["package"].is_array(), "{}", answer.text),
        }
    }
}

#[tokio::test]
async fn images_that_are_none_are_refused_before_anybody_is_asked_for_them() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let (at, token) = ("/v1/apps/shop/environments/production/sources", Some(root.token.as_str()));
    for text in payloads() {
        let answer = api.call("POST", at, token, Some(&json!({"image": text}))).await;
        assert!(answer.status == 422 && answer.json()["errors"]["image"].is_array(), "{text:?}: {}", answer.text);
    }
}
