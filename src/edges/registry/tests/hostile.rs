//! Pushers who mean harm, machines that fail, and what is left of either.

use std::time::Duration;

use futures_util::stream;

use super::*;
use crate::product::images::expire;

const REPO: &str = "acme/shop";

fn incoming(site: &Site) -> usize {
    std::fs::read_dir(site.dir.path().join("blobs/incoming")).unwrap().count()
}

/// A body of these pieces that breaks off.
fn broken(pieces: &[&'static str]) -> Body {
    let pieces = pieces.iter().map(|piece| Ok(axum::body::Bytes::from(*piece))).collect::<Vec<_>>();
    Body::from_stream(stream::iter(pieces.into_iter().chain([Err(std::io::Error::other("gone"))])))
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on_where_it_was() {
    let site = site().await;
    let location = site.begin(REPO).await;
    let cut = site.send("PATCH", &location, &[], broken(&["hel", "lo "])).await;
    assert_eq!(cut.code(), (400, "BLOB_UPLOAD_INVALID".to_owned()));
    assert_eq!(site.get(&location).await.is(204).header("range"), "0-5");
    site.send("PATCH", &location, &[("content-range", "6-10")], "world").await.is(202);
    let put = format!("{location}?digest={}", digest(b"hello world"));
    site.send("PUT", &put, &[], Body::empty()).await.is(201);

    // In one request there is nothing to go on with.
    let path = format!("/v2/{REPO}/blobs/uploads/?digest={}", digest(b"hello"));
    site.send("POST", &path, &[], broken(&["hello"])).await.is(400);
    site.get(&format!("/v2/{REPO}/blobs/{}", digest(b"hello"))).await.is(404);
    assert_eq!(incoming(&site), 0);
}

#[tokio::test]
async fn what_is_sent_twice_is_there_once() {
    let site = site().await;
    let location = site.begin(REPO).await;
    site.send("PATCH", &location, &[("content-range", "0-4")], "hello").await.is(202);
    site.send("PATCH", &location, &[("content-range", "0-4")], "hello").await.is(416);
    let put = format!("{location}?digest={}", digest(b"hello"));
    site.send("PUT", &put, &[], Body::empty()).await.is(201);
    assert_eq!(site.send("PUT", &put, &[], Body::empty()).await.code(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
    site.send("PATCH", &location, &[], "more").await.is(404);
    site.blob(REPO, b"hello").await;
    assert_eq!(site.pushed_bytes().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_blob_by_many_at_once_and_one_upload_by_two() {
    let site = site().await;
    let content = "x".repeat(3 << 20);
    let path = format!("/v2/{REPO}/blobs/uploads/?digest={}", digest(content.as_bytes()));
    let pushes = (0..8).map(|_| site.send("POST", &path, &[], content.clone()));
    for answer in futures_util::future::join_all(pushes).await {
        answer.is(201);
    }
    assert_eq!(site.pushed_bytes().await, content.len() as i64);
    let location = site.begin(REPO).await;
    let parts = (0..2).map(|_| site.send("PATCH", &location, &[("content-range", "0-4")], "hello"));
    let mut answers: Vec<_> = futures_util::future::join_all(parts).await.iter().map(|a| a.status.as_u16()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [202, 416]);
    let put = format!("{location}?digest={}", digest(b"hello"));
    let ends = (0..2).map(|_| site.send("PUT", &put, &[], Body::empty()));
    let mut answers: Vec<_> = futures_util::future::join_all(ends).await.iter().map(|a| a.status.as_u16()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [201, 404]);
    assert_eq!(incoming(&site), 0);
}

#[tokio::test]
async fn parts_must_be_what_they_say() {
    let site = site().await;
    for (range, body, status) in [
        ("0-4", "hell", 400),
        ("0-3", "hello", 400),
        ("4-0", "hello", 416),
        ("1-5", "hello", 416),
        ("0-99999999999999999999", "hello", 400),
        ("a-b", "hello", 400),
        ("-5", "hello", 400),
        ("0", "hello", 400),
        ("+0-4", "hello", 400),
        ("bytes 0-4/*", "hello", 202),
        ("0-4", "hello", 202),
    ] {
        let location = site.begin(REPO).await;
        let got = site.send("PATCH", &location, &[("content-range", range)], body).await;
        assert_eq!(got.status.as_u16(), status, "{range} {body}");
    }
    let location = site.begin(REPO).await;
    let headers = [("content-range", "0-4"), ("content-length", "3")];
    site.send("PATCH", &location, &headers, "hel").await.is(400);
    assert_eq!(site.send("PUT", &location, &[], "x").await.code(), (400, "DIGEST_INVALID".to_owned()));
    site.send("PUT", &format!("{location}?digest=sha256:../../x"), &[], "x").await.is(400);
    site.get(&location).await.is(204);
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_forgotten() {
    let site = site().await;
    let (old, busy) = (site.begin(REPO).await, site.begin(REPO).await);
    site.send("PATCH", &old, &[], "x").await.is(202);
    site.registry.sessions.expire(Duration::from_secs(3600));
    site.get(&old).await.is(204);
    tokio::time::sleep(Duration::from_millis(30)).await;
    site.get(&busy).await.is(204);
    site.registry.sessions.expire(Duration::from_millis(25));
    site.get(&old).await.is(404);
    site.get(&busy).await.is(204);
    assert_eq!(incoming(&site), 1);
    for _ in 1..64 {
        site.begin(REPO).await;
    }
    let more = site.send("POST", &format!("/v2/{REPO}/blobs/uploads/"), &[], Body::empty()).await;
    assert_eq!(more.code(), (429, "DENIED".to_owned()));
}

#[tokio::test]
async fn a_repository_holds_no_more_than_it_may() {
    let site = site_with(|config| config.registry.app_bytes = 3 << 20).await;
    let content = "a".repeat(2 << 20);
    site.blob(REPO, content.as_bytes()).await;
    let more = "b".repeat(2 << 20);
    let post = format!("/v2/{REPO}/blobs/uploads/?digest={}", digest(more.as_bytes()));
    let refused = site.send("POST", &post, &[], more.clone()).await;
    assert_eq!(refused.code(), (413, "DENIED".to_owned()));
    assert!(refused.message().contains("registry.app_bytes"), "{}", refused.message());
    let location = site.begin(REPO).await;
    assert_eq!(site.send("PATCH", &location, &[], more.clone()).await.code().0, 413);
    site.get(&location).await.is(404);
    // Another app has room of its own.
    site.app("second").await;
    site.blob("acme/second", more.as_bytes()).await;
    let mount = format!("/v2/{REPO}/blobs/uploads/?mount={}&from=acme/second", digest(more.as_bytes()));
    assert_eq!(site.send("POST", &mount, &[], Body::empty()).await.code().0, 413);
    // Uploads under way count, too.
    let locations = [site.begin(REPO).await, site.begin(REPO).await];
    let part = "c".repeat(600 << 10);
    site.send("PATCH", &locations[0], &[], part.clone()).await.is(202);
    let large = "d".repeat(1 << 20);
    assert_eq!(site.send("PATCH", &locations[1], &[], large).await.code().0, 413);
    assert_eq!(site.pushed_bytes().await, 2 << 20);
    site.delete(&format!("/v2/{REPO}/blobs/{}", digest(content.as_bytes()))).await.is(202);
    site.blob(REPO, more.as_bytes()).await;
}

#[tokio::test]
async fn hostile_names_are_no_names() {
    let site = site().await;
    for name in [
        "../../etc",
        "acme/..",
        "acme%2Fshop",
        "acme/shop%2f..",
        "acme/sh%00op",
        "Acme/Shop",
        "acme/$(id)",
        "acme/;id",
        "acme/shop%0d%0aX:1",
        "-oProxyCommand=id",
        &"a".repeat(10_000),
    ] {
        for (method, rest) in [("GET", "tags/list"), ("POST", "blobs/uploads/"), ("GET", "manifests/x")] {
            let answer = site.send(method, &format!("/v2/{name}/{rest}"), &[], Body::empty()).await;
            assert!([400, 404].contains(&answer.status.as_u16()), "{method} {name}: {}", answer.status);
            assert!(["NAME_INVALID", "NAME_UNKNOWN"].contains(&answer.code().1.as_str()), "{name}");
        }
    }
    let manifest = site.image(REPO, "a").await;
    for reference in ["..", "%2e%2e", "a%2Fb", "a%0d%0ab", "$(id)", "-x", &"a".repeat(129)] {
        let answer = site.put(REPO, reference, &manifest).await;
        assert_eq!(answer.status, 400, "{reference}");
    }
    for digest in ["sha256:..%2F..%2Fetc%2Fpasswd", "sha256:%2e%2e", "sha512:ab", "sha256", "..", "md5:aa"] {
        site.get(&format!("/v2/{REPO}/blobs/{digest}")).await.is(400);
        let post = format!("/v2/{REPO}/blobs/uploads/?digest={digest}");
        site.send("POST", &post, &[], "x").await.is(400);
        let mount = format!("/v2/{REPO}/blobs/uploads/?mount={digest}&from={REPO}");
        site.send("POST", &mount, &[], Body::empty()).await.is(400);
    }
    for id in ["..", "%2e%2e%2f", "x", "00000000000000000000000000000000"] {
        site.send("PATCH", &format!("/v2/{REPO}/blobs/uploads/{id}"), &[], "x").await.is(404);
    }
}

#[tokio::test]
async fn hostile_manifests_are_refused() {
    let site = site().await;
    let image = site.image(REPO, "a").await;
    let put = async |body: Vec<u8>, kind: &str| {
        site.send("PUT", &format!("/v2/{REPO}/manifests/x"), &[("content-type", kind)], body).await.code()
    };
    let invalid = (400, "MANIFEST_INVALID".to_owned());
    assert_eq!(put(b"not json".to_vec(), OCI_MANIFEST).await, invalid);
    assert_eq!(put(b"{}".to_vec(), OCI_MANIFEST).await, invalid);
    assert_eq!(put(image.to_string().into_bytes(), "text/html").await, invalid);
    assert_eq!(put(image.to_string().into_bytes(), OCI_INDEX).await, invalid);
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    assert_eq!(put(deep.into_bytes(), OCI_MANIFEST).await, invalid);
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert_eq!(put(b"{\"schemaVersion\": 1}".to_vec(), old).await, invalid);
    let huge = vec![b' '; (4 << 20) + 1];
    assert_eq!(put(huge, OCI_MANIFEST).await, (413, "SIZE_INVALID".to_owned()));
    let cut = site.send("PUT", &format!("/v2/{REPO}/manifests/x"), &[], broken(&["{"])).await;
    assert_eq!(cut.code(), invalid);
    assert_eq!(site.get(&format!("/v2/{REPO}/manifests/x")).await.status, 404);
}

/// What no tag names goes in its time, with all that only it named; what a tag names stays, with what it names and what says
/// something of it.
#[tokio::test]
async fn what_nobody_names_expires() {
    let site = site_with(|config| {
        (config.registry.untagged_seconds, config.registry.loose_seconds) = (1000, 100);
    })
    .await;
    let (kept, dropped) = (site.image(REPO, "kept").await, site.image(REPO, "dropped").await);
    let of = |manifest: &Value| digest(manifest.to_string().as_bytes());
    for manifest in [&kept, &dropped] {
        site.put(REPO, &of(manifest), manifest).await.is(201);
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_MANIFEST, kept.to_string().as_bytes())]});
    site.put(REPO, "index", &index).await.is(201);
    let signature = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "artifactType": "a/b",
        "subject": descriptor(OCI_MANIFEST, kept.to_string().as_bytes())});
    site.put(REPO, &of(&signature), &signature).await.is(201);
    let loose = site.blob(REPO, b"loose").await;
    let there = async |path: &str| site.head(&format!("/v2/{REPO}/{path}")).await == 200;

    assert_eq!(expire(&site.ctx).await.unwrap(), 0, "all of it is young");
    site.clock.advance(101_000);
    assert_eq!(expire(&site.ctx).await.unwrap(), 1);
    assert!(!there(&format!("blobs/{loose}")).await);
    site.clock.advance(900_000);
    assert_eq!(expire(&site.ctx).await.unwrap(), 3, "a manifest with its config and its layer");
    assert!(!there(&format!("manifests/{}", of(&dropped))).await);
    for manifest in [&kept, &index, &signature] {
        assert!(there(&format!("manifests/{}", of(manifest))).await);
    }
    assert!(there(&format!("blobs/{}", kept["layers"][0]["digest"].as_str().unwrap())).await);
    // A tag that moves leaves what it named for a while.
    let next = site.image(REPO, "next").await;
    site.put(REPO, "index", &next).await.is(201);
    assert_eq!(expire(&site.ctx).await.unwrap(), 0);
    site.clock.advance(1_001_000);
    assert_eq!(expire(&site.ctx).await.unwrap(), 5, "index, image with two blobs, signature");
    assert!(there("manifests/index").await);
}

/// Content goes from the blob store when its row is gone, and not before; who pushes meanwhile loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn pushing_beside_sweeps_loses_nothing() {
    /// Longer than the kernel's stamps lag.
    const GRACE: Duration = Duration::from_millis(100);
    let site = site().await;
    let sweep = async || {
        let horizon = site.blobs.horizon(GRACE);
        let kept = crate::product::images::kept(&site.ctx).await.unwrap();
        let reached: HashSet<Digest> = kept.iter().filter_map(|(_, blob)| blob.as_str().parse().ok()).collect();
        let blobs = site.blobs.clone();
        tokio::task::spawn_blocking(move || blobs.sweep(&reached, horizon).unwrap()).await.unwrap()
    };
    let pushes = async {
        for n in 0..40 {
            // The same content comes and goes.
            let seed = format!("{}", n % 5);
            let manifest = site.image(REPO, &seed).await;
            site.put(REPO, "tag", &manifest).await.is(201);
            for part in [&manifest["config"], &manifest["layers"][0]] {
                site.get(&format!("/v2/{REPO}/blobs/{}", part["digest"].as_str().unwrap())).await.is(200);
            }
            let of = digest(manifest.to_string().as_bytes());
            site.delete(&format!("/v2/{REPO}/manifests/{of}")).await.is(202);
            for part in [&manifest["config"], &manifest["layers"][0]] {
                site.delete(&format!("/v2/{REPO}/blobs/{}", part["digest"].as_str().unwrap())).await.is(202);
            }
        }
    };
    let (done, swept) = (std::cell::Cell::new(false), std::cell::Cell::new(0));
    let sweeps = async {
        while !done.get() {
            swept.set(swept.get() + sweep().await.blobs);
        }
    };
    tokio::join!(sweeps, async {
        pushes.await;
        done.set(true);
    });
    tokio::time::sleep(2 * GRACE).await;
    assert!(swept.get() + sweep().await.blobs > 0);
    assert_eq!(site.blobs.list().unwrap().len(), 0, "all that was deleted is gone");
}

/// A process that was killed leaves whole blobs or none, and uploads that begin anew.
#[tokio::test]
async fn after_a_kill_nothing_is_half_there() {
    let site = site().await;
    let location = site.begin(REPO).await;
    site.send("PATCH", &location, &[], "half of it").await.is(202);
    let whole = site.blob(REPO, b"whole").await;
    let Site { dir, ctx, blobs, registry, router, ann, .. } = site;
    drop((registry, router, blobs));
    let blobs = BlobStore::open(&dir.path().join("blobs")).unwrap();
    let again = Registry::new(ctx.clone(), blobs.clone());
    let router = again.router();
    let site = Site { clock: ManualClock::at(0), dir, ctx, blobs, registry: again, router, ann };
    assert_eq!(incoming(&site), 0);
    site.get(&location).await.is(404);
    assert_eq!(site.get(&format!("/v2/{REPO}/blobs/{whole}")).await.is(200).body, b"whole");
    let settled = site.dir.path().join("blobs/sha256").join(&whole["sha256:".len()..]);
    assert!(settled.exists(), "on the disk before its pusher was told so");
}
