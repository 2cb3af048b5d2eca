//! Images before a real engine: archives with and without layers that it has, and pulls from the embedded registry.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use futures_util::TryStreamExt as _;
use hythe::base::access::Scope;
use hythe::base::model::{Id, ImageDigest, Release, ReleaseId};
use hythe::edges::registry::Registry;
use hythe::machinery::image::{
    AddedLayer, BlobStore, Digest, ImageSpec, LayerWriter, assemble, docker_archive, inspect,
};
use hythe::product::apps;
use tokio::task::JoinSet;

use crate::api::harness::TestApi;

/// Images that are removed from the engine at the end.
struct Engine {
    config: tempfile::TempDir,
    images: Vec<String>,
}

impl Engine {
    fn new() -> Self {
        Self { config: tempfile::tempdir().unwrap(), images: Vec::new() }
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut docker = Command::new("docker")
            .arg("--config")
            .arg(self.config.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the docker command is needed: see contrib/test");
        let mut stdin = docker.stdin.take().unwrap();
        let input = input.to_vec();
        // a command that fails early closes its input
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = docker.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    fn ok(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input);
        assert!(!output.status.success(), "docker {arguments:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    fn owns(&mut self, reference: &str) -> String {
        self.images.push(reference.to_owned());
        reference.to_owned()
    }

    fn image_id(&self, reference: &str) -> String {
        self.ok(&["image", "inspect", "--format", "{{.Id}}", reference], b"").trim().to_owned()
    }

    /// Content of a file in an image.
    fn file(&self, reference: &str, path: &str) -> Vec<u8> {
        let container = self.ok(&["create", reference], b"");
        let container = container.trim();
        let copied = self.run(&["cp", &format!("{container}:{path}"), "-"], b"");
        self.ok(&["rm", container], b"");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        // one file of less than a block: its tar is header, content, zeros
        let size = std::str::from_utf8(&copied.stdout[124..135]).unwrap();
        copied.stdout[512..][..usize::from_str_radix(size, 8).unwrap()].to_vec()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for image in &self.images {
            self.run(&["image", "rm", "--force", image], b"");
        }
    }
}

/// Content that no earlier run has left in the engine.
fn unique() -> String {
    tempfile::Builder::new().rand_bytes(20).tempfile().unwrap().path().display().to_string()
}

fn layer(blobs: &BlobStore, path: &str, content: &str) -> AddedLayer {
    let mut layer = LayerWriter::new(blobs);
    layer.file(path, 0o644, (1000, 1000), content.as_bytes()).unwrap();
    AddedLayer { layer: layer.finish().unwrap(), created_by: "tests".to_owned() }
}

fn image(blobs: &BlobStore, base: Option<&ImageDigest>, path: &str, content: &str) -> ImageDigest {
    let spec = ImageSpec {
        base: base.cloned(),
        layers: vec![layer(blobs, path, content)],
        env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        labels: BTreeMap::from([("made.by".to_owned(), "tests".to_owned())]),
        user: Some("1000:1000".to_owned()),
        entrypoint: Some(vec!["/app".to_owned()]),
        exposed_port: Some(8080),
        ..ImageSpec::default()
    };
    assemble(blobs, &spec).unwrap()
}

async fn archive(blobs: &BlobStore, image: &ImageDigest, reference: &str, without: &[Digest]) -> Vec<u8> {
    let without: HashSet<Digest> = without.iter().copied().collect();
    let stream = docker_archive(blobs, image, reference, &without).unwrap();
    stream.map_ok(|part| part.to_vec()).try_concat().await.unwrap()
}

fn store(dir: &Path) -> BlobStore {
    BlobStore::open(dir).unwrap()
}

#[tokio::test]
async fn the_engine_takes_an_archive_without_the_layers_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path());
    let mut engine = Engine::new();
    let word = unique();
    let base = image(&blobs, None, "base", &word);
    let app = image(&blobs, Some(&base), "app", &word);
    let below = [inspect(&blobs, &base).unwrap().layers[0].digest];
    let suffix = Digest::of(word.as_bytes()).hex();
    let base_name = engine.owns(&format!("hythe-test-base:{suffix}"));
    let app_name = engine.owns(&format!("hythe-test-app:{suffix}"));

    let partial = archive(&blobs, &app, &app_name, &below).await;
    let refused = engine.fails(&["load"], &partial);
    assert!(refused.contains("no such file"), "{refused}");

    engine.ok(&["load"], &archive(&blobs, &base, &base_name, &[]).await);
    engine.ok(&["load"], &partial);
    let facts = inspect(&blobs, &app).unwrap();
    assert_eq!(engine.image_id(&app_name), facts.config.to_string());
    assert_eq!(engine.file(&app_name, "/base"), word.as_bytes());
    assert_eq!(engine.file(&app_name, "/app"), word.as_bytes());
    let config = engine.ok(&["image", "inspect", "--format", "{{json .Config}}", &app_name], b"");
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["Env"], serde_json::json!(["GREETING=hello"]));
    assert_eq!(config["Labels"], serde_json::json!({"made.by": "tests"}));
    assert_eq!(config["Entrypoint"], serde_json::json!(["/app"]));
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
}

/// The embedded registry with these images as releases of the app `shop`, by their numbers.
pub struct Shop {
    pub address: String,
    /// Password of any user.
    pub token: String,
    /// The repository.
    pub name: String,
    _api: TestApi,
}

pub async fn serve_shop(tasks: &mut JoinSet<()>, blobs: &BlobStore, images: &[(i64, &ImageDigest)]) -> Shop {
    let (api, owner) = TestApi::start().await;
    let app = api.app(&owner, "shop").await;
    let (_, deployment) = api.deliver(&app).await;
    let mut tx = api.ctx.store.begin().await.unwrap();
    let first = deployment.release_id.expect("a release");
    let first = hythe::state::store::releases::find(&mut tx, &Scope::Platform, &first).await.unwrap().unwrap();
    for &(number, image) in images {
        let mut release = Release { id: ReleaseId::fresh(), number, image: image.clone(), ..first.clone() };
        release.build_id = None;
        hythe::state::store::releases::insert(&mut tx, &release).await.unwrap();
    }
    tx.commit().await.unwrap();
    let router = Registry::new(api.ctx.clone(), blobs.clone()).router();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let organization = apps::describe(&api.ctx, &owner.actor, &[app]).await.unwrap().remove(0).organization.name;
    Shop { address, token: owner.token, name: format!("{organization}/shop"), _api: api }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pulls_from_the_embedded_registry() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = store(dir.path());
    let mut engine = Engine::new();
    let word = unique();
    let base = image(&blobs, None, "base", &word);
    let app = image(&blobs, Some(&base), "app", &word);
    let mut server = JoinSet::new();
    let shop = serve_shop(&mut server, &blobs, &[(3, &app), (2, &base)]).await;
    let (address, name, token) = (shop.address.clone(), shop.name.clone(), shop.token.clone());

    let pulls = tokio::task::spawn_blocking(move || {
        let by_tag = engine.owns(&format!("{address}/{name}:v3"));
        let by_digest = engine.owns(&format!("{address}/{name}@{base}"));
        engine.fails(&["pull", &by_tag], b"");
        engine.fails(&["login", "--username", "ann", "--password-stdin", &address], b"wrong");
        engine.ok(&["login", "--username", "ann", "--password-stdin", &address], token.as_bytes());
        let pulled = engine.ok(&["pull", &by_tag], b"");
        assert!(pulled.contains(&format!("Digest: {app}")), "{pulled}");
        assert_eq!(engine.image_id(&by_tag), inspect(&blobs, &app).unwrap().config.to_string());
        assert_eq!(engine.file(&by_tag, "/app"), word.as_bytes());
        engine.ok(&["pull", &by_digest], b"");
        let missing = engine.fails(&["pull", &format!("{address}/{name}:v4")], b"");
        assert!(missing.contains("manifest unknown"), "{missing}");
        let foreign = engine.fails(&["pull", &format!("{address}/acme/other:v1")], b"");
        assert!(foreign.contains("not found") || foreign.contains("name"), "{foreign}");
    });
    pulls.await.unwrap();
}
