//! What releases bring, to who pulls.

use super::*;

/// Four releases of `acme/shop`, the last with an image that was cleaned up; one of `acme/other`.
struct Shop {
    site: Site,
    image: ImageDigest,
    foreign: ImageDigest,
}

fn image(blobs: &BlobStore, name: &str) -> ImageDigest {
    let mut layer = LayerWriter::new(blobs);
    layer.file(name, 0o644, (0, 0), name.as_bytes()).unwrap();
    let layers = vec![AddedLayer { layer: layer.finish().unwrap(), created_by: "test".to_owned() }];
    assemble(blobs, &ImageSpec { layers, ..ImageSpec::default() }).unwrap()
}

async fn release(site: &Site, app: &App, number: i64, image: &ImageDigest, gone: bool) -> Release {
    let mut tx = site.ctx.store.begin().await.unwrap();
    let environment = store::environments::of_app(&mut tx, &Scope::Platform, &app.id).await.unwrap().remove(0);
    let release = Release {
        id: ReleaseId::fresh(),
        environment_id: environment.id,
        number,
        build_id: None,
        commit: None,
        image: image.clone(),
        processes: BTreeMap::new(),
        variables_version: 0,
        formation: BTreeMap::new(),
        scaling: Default::default(),
        hosts: Vec::new(),
        manifest: Manifest::default(),
        checks: Checks::new(),
        sizes: Default::default(),
        mounts: Default::default(),
        kind: ReleaseKind::Rollout,
        description: "push".into(),
        created_by: None,
        created_at: site.ctx.now(),
        image_gone_at: None,
    };
    store::releases::insert(&mut tx, &release).await.unwrap();
    if gone {
        assert!(store::releases::give_up_image(&mut tx, &release.id, site.ctx.now()).await.unwrap());
    }
    tx.commit().await.unwrap();
    release
}

async fn shop() -> Shop {
    let site = site().await;
    let (one, two, foreign) = (image(&site.blobs, "one"), image(&site.blobs, "two"), image(&site.blobs, "foreign"));
    let app = apps::resolve(&site.ctx, &site.ann.actor, "acme/shop").await.unwrap();
    let other = site.app("other").await;
    release(&site, &app, 1, &one, false).await;
    release(&site, &app, 2, &two, false).await;
    release(&site, &app, 10, &Digest::of(b"cleaned up").to_image(), true).await;
    release(&site, &other, 1, &foreign, false).await;
    Shop { site, image: two, foreign }
}

#[tokio::test]
async fn manifests_come_by_tag_and_digest() {
    let Shop { site, image, .. } = shop().await;
    let stored = site.blobs.read(&Digest::from(&image)).unwrap();
    for reference in ["v2", "latest", "production", image.as_str()] {
        for name in ["acme/shop", "shop"] {
            let answer = site.get(&format!("/v2/{name}/manifests/{reference}")).await.is(200);
            assert_eq!(answer.body, stored);
            assert_eq!(answer.header("docker-content-digest"), image.as_str());
            assert_eq!(answer.header("content-type"), OCI_MANIFEST);
        }
    }
    let head = site.send("HEAD", "/v2/acme/shop/manifests/v2", &[], Body::empty()).await.is(200);
    assert_eq!((head.body.len(), head.header("content-length")), (0, stored.len().to_string().as_str()));
    assert_eq!(head.header("docker-content-digest"), image.as_str());
}

#[tokio::test]
async fn a_manifest_is_sent_only_to_who_takes_its_form() {
    let Shop { site, .. } = shop().await;
    for (accept, status) in [
        (OCI_MANIFEST, 200),
        (&format!("application/vnd.docker.distribution.manifest.v2+json, {OCI_MANIFEST};q=0.5") as &str, 200),
        ("*/*", 200),
        ("application/vnd.docker.distribution.manifest.v2+json", 404),
    ] {
        site.send("GET", "/v2/acme/shop/manifests/v2", &[("accept", accept)], Body::empty()).await.is(status);
    }
}

#[tokio::test]
async fn blobs_come_whole_and_in_parts() {
    let Shop { site, image, .. } = shop().await;
    let facts = inspect(&site.blobs, &image).unwrap();
    let layer = facts.layers[0].digest;
    let path = format!("/v2/acme/shop/blobs/{layer}");
    let content = site.blobs.read(&layer).unwrap();
    let whole = site.get(&path).await.is(200);
    assert_eq!(whole.body, content);
    assert_eq!(whole.header("docker-content-digest"), layer.to_string());
    let part = site.send("GET", &path, &[("range", "bytes=512-514")], Body::empty()).await.is(206);
    assert_eq!(part.body, b"two");
    assert_eq!(part.header("content-range"), format!("bytes 512-514/{}", content.len()));
    let beyond = site.send("GET", &path, &[("range", "bytes=99999-")], Body::empty()).await;
    assert_eq!(beyond.code(), (416, "RANGE_INVALID".to_owned()));
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", content.len()));
    let head = site.send("HEAD", &path, &[], Body::empty()).await.is(200);
    assert_eq!((head.body.len(), head.header("content-length")), (0, content.len().to_string().as_str()));
    site.get(&format!("/v2/acme/shop/blobs/{}", facts.config)).await.is(200);
}

#[tokio::test]
async fn blobs_and_manifests_of_other_apps_do_not_exist() {
    let Shop { site, foreign, .. } = shop().await;
    let facts = inspect(&site.blobs, &foreign).unwrap();
    for digest in [facts.layers[0].digest, facts.config, Digest::from(&foreign), Digest::of(b"nowhere")] {
        let answer = site.get(&format!("/v2/acme/shop/blobs/{digest}")).await;
        assert_eq!(answer.code(), (404, "BLOB_UNKNOWN".to_owned()));
    }
    let answer = site.get(&format!("/v2/acme/shop/manifests/{foreign}")).await;
    assert_eq!(answer.code(), (404, "MANIFEST_UNKNOWN".to_owned()));
    // a document in the store that no release names
    let orphan = site.blobs.put_bytes(b"{}").unwrap();
    site.get(&format!("/v2/acme/shop/manifests/{orphan}")).await.is(404);
    assert_eq!(site.get("/v2/acme/shop/manifests/v10").await.code(), (404, "MANIFEST_UNKNOWN".to_owned()));
    for path in ["/v2/acme/nothing/tags/list", "/v2/acme/nothing/manifests/v1", "/v2/a/b/c/manifests/v1", "/v2/acme"] {
        assert_eq!(site.get(path).await.code(), (404, "NAME_UNKNOWN".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn tags_of_releases_and_pushed_ones_are_one_list_and_releases_cannot_be_overwritten() {
    let Shop { site, image, .. } = shop().await;
    let manifest = site.image("acme/shop", "mine").await;
    site.put("acme/shop", "u9", &manifest).await.is(201);
    let all = site.get("/v2/acme/shop/tags/list").await;
    assert_eq!(all.json(), json!({"name": "acme/shop", "tags": ["latest", "production", "u9", "v1", "v2"]}));
    assert_eq!(all.header("link"), "");
    let first = site.get("/v2/acme/shop/tags/list?n=3").await;
    assert_eq!(first.json()["tags"], json!(["latest", "production", "u9"]));
    assert_eq!(first.header("link"), "</v2/acme/shop/tags/list?n=3&last=u9>; rel=\"next\"");
    let second = site.get("/v2/acme/shop/tags/list?n=3&last=u9").await;
    assert_eq!((second.json()["tags"].clone(), second.header("link")), (json!(["v1", "v2"]), ""));
    assert_eq!(site.get("/v2/acme/shop/tags/list?n=0").await.json()["tags"], json!([]));
    assert_eq!(site.get("/v2/acme/shop/tags/list?n=x").await.code().1, "PAGINATION_NUMBER_INVALID");

    for tag in ["v1", "v3", "v0042"] {
        let refused = site.put("acme/shop", tag, &manifest).await;
        assert_eq!(refused.code(), (403, "DENIED".to_owned()), "{tag}");
        assert!(refused.message().contains("name of a release"));
    }
    assert_eq!(site.delete("/v2/acme/shop/manifests/v1").await.code(), (403, "DENIED".to_owned()));
    assert_eq!(site.delete("/v2/acme/shop/manifests/latest").await.code(), (403, "DENIED".to_owned()));
    let layer = inspect(&site.blobs, &image).unwrap().layers[0].digest;
    assert_eq!(site.delete(&format!("/v2/acme/shop/blobs/{layer}")).await.code(), (403, "DENIED".to_owned()));
    site.get("/v2/acme/shop/manifests/v1").await.is(200);
}

/// An image on top of what a release runs: its layers are in the repository already, and stay when the release goes.
#[tokio::test]
async fn layers_of_releases_can_be_named_and_mounted() {
    let Shop { site, image, foreign } = shop().await;
    let layer = inspect(&site.blobs, &image).unwrap().layers[0];
    let config = site.blob("acme/shop", b"{}").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(CONFIG, b"{}"),
        "layers": [{"mediaType": LAYER, "digest": layer.digest.to_string(), "size": layer.size}],
    });
    site.put("acme/shop", "above", &manifest).await.is(201);
    site.delete(&format!("/v2/acme/shop/blobs/{config}")).await.is(202);
    let kept = crate::product::images::kept(&site.ctx).await.unwrap();
    assert!(kept.iter().any(|(_, blob)| blob.as_str() == layer.digest.to_string()));

    let foreign = inspect(&site.blobs, &foreign).unwrap().layers[0].digest;
    let stolen = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(CONFIG, b"{}"),
        "layers": [{"mediaType": LAYER, "digest": foreign.to_string(), "size": 1}],
    });
    site.blob("acme/shop", b"{}").await;
    assert_eq!(site.put("acme/shop", "stolen", &stolen).await.code(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    let mount = format!("/v2/acme/shop/blobs/uploads/?mount={foreign}&from=acme/other");
    site.send("POST", &mount, &[], Body::empty()).await.is(201);
    site.put("acme/shop", "mounted", &stolen).await.is(201);
}
