//! Mirrors of package registries that the operator names: dependencies come from there, and the image's bill names them. No
//! other host has these packages.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use hythe::base::config;
use hythe::machinery::image::Ecosystem;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::task::JoinSet;

use super::running::Container;
use super::{App, Tree};
use crate::harness::docker;

const PAGE: &str = "from the mirror";

type Files = BTreeMap<String, Vec<u8>>;

/// A host of files by path, where sandboxes reach it.
struct Mirror {
    address: String,
    files: Arc<Mutex<Files>>,
    _tasks: JoinSet<()>,
}

impl Mirror {
    fn start(app: &App) -> Self {
        // The engine's own end of its bridge is the first address of the network, where nobody said another.
        let subnet = docker(&["network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}"]);
        let subnet = subnet.expect("the engine's network");
        let first: std::net::Ipv4Addr = subnet.split('/').next().and_then(|at| at.parse().ok()).expect("an address");
        let gateway = std::net::Ipv4Addr::from(u32::from(first) + 1).to_string();
        let files: Arc<Mutex<Files>> = Arc::default();
        let router = Router::new().fallback(file).with_state(Arc::clone(&files));
        let mut tasks = JoinSet::new();
        let address = app.await_(async {
            let listener = tokio::net::TcpListener::bind((gateway.as_str(), 0)).await.expect("port");
            let address = listener.local_addr().expect("address").to_string();
            tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
            address
        });
        Self { address, files, _tasks: tasks }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn has(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.lock().expect("lock").insert(path.to_owned(), content.into());
    }
}

/// Pages say that they are such: pip reads no other.
async fn file(State(files): State<Arc<Mutex<Files>>>, request: Request) -> Result<impl IntoResponse, StatusCode> {
    let path = request.uri().path();
    let kind = if path.ends_with('/') { "text/html" } else { "application/octet-stream" };
    let content = files.lock().expect("lock").get(path).cloned().ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, kind)], content))
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        zip.start_file(*path, zip::write::SimpleFileOptions::default()).expect("entry");
        zip.write_all(text.as_bytes()).expect("content");
    }
    zip.finish().expect("zip").into_inner()
}

fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).expect("entry");
    }
    tar.into_inner().expect("tar").finish().expect("gzip")
}

/// Builds with the mirror alone, serves its word, and the bill names what came from there.
fn comes_from_there(config: &config::Build, tree: &Tree, package: (Ecosystem, &str, &str)) {
    let app = App::with(config);
    let done = app.build(tree);
    assert_eq!(Container::start(&app, &done).body("/").trim(), PAGE);
    let packages = app.await_(app.builder.packages(&done.imaged.image)).expect("packages");
    let found = packages.iter().any(|one| (one.ecosystem, one.name.as_str(), one.version.as_str()) == package);
    assert!(found, "{package:?} is not in {packages:?}");
}

#[test]
fn python() {
    let mirror = Mirror::start(&App::new());
    let about = "hythe_greeting-1.2.3.dist-info";
    let wheel = zip(&[
        ("hythe_greeting.py", &format!("TEXT = '{PAGE}'\n")),
        (&format!("{about}/METADATA"), "Metadata-Version: 2.1\nName: hythe-greeting\nVersion: 1.2.3\n"),
        (&format!("{about}/WHEEL"), "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        (
            &format!("{about}/RECORD"),
            &format!("hythe_greeting.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"),
        ),
    ]);
    let name = "hythe_greeting-1.2.3-py3-none-any.whl";
    mirror.has(&format!("/files/{name}"), wheel);
    mirror.has("/simple/hythe-greeting/", format!("<!DOCTYPE html><a href=\"/files/{name}\">{name}</a>"));
    let page = "import http.server, os, hythe_greeting\n\
                class Page(http.server.BaseHTTPRequestHandler):\n    \
                    def do_GET(self):\n        \
                        self.send_response(200); self.end_headers(); self.wfile.write(hythe_greeting.TEXT.encode())\n\
                http.server.HTTPServer(('', int(os.environ['PORT'])), Page).serve_forever()\n";
    let tree = Tree::empty().file("requirements.txt", "hythe-greeting==1.2.3\n").file("app.py", page);
    let config = config::Build { pip_index: Some(mirror.at("/simple")), ..config::Build::default() };
    comes_from_there(&config, &tree, (Ecosystem::Pypi, "hythe-greeting", "1.2.3"));
}

#[test]
fn nodejs() {
    let mirror = Mirror::start(&App::new());
    let manifest = r#"{"name": "hythe-greeting", "version": "1.2.3", "main": "index.js"}"#;
    let module = format!("module.exports = '{PAGE}';\n");
    let tarball = tgz(&[("package/package.json", manifest), ("package/index.js", &module)]);
    let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&tarball)));
    let at = "/hythe-greeting/-/hythe-greeting-1.2.3.tgz";
    let dist = json!({ "tarball": mirror.at(at), "integrity": integrity });
    let version = json!({ "name": "hythe-greeting", "version": "1.2.3", "main": "index.js", "dist": dist });
    let document =
        json!({ "name": "hythe-greeting", "dist-tags": { "latest": "1.2.3" }, "versions": { "1.2.3": version } });
    mirror.has(at, tarball);
    mirror.has("/hythe-greeting", document.to_string());
    let tree = Tree::empty()
        .file("package.json", r#"{"scripts": {"start": "node index.js"}, "dependencies": {"hythe-greeting": "^1.2"}}"#)
        .file(
            "index.js",
            "require('http').createServer((_, r) => r.end(require('hythe-greeting'))).listen(process.env.PORT);\n",
        );
    let config = config::Build { npm_registry: Some(mirror.at("/")), ..config::Build::default() };
    comes_from_there(&config, &tree, (Ecosystem::Npm, "hythe-greeting", "1.2.3"));
}

/// As go.sum has it: of the hashes of all files, sorted by name.
fn sum(files: &[(&str, &str)]) -> String {
    let mut lines: Vec<_> = files.iter().map(|(path, text)| (path, hex::encode(Sha256::digest(text)))).collect();
    lines.sort();
    let all: String = lines.iter().map(|(path, hash)| format!("{hash}  {path}\n")).collect();
    format!("h1:{}", STANDARD.encode(Sha256::digest(all)))
}

#[test]
fn go() {
    let mirror = Mirror::start(&App::new());
    let module = "module example.org/greeting\n\ngo 1.19\n";
    let source = format!("package greeting\n\nconst Text = \"{PAGE}\"\n");
    let files =
        [("example.org/greeting@v1.2.3/go.mod", module), ("example.org/greeting@v1.2.3/greeting.go", source.as_str())];
    let at = |file: &str| format!("/example.org/greeting/@v/v1.2.3.{file}");
    mirror.has(&at("info"), r#"{"Version": "v1.2.3", "Time": "2026-01-01T00:00:00Z"}"#);
    mirror.has(&at("mod"), module);
    mirror.has(&at("zip"), zip(&files));
    let sums = format!(
        "example.org/greeting v1.2.3 {}\nexample.org/greeting v1.2.3/go.mod {}\n",
        sum(&files),
        sum(&[("go.mod", module)])
    );
    let main = "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n\n\t\"example.org/greeting\"\n)\n\n\
                func main() {\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, greeting.Text) })\n\
                \thttp.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)\n}\n";
    let tree = Tree::empty()
        .file("go.mod", "module example.org/app\n\ngo 1.19\n\nrequire example.org/greeting v1.2.3\n")
        .file("go.sum", &sums)
        .file("main.go", main);
    let config = config::Build { go_proxy: Some(mirror.at("")), ..config::Build::default() };
    comes_from_there(&config, &tree, (Ecosystem::Golang, "example.org/greeting", "v1.2.3"));
}

#[test]
fn php() {
    let mirror = Mirror::start(&App::new());
    let about = json!({ "name": "example/greeting", "version": "1.2.3", "autoload": { "files": ["greeting.php"] } });
    let source = format!("<?php const GREETING = '{PAGE}';\n");
    let archive = zip(&[("greeting/composer.json", &about.to_string()), ("greeting/greeting.php", &source)]);
    let mut known = about;
    known["dist"] = json!({ "type": "zip", "url": mirror.at("/greeting.zip") });
    mirror.has("/greeting.zip", archive);
    mirror.has("/packages.json", json!({ "packages": { "example/greeting": { "1.2.3": known } } }).to_string());
    let tree = Tree::empty()
        .file("composer.json", r#"{"require": {"example/greeting": "^1.2"}}"#)
        .file("index.php", "<?php require 'vendor/autoload.php'; echo GREETING;\n");
    let config = config::Build { composer_mirror: Some(mirror.at("")), ..config::Build::default() };
    comes_from_there(&config, &tree, (Ecosystem::Composer, "example/greeting", "1.2.3"));
}

#[test]
fn rust() {
    let mirror = Mirror::start(&App::new());
    let manifest = "[package]\nname = \"hythe-greeting\"\nversion = \"1.2.3\"\nedition = \"2021\"\n";
    let source = format!("pub const TEXT: &str = \"{PAGE}\";\n");
    let packed = tgz(&[("hythe-greeting-1.2.3/Cargo.toml", manifest), ("hythe-greeting-1.2.3/src/lib.rs", &source)]);
    let entry = json!({
        "name": "hythe-greeting", "vers": "1.2.3", "deps": [], "cksum": hex::encode(Sha256::digest(&packed)),
        "features": {}, "yanked": false,
    });
    mirror.has("/config.json", json!({ "dl": mirror.at("/crates/{crate}-{version}") }).to_string());
    mirror.has("/hy/th/hythe-greeting", format!("{entry}\n"));
    mirror.has("/crates/hythe-greeting-1.2.3", packed);
    let page = "fn main() {\n    let port = std::env::var(\"PORT\").unwrap();\n    \
                let listener = std::net::TcpListener::bind(format!(\"0.0.0.0:{port}\")).unwrap();\n    \
                for mut stream in listener.incoming().flatten() {\n        \
                use std::io::{Read, Write};\n        \
                let _ = stream.read(&mut [0; 4096]);\n        \
                let text = hythe_greeting::TEXT;\n        \
                let _ = write!(stream, \"HTTP/1.1 200 OK\\r\\nContent-Length: {}\\r\\nConnection: close\\r\\n\\r\\n{text}\", text.len());\n    \
                }\n}\n";
    let tree = Tree::empty()
        .file("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nhythe-greeting = \"1.2\"\n")
        .file("src/main.rs", page);
    let config =
        config::Build { cargo_registry: Some(format!("sparse+{}", mirror.at("/"))), ..config::Build::default() };
    comes_from_there(&config, &tree, (Ecosystem::Cargo, "hythe-greeting", "1.2.3"));
}
