//! Pulling base images: from the embedded registry, and from one that does what public ones do.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use flate2::write::GzEncoder;
use hythe::base::secret::Secret;
use hythe::machinery::image::{
    AddedLayer, BlobStore, Digest, ImageError, ImageSpec, LayerWriter, Login, assemble, inspect, pull,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Serves documents and blobs by path, wants a bearer token for them, and sends blobs through a redirect.
#[derive(Clone, Default)]
struct Foreign {
    documents: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    requests: Arc<Mutex<Vec<String>>>,
    address: String,
}

impl Foreign {
    async fn start(tasks: &mut JoinSet<()>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { address: listener.local_addr().unwrap().to_string(), ..Self::default() };
        let router = axum::Router::new()
            .route("/token", axum::routing::get(token))
            .route("/storage/{*path}", axum::routing::get(storage))
            .route("/v2/team/base/{kind}/{name}", axum::routing::get(content))
            .with_state(this.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    fn reference(&self, rest: &str) -> String {
        format!("{}/team/base{rest}", self.address)
    }

    fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.documents.lock().unwrap().insert(path.to_owned(), content.into());
    }

    fn put_blob(&self, content: Vec<u8>) -> Digest {
        let digest = Digest::of(&content);
        self.put(&format!("blobs/{digest}"), content);
        digest
    }

    /// A manifest under its digest; `change` may spoil it.
    fn put_image(&self, layer: &Layer, change: impl FnOnce(&mut Value, &mut Value)) -> Digest {
        let mut config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": ["A=b"], "Volumes": null},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id.to_string()]},
        });
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "digest": layer.packed_id.to_string(), "size": layer.packed.len(),
            }],
        });
        change(&mut manifest, &mut config);
        let config = config.to_string().into_bytes();
        manifest["config"] = json!({
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": Digest::of(&config).to_string(), "size": config.len(),
        });
        self.put_blob(config);
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest);
        self.put(&format!("manifests/{digest}"), manifest);
        digest
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

async fn token(
    State(site): State<Foreign>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    site.requests.lock().unwrap().push(format!("token {}", query["scope"]));
    // ann:secret
    let known = headers.get(header::AUTHORIZATION).is_none_or(|value| value == "Basic YW5uOnNlY3JldA==");
    if !known || query["service"] != "foreign" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    json!({"token": "t0k3n"}).to_string().into_response()
}

async fn content(
    State(site): State<Foreign>,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    site.requests.lock().unwrap().push(format!("{kind}/{name}"));
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != "Bearer t0k3n") {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"foreign\",scope=\"x\"", site.address);
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, realm)]).into_response();
    }
    if kind == "blobs" {
        return Redirect::temporary(&format!("/storage/{kind}/{name}")).into_response();
    }
    storage(State(site), Path(format!("{kind}/{name}"))).await
}

async fn storage(State(site): State<Foreign>, Path(path): Path<String>) -> Response {
    let found = site.documents.lock().unwrap().get(&path).cloned();
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

struct Layer {
    tar: Vec<u8>,
    packed: Vec<u8>,
    diff_id: Digest,
    packed_id: Digest,
}

fn gzipped(tar: Vec<u8>) -> Layer {
    let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&tar).unwrap();
    let packed = packer.finish().unwrap();
    Layer { diff_id: Digest::of(&tar), packed_id: Digest::of(&packed), tar, packed }
}

fn store() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    (dir, blobs)
}

#[tokio::test]
async fn an_image_comes_by_token_index_and_redirect_and_is_stored_uncompressed() {
    let mut tasks = JoinSet::new();
    let site = Foreign::start(&mut tasks).await;
    let layer = gzipped(vec![7; 300_000]);
    site.put_blob(layer.packed.clone());
    let manifest = site.put_image(&layer, |_, config| config["architecture"] = json!(architecture()));
    let index = json!({
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": Digest::of(b"other").to_string(),
             "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": manifest.to_string(),
             "platform": {"os": "linux", "architecture": architecture()}},
        ],
    });
    site.put("manifests/12", index.to_string());
    let (_dir, blobs) = store();
    let image = pull(&blobs, &site.reference(":12"), None).await.unwrap();
    let facts = inspect(&blobs, &image).unwrap();
    assert_eq!(facts.env["A"], "b");
    assert_eq!((facts.layers[0].digest, facts.layers[0].size), (layer.diff_id, layer.tar.len() as u64));
    assert_eq!(blobs.read(&layer.diff_id).unwrap(), layer.tar);
    assert_eq!(site.requests()[..3], ["manifests/12", "token repository:team/base:pull", "manifests/12"]);

    let login = Login { user: "ann".to_owned(), secret: Secret::new("secret".to_owned()) };
    let again = pull(&blobs, &site.reference(&format!("@{manifest}")), Some(login)).await.unwrap();
    assert_eq!(again, image);
    assert!(!site.requests().contains(&format!("blobs/{}", layer.packed_id)), "a layer was fetched twice");
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[tokio::test]
async fn what_is_not_what_it_claims_is_refused_and_not_kept() {
    let mut tasks = JoinSet::new();
    let site = Foreign::start(&mut tasks).await;
    let good = gzipped(vec![1; 5000]);
    site.put_blob(good.packed.clone());
    let swapped = Layer { packed: gzipped(vec![2; 5000]).packed, ..gzipped(vec![3; 5000]) };
    site.put(&format!("blobs/{}", swapped.packed_id), swapped.packed.clone());
    let wrong_diff = Layer { diff_id: Digest::of(b"else"), ..gzipped(vec![1; 5000]) };
    let garbage =
        Layer { packed_id: site.put_blob(b"no gzip".to_vec()), packed: b"no gzip".to_vec(), ..gzipped(vec![4]) };
    let cases = [
        (site.put_image(&swapped, |_, _| ()), "what the registry sent has digest"),
        (site.put_image(&wrong_diff, |_, _| ()), "its content has digest"),
        (site.put_image(&garbage, |_, _| ()), "the tar stream cannot be read"),
        (
            site.put_image(&good, |m, _| m["layers"][0]["mediaType"] = json!("x.tar+zstd")),
            "the tar stream cannot be read",
        ),
        (site.put_image(&good, |m, _| m["layers"][0]["mediaType"] = json!("x.tar+xz")), "are not supported"),
        (site.put_image(&good, |_, c| c["rootfs"]["diff_ids"] = json!([])), "disagree about the layers"),
        (site.put_image(&good, |_, c| c["rootfs"]["diff_ids"] = json!(["../x"])), "is no digest"),
        (Digest::of(b"unknown"), "the registry has no manifests/"),
    ];
    let (dir, blobs) = store();
    for (manifest, expected) in cases {
        let error = pull(&blobs, &site.reference(&format!("@{manifest}")), None).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} instead of {expected:?}");
    }
    for place in ["incoming", "fresh", "sha256"] {
        assert_eq!(std::fs::read_dir(dir.path().join(place)).unwrap().count(), 0, "{place}");
    }

    site.put("manifests/forged", "{}");
    site.put(&format!("manifests/{}", good.diff_id), "{}");
    let forged = pull(&blobs, &site.reference(&format!("@{}", good.diff_id)), None).await.unwrap_err();
    assert!(forged.to_string().contains("has another digest"), "{forged}");
    let login = Login { user: "ann".to_owned(), secret: Secret::new("wrong".to_owned()) };
    let refused = pull(&blobs, &site.reference(":forged"), Some(login)).await.unwrap_err();
    assert!(refused.to_string().contains("gives no token") && !refused.is_temporary(), "{refused}");
}

#[tokio::test]
async fn a_registry_that_is_away_may_come_back() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_dir, blobs) = store();
    let error = pull(&blobs, &format!("{closed}/x"), None).await.unwrap_err();
    assert!(matches!(error, ImageError::Registry { temporary: true, .. }), "{error}");
    let error = pull(&blobs, "debian", None).await.unwrap_err();
    assert!(matches!(error, ImageError::Argument { .. }), "{error}");
}

#[tokio::test]
async fn the_embedded_registry_gives_the_same_image_again() {
    let (_source, blobs) = store();
    let mut layer = LayerWriter::new(&blobs);
    layer.file("hello", 0o644, (0, 0), b"world").unwrap();
    let layers = vec![AddedLayer { layer: layer.finish().unwrap(), created_by: "tests".to_owned() }];
    let image = assemble(&blobs, &ImageSpec { layers, ..ImageSpec::default() }).unwrap();
    let mut tasks = JoinSet::new();
    let shop = super::images::serve_shop(&mut tasks, &blobs, &[(2, &image)]).await;
    let reference = format!("{}/{}:v2", shop.address, shop.name);
    let (_dir, copy) = store();
    let login = Login { user: "ann".to_owned(), secret: Secret::new(shop.token.clone()) };
    let pulled = pull(&copy, &reference, Some(login)).await.unwrap();
    assert_eq!(pulled, image);
    let refused = pull(&copy, &reference, None).await.unwrap_err();
    assert!(refused.to_string().contains("wants a user and a password"), "{refused}");
}
