//! Each case of the public conformance suite of the distribution specification, 1.1 and what is to follow it, with all of
//! its options: pull, push, content discovery, content management.

use super::*;
use crate::machinery::image::{DOCKER_LIST, DOCKER_MANIFEST};

const REPO: &str = "acme/shop";

async fn stored(site: &Site, location: &str, content: &[u8]) {
    let found = site.get(location).await.is(200);
    assert_eq!((found.body.as_slice(), found.header("content-length")), (content, &*content.len().to_string()));
}

/// Both digests of the content.
fn both(content: &[u8]) -> [String; 2] {
    [digest(content), digest_512(content)]
}

#[tokio::test]
async fn a_blob_in_one_request() {
    let site = site().await;
    for content in [&b"some content"[..], b"{}", b""] {
        for digest in both(content) {
            let path = format!("/v2/{REPO}/blobs/{digest}");
            assert_eq!(site.get(&path).await.code(), (404, "BLOB_UNKNOWN".to_owned()));
            let post = format!("/v2/{REPO}/blobs/uploads/?digest={digest}");
            let pushed =
                site.send("POST", &post, &[("content-type", "application/octet-stream")], content).await.is(201);
            assert_eq!(pushed.header("docker-content-digest"), digest);
            stored(&site, pushed.header("location"), content).await;
            let head = site.send("HEAD", &path, &[], Body::empty()).await.is(200);
            assert_eq!(head.header("docker-content-digest"), digest);
            assert_eq!((head.body.len(), head.header("content-length")), (0, &*content.len().to_string()));
            site.delete(&path).await.is(202);
            assert_eq!(site.head(&path).await, 404);
            site.delete(&path).await.is(404);
        }
    }
}

#[tokio::test]
async fn a_blob_by_post_and_put() {
    let site = site().await;
    for digest in both(b"content") {
        let location = site.begin(REPO).await;
        let put = format!("{location}?digest={digest}");
        let pushed = site.send("PUT", &put, &[], "content").await.is(201);
        assert_eq!(pushed.header("docker-content-digest"), digest);
        stored(&site, pushed.header("location"), b"content").await;
    }
}

#[tokio::test]
async fn a_blob_streamed() {
    let site = site().await;
    for digest in both(b"content") {
        let location = site.begin(REPO).await;
        let patched = site.send("PATCH", &location, &[], "content").await.is(202);
        assert_eq!(patched.header("range"), "0-6");
        let put = format!("{}?digest={digest}", patched.header("location"));
        let pushed = site.send("PUT", &put, &[("content-length", "0")], Body::empty()).await.is(201);
        stored(&site, pushed.header("location"), b"content").await;
    }
}

/// Three parts, the last with the PUT or before it, and in between a part that comes out of order.
#[tokio::test]
async fn a_blob_in_parts() {
    let site = site().await;
    let content: Vec<u8> = (0..3067_u32).map(|n| (n % 251) as u8).collect();
    for (digest, put_last) in both(&content).into_iter().flat_map(|d| [(d.clone(), false), (d, true)]) {
        let mut location = site.begin(REPO).await;
        let mut sent = 0;
        while sent < content.len() {
            // Ahead, or back to the beginning.
            let bad = if sent + 1024 < content.len() { sent + 1024 } else { 0 };
            let bad_end = (bad + 1024).min(content.len());
            let range = format!("{bad}-{}", bad_end - 1);
            let last = put_last && bad_end == content.len();
            let (method, address) =
                if last { ("PUT", format!("{location}?digest={digest}")) } else { ("PATCH", location) };
            let refused =
                site.send(method, &address, &[("content-range", &range)], content[bad..bad_end].to_vec()).await;
            assert_eq!(refused.status, 416, "{range} after {sent}");
            location = refused.header("location").to_owned();
            let status = site.get(&location).await.is(204);
            assert_eq!(status.header("range"), format!("0-{}", sent.max(1) - 1));
            assert_eq!(status.header("location"), location);

            let end = (sent + 1024).min(content.len());
            let range = format!("{sent}-{}", end - 1);
            let part = content[sent..end].to_vec();
            let length = part.len().to_string();
            let headers = [("content-range", range.as_str()), ("content-length", length.as_str())];
            sent = end;
            if put_last && end == content.len() {
                let put = format!("{location}?digest={digest}");
                let pushed = site.send("PUT", &put, &headers, part).await.is(201);
                stored(&site, pushed.header("location"), &content).await;
                break;
            }
            let patched = site.send("PATCH", &location, &headers, part).await.is(202);
            assert_eq!(patched.header("range"), format!("0-{}", end - 1));
            location = patched.header("location").to_owned();
        }
        if !put_last {
            let put = format!("{location}?digest={digest}");
            let pushed = site.send("PUT", &put, &[], Body::empty()).await.is(201);
            stored(&site, pushed.header("location"), &content).await;
        }
        assert_eq!(site.get(&location).await.code(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()), "it has ended");
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing() {
    let site = site().await;
    for digest in both(b"right") {
        let path = format!("/v2/{REPO}/blobs/uploads/?digest={digest}");
        assert_eq!(site.send("POST", &path, &[], "wrong").await.code(), (400, "DIGEST_INVALID".to_owned()));
        let location = site.begin(REPO).await;
        let put = format!("{location}?digest={digest}");
        assert_eq!(site.send("PUT", &put, &[], "wrong").await.code(), (400, "DIGEST_INVALID".to_owned()));
        let location = site.begin(REPO).await;
        site.send("PATCH", &location, &[("content-range", "0-4")], "wrong").await.is(202);
        let put = format!("{location}?digest={digest}");
        assert_eq!(site.send("PUT", &put, &[], Body::empty()).await.code().0, 400);
        site.get(&location).await.is(404);
        site.get(&format!("/v2/{REPO}/blobs/{digest}")).await.is(404);
    }
    assert_eq!(site.pushed_bytes().await, 0);
}

#[tokio::test]
async fn an_upload_is_cancelled() {
    let site = site().await;
    let location = site.begin(REPO).await;
    site.send("PATCH", &location, &[], "x").await.is(202);
    site.delete(&location).await.is(204);
    assert_eq!(site.delete(&location).await.code(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    assert_eq!(std::fs::read_dir(site.dir.path().join("blobs/incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_blob_is_mounted() {
    let site = site().await;
    site.app("second").await;
    for (n, from) in ["&from=acme/second", "&from=second", ""].into_iter().enumerate() {
        for digest in both(format!("content {n}").as_bytes()) {
            let content = format!("content {n}");
            let post = format!("/v2/acme/second/blobs/uploads/?digest={digest}");
            site.send("POST", &post, &[], content.clone()).await.is(201);
            let mount = format!("/v2/{REPO}/blobs/uploads/?mount={digest}{from}");
            let mounted = site.send("POST", &mount, &[], Body::empty()).await.is(201);
            assert_eq!(mounted.header("docker-content-digest"), digest);
            stored(&site, mounted.header("location"), content.as_bytes()).await;
            site.delete(&format!("/v2/{REPO}/blobs/{digest}")).await.is(202);
            site.get(&format!("/v2/acme/second/blobs/{digest}")).await.is(200);
        }
    }
    let mount = format!("/v2/{REPO}/blobs/uploads/?mount={}&from=acme/second", digest(b"missing"));
    let begun = site.send("POST", &mount, &[], Body::empty()).await.is(202);
    let put = format!("{}?digest={}", begun.header("location"), digest(b"missing"));
    site.send("PUT", &put, &[], "missing").await.is(201);
}

#[tokio::test]
async fn parts_of_a_blob_are_read() {
    let site = site().await;
    let content: Vec<u8> = (0..2048_u32).map(|n| (n % 253) as u8).collect();
    let path = format!("/v2/{REPO}/blobs/{}", site.blob(REPO, &content).await);
    for (range, first, last) in
        [("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047)]
    {
        let found = site.send("GET", &path, &[("range", &format!("bytes={range}"))], Body::empty()).await.is(206);
        assert_eq!(found.body, content[first..=last], "{range}");
        assert_eq!(found.header("content-length"), (last - first + 1).to_string());
        assert_eq!(found.header("content-range"), format!("bytes {first}-{last}/2048"));
    }
    for range in ["500-0", "5000-10000"] {
        site.send("GET", &path, &[("range", &format!("bytes={range}"))], Body::empty()).await.is(416);
    }
}

#[tokio::test]
async fn manifests_by_tag_and_digest() {
    let site = site().await;
    let manifest = site.image(REPO, "a").await;
    let text = manifest.to_string();
    let digest = digest(text.as_bytes());
    assert_eq!(site.get(&format!("/v2/{REPO}/manifests/{digest}")).await.code(), (404, "MANIFEST_UNKNOWN".to_owned()));
    assert_eq!(site.get(&format!("/v2/{REPO}/manifests/missing")).await.code(), (404, "MANIFEST_UNKNOWN".to_owned()));
    for reference in [digest.as_str(), "test0", "Test_1.x-y", "test0"] {
        let put = site.put(REPO, reference, &manifest).await.is(201);
        assert_eq!(put.header("docker-content-digest"), digest);
        assert_eq!(put.header("oci-subject"), "");
        for path in [put.header("location").to_owned(), format!("/v2/{REPO}/manifests/{reference}")] {
            let found =
                site.send("GET", &path, &[("accept", OCI_INDEX), ("accept", OCI_MANIFEST)], Body::empty()).await;
            let found = found.is(200);
            assert_eq!(found.body, text.as_bytes());
            assert_eq!(found.header("content-type"), OCI_MANIFEST);
            assert_eq!(found.header("content-length"), text.len().to_string());
            assert_eq!(found.header("docker-content-digest"), digest);
            let head = site.send("HEAD", &path, &[], Body::empty()).await.is(200);
            assert_eq!((head.body.len(), head.header("content-length")), (0, &*text.len().to_string()));
            assert_eq!(head.header("content-type"), OCI_MANIFEST);
        }
    }
    // Without a type it is what it says itself, also of Docker's types, and fields that nobody knows stay.
    let mut other = manifest.clone();
    other["own"] = json!({"field": [1, null]});
    other["mediaType"] = json!(DOCKER_MANIFEST);
    site.send("PUT", &format!("/v2/{REPO}/manifests/other"), &[], other.to_string()).await.is(201);
    let found = site.get(&format!("/v2/{REPO}/manifests/other")).await.is(200);
    assert_eq!((found.header("content-type"), &found.body), (DOCKER_MANIFEST, &other.to_string().into_bytes()));
}

#[tokio::test]
async fn manifests_with_digests_of_sha512_and_tags_in_the_query() {
    let site = site().await;
    let manifest = site.image(REPO, "a").await;
    let text = manifest.to_string();
    for (n, digest) in both(text.as_bytes()).into_iter().enumerate() {
        let path = format!("/v2/{REPO}/manifests/{digest}?tag=a{n}&tag=b{n}");
        let put = site.send("PUT", &path, &[("content-type", OCI_MANIFEST)], text.clone()).await.is(201);
        let tags: Vec<_> = put.headers.get_all("oci-tag").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(tags, [format!("a{n}"), format!("b{n}")]);
        assert_eq!(put.header("docker-content-digest"), digest);
        for reference in [&digest, &format!("a{n}"), &format!("b{n}")] {
            let found = site.get(&format!("/v2/{REPO}/manifests/{reference}")).await.is(200);
            assert_eq!((found.body.as_slice(), found.header("docker-content-digest")), (text.as_bytes(), &*digest));
        }
    }
    // An image whose parts are all named by SHA-512.
    let (config, layer) = (b"{\"a\":1}", b"layer");
    for content in [&config[..], &layer[..]] {
        let path = format!("/v2/{REPO}/blobs/uploads/?digest={}", digest_512(content));
        site.send("POST", &path, &[], content.to_vec()).await.is(201);
    }
    let long = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_512(config), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": digest_512(layer), "size": layer.len()}],
    });
    let reference = digest_512(long.to_string().as_bytes());
    site.put(REPO, &reference, &long).await.is(201);
    site.get(&format!("/v2/{REPO}/manifests/{reference}")).await.is(200);
}

#[tokio::test]
async fn indexes_within_indexes_and_empty_ones() {
    let site = site().await;
    let (one, two) = (site.image(REPO, "one").await, site.image(REPO, "two").await);
    for manifest in [&one, &two] {
        site.put(REPO, &digest(manifest.to_string().as_bytes()), manifest).await.is(201);
    }
    let index = |below: &[(&str, &Value)]| {
        let below: Vec<_> = below.iter().map(|(kind, m)| descriptor(kind, m.to_string().as_bytes())).collect();
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": below})
    };
    let first = index(&[(OCI_MANIFEST, &one), (OCI_MANIFEST, &two)]);
    site.put(REPO, "index", &first).await.is(201);
    assert_eq!(site.get(&format!("/v2/{REPO}/manifests/index")).await.header("content-type"), OCI_INDEX);
    site.put(REPO, "nested", &index(&[(OCI_INDEX, &first)])).await.is(201);
    site.put(REPO, "empty", &index(&[])).await.is(201);
    let mut list = first.clone();
    list["mediaType"] = json!(DOCKER_LIST);
    site.put(REPO, "list", &list).await.is(201);
    let missing = site.put(REPO, "missing", &index(&[(OCI_MANIFEST, &json!({"x": 1}))])).await;
    assert_eq!(missing.code(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn images_of_every_shape() {
    let site = site().await;
    let image = site.image(REPO, "a").await;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = image.clone();
        change(&mut value);
        value
    };
    let foreign = json!({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": digest(b"elsewhere"), "size": 123_456, "urls": ["https://store.example.com/x"]});
    site.blob(REPO, b"{}").await;
    let large: BTreeMap<_, _> = (0..390).map(|n| (format!("large-annotation-{n}"), "A".repeat(10_000))).collect();
    let shapes = [
        ("no-layers", changed(&|v| v["layers"] = json!([]))),
        ("foreign-layers", changed(&|v| v["layers"].as_array_mut().unwrap().insert(0, foreign.clone()))),
        ("data-field", changed(&|v| v["layers"][0]["data"] = json!("bGF5ZXIgYQ=="))),
        ("custom-fields", changed(&|v| v["org.example"] = json!({"a": [1, 2]}))),
        ("large", changed(&|v| v["annotations"] = json!(large))),
        (
            "artifact",
            changed(&|v| {
                v["artifactType"] = json!("application/vnd.example");
                v["config"] = descriptor("application/vnd.oci.empty.v1+json", b"{}");
                v["layers"] = json!([descriptor("application/vnd.oci.empty.v1+json", b"{}")]);
            }),
        ),
    ];
    for (name, manifest) in &shapes {
        site.put(REPO, name, manifest).await.is(201);
        let found = site.get(&format!("/v2/{REPO}/manifests/{name}")).await.is(200);
        assert_eq!(found.body, manifest.to_string().into_bytes(), "{name}");
    }
}

#[tokio::test]
async fn a_manifest_under_a_wrong_digest_or_a_wrong_name() {
    let site = site().await;
    let manifest = site.image(REPO, "a").await;
    for wrong in both(b"something else") {
        assert_eq!(site.put(REPO, &wrong, &manifest).await.code(), (400, "DIGEST_INVALID".to_owned()));
        site.get(&format!("/v2/{REPO}/manifests/{wrong}")).await.is(404);
    }
    let bad = "sha256:baddigeststring";
    assert_eq!(site.put(REPO, bad, &manifest).await.code(), (400, "DIGEST_INVALID".to_owned()));
    site.get(&format!("/v2/{REPO}/manifests/{bad}")).await.is(400);
    site.get(&format!("/v2/{REPO}/blobs/{bad}")).await.is(400);
    site.get(&format!("/v2/{REPO}/referrers/{bad}")).await.is(400);
    assert_eq!(site.put(REPO, ".bad", &manifest).await.code(), (400, "TAG_INVALID".to_owned()));
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let site = site().await;
    let list = |digest: &str, filter: &str| format!("/v2/{REPO}/referrers/{digest}{filter}");
    let none = site.get(&list(&digest(b"nothing"), "")).await.is(200);
    assert_eq!(none.header("content-type"), OCI_INDEX);
    assert_eq!(none.json(), json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));

    let image = site.image(REPO, "subject").await;
    let subject = descriptor(OCI_MANIFEST, image.to_string().as_bytes());
    let about = subject["digest"].as_str().unwrap().to_owned();
    site.blob(REPO, b"{}").await;
    let artifact = |kind: Option<&str>, config: &str, mark: &str| {
        let mut value = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(config, b"{}"),
            "layers": [descriptor("application/vnd.oci.empty.v1+json", b"{}")],
            "subject": subject, "annotations": {"mark": mark},
        });
        if let Some(kind) = kind {
            value["artifactType"] = json!(kind);
        }
        value
    };
    let mut index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": subject,
        "artifactType": "application/one", "annotations": {"mark": "index"}});
    // Before the subject is there, and after.
    let all = [
        artifact(Some("application/one"), "application/vnd.oci.empty.v1+json", "first"),
        artifact(None, "application/two", "second"),
        artifact(Some("application/two"), "application/vnd.oci.empty.v1+json", "third"),
    ];
    for (n, manifest) in all.iter().enumerate() {
        if n == 2 {
            site.put(REPO, "subject", &image).await.is(201);
        }
        let put = site.put(REPO, &digest(manifest.to_string().as_bytes()), manifest).await.is(201);
        assert_eq!(put.header("oci-subject"), about);
    }
    site.put(REPO, "about", &index).await.is(201);
    let found = site.get(&list(&about, "")).await.is(200);
    assert_eq!((found.json()["manifests"].as_array().unwrap().len(), found.header("oci-filters-applied")), (4, ""));
    for (kind, marks) in [("application/one", ["first", "index"]), ("application/two", ["second", "third"])] {
        let found = site.get(&list(&about, &format!("?artifactType={}", kind.replace('/', "%2F")))).await.is(200);
        assert_eq!(found.header("oci-filters-applied"), "artifactType");
        let json = found.json();
        let mut seen: Vec<_> = json["manifests"].as_array().unwrap().iter().collect();
        seen.sort_by_key(|one| one["annotations"]["mark"].to_string());
        for (one, mark) in seen.iter().zip(marks) {
            assert_eq!((one["artifactType"].as_str(), &one["annotations"]), (Some(kind), &json!({"mark": mark})));
        }
        assert_eq!(seen.len(), 2);
    }
    let first = all[0].to_string();
    let json = site.get(&list(&about, "")).await.json();
    let one =
        json["manifests"].as_array().unwrap().iter().find(|one| one["digest"] == digest(first.as_bytes())).unwrap();
    assert_eq!((one["size"].as_u64(), one["mediaType"].as_str()), (Some(first.len() as u64), Some(OCI_MANIFEST)));
    // Of another subject, which is not there.
    index["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": digest(b"gone"), "size": 123});
    site.put(REPO, "elsewhere", &index).await.is(201);
    let found = site.get(&list(&digest(b"gone"), "")).await.json();
    assert_eq!(found["manifests"].as_array().unwrap().len(), 1);
    site.delete(&format!("/v2/{REPO}/manifests/{}", digest(first.as_bytes()))).await.is(202);
    assert_eq!(site.get(&list(&about, "")).await.json()["manifests"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn long_lists_of_referrers_come_in_pages() {
    let site = site().await;
    let subject = json!({"mediaType": OCI_MANIFEST, "digest": digest(b"s"), "size": 1});
    for n in 0..205 {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": subject,
            "artifactType": "a/b", "annotations": {"n": n.to_string()}});
        site.put(REPO, &digest(index.to_string().as_bytes()), &index).await.is(201);
    }
    let first = site.get(&format!("/v2/{REPO}/referrers/{}?artifactType=a/b", digest(b"s"))).await.is(200);
    let next = first.header("link").strip_prefix('<').and_then(|link| link.split_once('>')).unwrap().0.to_owned();
    let second = site.get(&next).await.is(200);
    let count = |got: &Got| got.json()["manifests"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), second.header("link")), (200, 5, ""));
}

#[tokio::test]
async fn tags_are_listed_and_deleted() {
    let site = site().await;
    assert_eq!(site.get(&format!("/v2/{REPO}/tags/list")).await.is(200).json()["tags"], json!([]));
    let manifest = site.image(REPO, "a").await;
    for n in 0..4 {
        site.put(REPO, &format!("test{n}"), &manifest).await.is(201);
    }
    let page = site.get(&format!("/v2/{REPO}/tags/list?n=2")).await.json();
    assert_eq!(page["tags"], json!(["test0", "test1"]));
    let page = site.get(&format!("/v2/{REPO}/tags/list?n=2&last=test1")).await.json();
    assert_eq!(page["tags"], json!(["test2", "test3"]));
    assert_eq!(site.get(&format!("/v2/{REPO}/tags/list?last=test2")).await.json()["tags"], json!(["test3"]));
    site.delete(&format!("/v2/{REPO}/manifests/test0")).await.is(202);
    assert_eq!(site.head(&format!("/v2/{REPO}/manifests/test0")).await, 404);
    site.delete(&format!("/v2/{REPO}/manifests/test0")).await.is(404);
    let path = format!("/v2/{REPO}/manifests/{}", digest(manifest.to_string().as_bytes()));
    site.get(&path).await.is(200);
    site.delete(&path).await.is(202);
    assert_eq!(site.head(&path).await, 404);
    site.delete(&path).await.is(404);
    assert_eq!(site.get(&format!("/v2/{REPO}/tags/list")).await.json()["tags"], json!([]), "its tags went with it");
    for part in ["config", "layers"] {
        let part = if part == "config" { &manifest["config"] } else { &manifest["layers"][0] };
        site.delete(&format!("/v2/{REPO}/blobs/{}", part["digest"].as_str().unwrap())).await.is(202);
    }
    assert_eq!(site.pushed_bytes().await, 0);
}
