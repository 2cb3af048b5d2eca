use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::base::Error;
use crate::machinery::image::{AddedLayer, Digest, ImageSpec, LayerWriter, assemble, inspect};

/// `ann` with the token `good` sees `acme/shop`; `acme/broken` fails inside.
struct Fake(BTreeMap<String, Vec<Tag>>);

#[async_trait]
impl Access for Fake {
    async fn enter(&self, credentials: Option<&Credentials>) -> Result<()> {
        match credentials {
            Some(c) if c.secret.reveal() == "good" => Ok(()),
            _ => Err(Error::unauthenticated()),
        }
    }

    async fn tags(&self, credentials: Option<&Credentials>, org: &str, app: &str) -> Result<Vec<Tag>> {
        self.enter(credentials).await?;
        match (org, app) {
            ("acme", "broken") => Err(Error::internal("the store burns")),
            _ => self.0.get(&format!("{org}/{app}")).cloned().ok_or_else(|| Error::not_found("app")),
        }
    }
}

struct Site {
    _dir: tempfile::TempDir,
    blobs: BlobStore,
    router: axum::Router,
    image: ImageDigest,
    foreign: ImageDigest,
}

fn image(blobs: &BlobStore, name: &str) -> ImageDigest {
    let mut layer = LayerWriter::new(blobs);
    layer.file(name, 0o644, (0, 0), name.as_bytes()).unwrap();
    let layers = vec![AddedLayer { layer: layer.finish().unwrap(), created_by: "test".to_owned() }];
    assemble(blobs, &ImageSpec { layers, ..ImageSpec::default() }).unwrap()
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    let (one, two, foreign) = (image(&blobs, "one"), image(&blobs, "two"), image(&blobs, "foreign"));
    let gone = Digest::of(b"cleaned up").to_image();
    let tag = |name: &str, image: &ImageDigest| Tag { name: name.to_owned(), image: image.clone() };
    let shop = vec![tag("v10", &gone), tag("v2", &two), tag("v1", &one), tag("latest", &two)];
    let access =
        Fake(BTreeMap::from([("acme/shop".to_owned(), shop), ("other/app".to_owned(), vec![tag("v1", &foreign)])]));
    let router = router(blobs.clone(), Arc::new(access));
    Site { _dir: dir, blobs, router, image: two, foreign }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["errors"][0]["code"].as_str().unwrap().to_owned())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Site {
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("authorization", "Bearer good")]).await
    }

    fn layer(&self, image: &ImageDigest) -> Digest {
        inspect(&self.blobs, image).unwrap().layers[0].digest
    }
}

#[tokio::test]
async fn manifests_come_by_tag_and_digest() {
    let site = site();
    let stored = site.blobs.read(&Digest::from(&site.image)).unwrap();
    for reference in ["v2", "latest", site.image.as_str()] {
        let answer = site.get(&format!("/v2/acme/shop/manifests/{reference}")).await;
        assert_eq!(answer.status, 200, "{reference}");
        assert_eq!(answer.body, stored);
        assert_eq!(answer.header("docker-content-digest"), site.image.as_str());
        assert_eq!(answer.header("content-type"), "application/vnd.oci.image.manifest.v1+json");
    }
    let head = site.send(Method::HEAD, "/v2/acme/shop/manifests/v2", &[("authorization", "Bearer good")]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), stored.len().to_string());
    assert_eq!(head.header("docker-content-digest"), site.image.as_str());
}

#[tokio::test]
async fn a_manifest_is_sent_only_to_who_takes_its_form() {
    let site = site();
    let oci = "application/vnd.oci.image.manifest.v1+json";
    for (accept, status) in [
        (oci, 200),
        (&format!("application/vnd.docker.distribution.manifest.v2+json, {oci};q=0.5") as &str, 200),
        ("*/*", 200),
        ("application/vnd.docker.distribution.manifest.v2+json", 404),
    ] {
        let headers = [("authorization", "Bearer good"), ("accept", accept)];
        let answer = site.send(Method::GET, "/v2/acme/shop/manifests/v2", &headers).await;
        assert_eq!(answer.status, status, "{accept}");
    }
}

#[tokio::test]
async fn blobs_come_whole_and_in_parts() {
    let site = site();
    let layer = site.layer(&site.image);
    let path = format!("/v2/acme/shop/blobs/{layer}");
    let content = site.blobs.read(&layer).unwrap();
    let whole = site.get(&path).await;
    assert_eq!((whole.status.as_u16(), &whole.body), (200, &content));
    assert_eq!(whole.header("docker-content-digest"), layer.to_string());
    let range = |text: &'static str| [("authorization", "Bearer good"), ("range", text)];
    let part = site.send(Method::GET, &path, &range("bytes=512-514")).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"two"[..]));
    assert_eq!(part.header("content-range"), format!("bytes 512-514/{}", content.len()));
    let tail = site.send(Method::GET, &path, &range("bytes=512-")).await;
    assert_eq!(tail.body, content[512..]);
    let beyond = site.send(Method::GET, &path, &range("bytes=99999-")).await;
    assert_eq!(beyond.code(), (416, "RANGE_INVALID".to_owned()));
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", content.len()));
    let head = site.send(Method::HEAD, &path, &[("authorization", "Bearer good")]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), content.len().to_string());
    let config = inspect(&site.blobs, &site.image).unwrap().config;
    assert_eq!(site.get(&format!("/v2/acme/shop/blobs/{config}")).await.status, 200);
}

#[tokio::test]
async fn blobs_and_manifests_of_other_apps_do_not_exist() {
    let site = site();
    let facts = inspect(&site.blobs, &site.foreign).unwrap();
    for digest in [facts.layers[0].digest, facts.config, Digest::from(&site.foreign), Digest::of(b"nowhere")] {
        let answer = site.get(&format!("/v2/acme/shop/blobs/{digest}")).await;
        assert_eq!(answer.code(), (404, "BLOB_UNKNOWN".to_owned()));
    }
    let foreign = site.get(&format!("/v2/acme/shop/manifests/{}", site.foreign)).await;
    assert_eq!(foreign.code(), (404, "MANIFEST_UNKNOWN".to_owned()));
    // a document in the store that no release names
    let orphan = site.blobs.put_bytes(b"{}").unwrap();
    assert_eq!(site.get(&format!("/v2/acme/shop/manifests/{orphan}")).await.code().0, 404);
    assert_eq!(site.get("/v2/acme/shop/manifests/v10").await.code(), (404, "MANIFEST_UNKNOWN".to_owned()));
    assert_eq!(site.get("/v2/acme/shop/blobs/sha256:..").await.code(), (400, "DIGEST_INVALID".to_owned()));
    for path in ["/v2/acme/nothing/tags/list", "/v2/acme/nothing/manifests/v1", "/v2/a/b/c/manifests/v1", "/v2/acme"] {
        assert_eq!(site.get(path).await.code(), (404, "NAME_UNKNOWN".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn tags_come_in_pages() {
    let site = site();
    let all = site.get("/v2/acme/shop/tags/list").await;
    assert_eq!(all.json(), json!({"name": "acme/shop", "tags": ["latest", "v1", "v10", "v2"]}));
    assert_eq!(all.header("link"), "");
    let first = site.get("/v2/acme/shop/tags/list?n=3").await;
    assert_eq!(first.json()["tags"], json!(["latest", "v1", "v10"]));
    assert_eq!(first.header("link"), "</v2/acme/shop/tags/list?n=3&last=v10>; rel=\"next\"");
    let second = site.get("/v2/acme/shop/tags/list?n=3&last=v10").await;
    assert_eq!(second.json()["tags"], json!(["v2"]));
    assert_eq!(second.header("link"), "");
    assert_eq!(site.get("/v2/acme/shop/tags/list?n=0").await.json()["tags"], json!([]));
}

#[tokio::test]
async fn who_is_not_known_is_asked_for_credentials() {
    let site = site();
    let digest = site.layer(&site.image);
    let paths = [
        "/v2/".to_owned(),
        "/v2/acme/shop/manifests/v2".to_owned(),
        "/v2/acme/nothing/manifests/v2".to_owned(),
        "/v2/acme/shop/tags/list".to_owned(),
        format!("/v2/acme/shop/blobs/{digest}"),
    ];
    // ann:bad
    for headers in [&[][..], &[("authorization", "Basic YW5uOmJhZA==")], &[("authorization", "Bearer bad")]] {
        for path in &paths {
            let answer = site.send(Method::GET, path, headers).await;
            assert_eq!(answer.code(), (401, "UNAUTHORIZED".to_owned()), "{path} {headers:?}");
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"hythe\"");
        }
    }
    // ann:good
    let answer = site.send(Method::GET, "/v2/", &[("authorization", "Basic YW5uOmdvb2Q=")]).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
}

#[tokio::test]
async fn nothing_can_be_pushed_or_deleted_and_causes_stay_inside() {
    let site = site();
    let manifest = "/v2/acme/shop/manifests/v2";
    for (method, path) in [
        (Method::POST, "/v2/acme/shop/blobs/uploads/"),
        (Method::PUT, manifest),
        (Method::DELETE, manifest),
        (Method::POST, "/v2/"),
    ] {
        let answer = site.send(method, path, &[("authorization", "Bearer good")]).await;
        assert_eq!(answer.code(), (405, "UNSUPPORTED".to_owned()), "{path}");
    }
    let broken = site.get("/v2/acme/broken/tags/list").await;
    assert_eq!(broken.code(), (500, "UNKNOWN".to_owned()));
    assert!(!String::from_utf8(broken.body).unwrap().contains("burns"));
}
