//! Who may what: the roles of the API, and what one may not see is not there.

use super::*;

#[tokio::test]
async fn who_is_not_known_is_asked_for_credentials() {
    let site = site().await;
    let zero = digest(b"");
    let requests = [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/acme/shop/manifests/v2".to_owned()),
        ("GET", "/v2/acme/nothing/manifests/v2".to_owned()),
        ("GET", "/v2/acme/shop/tags/list".to_owned()),
        ("GET", "/v2/no such path".replace(' ', "-")),
        ("GET", format!("/v2/acme/shop/blobs/{zero}")),
        ("GET", format!("/v2/acme/shop/referrers/{zero}")),
        ("POST", "/v2/acme/shop/blobs/uploads/".to_owned()),
        ("PATCH", "/v2/acme/shop/blobs/uploads/x".to_owned()),
        ("PUT", "/v2/acme/shop/manifests/x".to_owned()),
        ("DELETE", "/v2/acme/shop/manifests/x".to_owned()),
        ("DELETE", format!("/v2/acme/shop/blobs/{zero}")),
    ];
    // ann:bad
    for headers in [&[][..], &[("authorization", "Basic YW5uOmJhZA==")], &[("authorization", "Bearer hyt_bad")]] {
        for (method, path) in &requests {
            let answer = site.send_as(None, method, path, headers, Body::empty()).await;
            assert_eq!(answer.code(), (401, "UNAUTHORIZED".to_owned()), "{method} {path} {headers:?}");
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"hythe\"");
        }
    }
    let answer = site.get("/v2/").await.is(200);
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
    assert_eq!(site.send("POST", "/v2/", &[], Body::empty()).await.code(), (405, "UNSUPPORTED".to_owned()));
}

#[tokio::test]
async fn a_viewer_pulls_and_an_outsider_sees_nothing() {
    let site = site().await;
    let manifest = site.image("acme/shop", "a").await;
    site.put("acme/shop", "one", &manifest).await.is(201);
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let upload = site.begin("acme/shop").await;
    let viewer = person(&site.ctx, "acme", "vic", Role::Viewer).await;
    let other = person(&site.ctx, "acme", "olga", Role::Developer).await;
    let outsider = person(&site.ctx, "evil", "eve", Role::Owner).await;
    let reads = [
        ("GET", "/v2/acme/shop/manifests/one".to_owned()),
        ("GET", "/v2/acme/shop/tags/list".to_owned()),
        ("GET", format!("/v2/acme/shop/blobs/{layer}")),
        ("HEAD", format!("/v2/acme/shop/blobs/{layer}")),
        ("GET", format!("/v2/acme/shop/referrers/{layer}")),
    ];
    let writes = [
        ("POST", "/v2/acme/shop/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/acme/shop/blobs/uploads/?digest={}", digest(b"x"))),
        ("PATCH", upload.clone()),
        ("PUT", format!("{upload}?digest={}", digest(b"x"))),
        ("GET", upload.clone()),
        ("DELETE", upload.clone()),
        ("PUT", "/v2/acme/shop/manifests/two".to_owned()),
        ("DELETE", "/v2/acme/shop/manifests/one".to_owned()),
        ("DELETE", format!("/v2/acme/shop/blobs/{layer}")),
    ];
    for (method, path) in &reads {
        site.send_as(Some(&viewer.token), method, path, &[], Body::empty()).await.is(200);
        site.send_as(Some(&outsider.token), method, path, &[], Body::empty()).await.is(404);
    }
    for (method, path) in &writes {
        let body = manifest.to_string();
        let refused = site.send_as(Some(&viewer.token), method, path, &[], body.clone()).await;
        assert_eq!(refused.code(), (403, "DENIED".to_owned()), "{method} {path}");
        let unseen = site.send_as(Some(&outsider.token), method, path, &[], body).await;
        assert_eq!(unseen.code(), (404, "NAME_UNKNOWN".to_owned()), "{method} {path}");
    }
    // An upload is of who began it.
    let foreign = site.send_as(Some(&other.token), "PATCH", &upload, &[], "x").await;
    assert_eq!(foreign.code(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    site.app("second").await;
    let elsewhere = upload.replace("acme/shop", "acme/second");
    assert_eq!(site.send("PATCH", &elsewhere, &[], "x").await.code(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    site.send("DELETE", &upload, &[], Body::empty()).await.is(204);
}

/// Of the person's two apps it reaches one: the other, and any that is not there, answer alike.
#[tokio::test]
async fn a_token_for_one_app_reaches_its_repository_alone() {
    let site = site().await;
    let second = site.app("second").await;
    let manifest = site.image("acme/second", "a").await;
    site.put("acme/second", "one", &manifest).await.is(201);
    let blob = manifest["layers"][0]["digest"].as_str().unwrap();
    let shop = apps::resolve(&site.ctx, &site.ann.actor, "acme/shop").await.unwrap();
    let mut tokens = Vec::new();
    for role in [Role::Viewer, Role::Developer] {
        let grant = Some((shop.clone(), role));
        let new = NewToken { name: role.to_string(), expires_in_days: Some(1), grant };
        tokens.push(accounts::create_token(&site.ctx, &site.ann.actor, new).await.unwrap().1.reveal().clone());
    }
    let (site, tokens) = (&site, &tokens);
    let ask = |token: usize, method: &'static str, path: String| async move {
        site.send_as(Some(&tokens[token]), method, &path, &[], Body::empty()).await
    };
    for repository in ["acme/second", "second", second.id.as_str(), "acme/nothing"] {
        for (method, rest) in [
            ("GET", "manifests/one".to_owned()),
            ("GET", "tags/list".to_owned()),
            ("GET", format!("blobs/{blob}")),
            ("DELETE", "manifests/one".to_owned()),
            ("POST", "blobs/uploads/".to_owned()),
        ] {
            let answer = ask(1, method, format!("/v2/{repository}/{rest}")).await;
            assert_eq!(answer.status.as_u16(), 404, "{method} {repository}/{rest}");
        }
    }
    // Nor is anything of the other taken over by its digest.
    ask(1, "POST", format!("/v2/acme/shop/blobs/uploads/?mount={blob}&from=acme/second")).await.is(202);
    ask(1, "GET", format!("/v2/acme/shop/blobs/{blob}")).await.is(404);
    ask(1, "POST", "/v2/acme/shop/blobs/uploads/".to_owned()).await.is(202);
    ask(0, "GET", "/v2/acme/shop/tags/list".to_owned()).await.is(200);
    assert_eq!(ask(0, "POST", "/v2/acme/shop/blobs/uploads/".to_owned()).await.status.as_u16(), 403);
    site.clock.advance(86_400_000);
    assert_eq!(ask(1, "GET", "/v2/".to_owned()).await.status.as_u16(), 401, "it expired");
}

/// Knowing a digest is not having its content.
#[tokio::test]
async fn content_of_others_is_taken_over_only_from_where_one_may_look() {
    let site = site().await;
    let eve = person(&site.ctx, "evil", "eve", Role::Owner).await;
    let new = NewApp { name: "trap".parse().unwrap(), organization: Some("evil".parse().unwrap()) };
    apps::create(&site.ctx, &eve.actor, new).await.unwrap();
    let secret = site.blob("acme/shop", b"secret").await;
    let manifest = site.image("acme/shop", "a").await;
    site.put("acme/shop", "one", &manifest).await.is(201);
    for from in ["&from=acme/shop", "&from=shop", "", "&from=..%2F..%2Fetc", "&from=acme/shop%00"] {
        let path = format!("/v2/evil/trap/blobs/uploads/?mount={secret}{from}");
        let answer = site.send_as(Some(&eve.token), "POST", &path, &[], Body::empty()).await.is(202);
        assert!(answer.header("location").contains("/uploads/"), "{from}");
        let path = format!("/v2/evil/trap/blobs/{secret}");
        let read = site.send_as(Some(&eve.token), "GET", &path, &[], Body::empty());
        read.await.is(404);
    }
    let stolen = site.send_as(Some(&eve.token), "PUT", "/v2/evil/trap/manifests/x", &[], manifest.to_string()).await;
    assert_eq!(stolen.code(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_MANIFEST, manifest.to_string().as_bytes())]});
    let stolen = site.send_as(Some(&eve.token), "PUT", "/v2/evil/trap/manifests/x", &[], index.to_string()).await;
    assert_eq!(stolen.code(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    assert!(stolen.message().contains("names the manifest"));
}

#[tokio::test]
async fn a_push_makes_the_app_where_the_setting_lets_it() {
    let site = site().await;
    site.begin("acme/fresh").await;
    site.get("/v2/acme/fresh/tags/list").await.is(200);
    let refused = site.send("POST", "/v2/evil/fresh/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(refused.status, 404);
    let strict = site_with(|config| config.git.create_on_push = false).await;
    let refused = strict.send("POST", "/v2/acme/fresh/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(refused.code(), (404, "NAME_UNKNOWN".to_owned()));
    assert!(refused.message().contains("hythe apps:create"), "{}", refused.message());
}
