//! Another base under what runs, through the product's own verbs: who gets it, who does not and why, and what is served
//! meanwhile. The bases come from a registry of the test, and each says in a file which one it is.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use hythe::base::model::ImageDigest;
use hythe::machinery::image::{AddedLayer, BlobStore, Digest, ImageSpec, LayerWriter, assemble};
use serde_json::Value;

use super::ok;
use crate::harness::{Answer, Journal, Load, RealServer, Repo, Said, Settings, base, docker, eventually, program, run};

/// A registry with one tag, behind which the base changes.
#[derive(Clone)]
struct Shelf {
    blobs: BlobStore,
    newest: Arc<Mutex<ImageDigest>>,
}

struct Shop {
    shelf: Shelf,
    plain: ImageDigest,
    address: String,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Shop {
    fn open() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        base::give(dir.path());
        let records = std::fs::read_dir(dir.path().join("base")).expect("records").flatten();
        let record = |path: std::path::PathBuf| -> Option<Value> {
            serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
        };
        let bases = records.filter_map(|entry| record(entry.path())).filter(|r| r["base"].is_string());
        let newest = bases.max_by_key(|r| r["made"].as_i64()).expect("the shared base");
        let plain: ImageDigest = newest["image"].as_str().expect("a digest").parse().expect("a digest");
        let blobs = BlobStore::open(&dir.path().join("blobs")).expect("blobs");
        let shelf = Shelf { blobs, newest: Arc::new(Mutex::new(plain.clone())) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let router = axum::Router::new()
            .route("/v2/team/base/{kind}/{name}", axum::routing::get(content))
            .with_state(shelf.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        let shop = Self { shelf, plain, address, _runtime: runtime, _dir: dir };
        shop.offer(&[("etc/marker", "one")]);
        shop
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::with("HYTHE_BUILD_BASE", format!("{}/team/base:latest", self.address));
        settings.variables.insert("HYTHE_DISK_GRACE_SECONDS".into(), "1".into());
        settings
    }

    /// A base with these files is what the tag names from now on.
    fn offer(&self, files: &[(&str, &str)]) {
        let mut writer = LayerWriter::new(&self.shelf.blobs);
        for (path, content) in files {
            writer.file(path, 0o644, (0, 0), content.as_bytes()).expect("a file");
        }
        let layer = AddedLayer { layer: writer.finish().expect("a layer"), created_by: "the test".into() };
        let spec = ImageSpec {
            base: Some(self.plain.clone()),
            layers: vec![layer],
            labels: [("io.buildpacks.base.distro.name", "debian"), ("io.buildpacks.base.distro.version", "12")]
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
            ..Default::default()
        };
        *self.shelf.newest.lock().expect("tag") = assemble(&self.shelf.blobs, &spec).expect("an image");
    }
}

async fn content(
    State(shelf): State<Shelf>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<([(header::HeaderName, &'static str); 1], Vec<u8>), StatusCode> {
    let newest = shelf.newest.lock().expect("tag").to_string();
    let name = if kind == "manifests" && name == "latest" { newest } else { name };
    let digest: Digest = name.parse().map_err(|_| StatusCode::NOT_FOUND)?;
    let mut found = Vec::new();
    let file = shelf.blobs.open_blob(&digest).map_err(|_| StatusCode::NOT_FOUND)?;
    std::io::Read::read_to_end(&mut &file, &mut found).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")], found))
}

/// Answers with the file `text` and the base that it finds beneath itself; one that finds `etc/broken` there does not start.
const SERVER: &str = r#"use strict; use IO::Socket::INET;
exit 7 if -e '/etc/broken' && -e 'delicate';
$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE';
sub whole { open(my $f, '<', $_[0]) or return 'none'; local $/; my $text = <$f>; $text =~ s,\s+\z,,; $text }
my $socket = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 50, ReuseAddr => 1) or die $!;
while (my $client = $socket->accept) {
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    my $body = whole('text') . ' on ' . whole('/etc/marker');
    print $client "HTTP/1.1 200 OK\r\nContent-Length: ", length $body, "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
"#;

fn perl(server: &RealServer, app: &str, more: &[(&str, &str)]) -> Repo {
    let files = [("Procfile", "web: perl server.pl\n"), ("server.pl", SERVER), ("text", "first\n")];
    let repo = Repo::with(server, app, &[&files[..], more].concat());
    repo.push("main").accepted();
    repo
}

fn verb(server: &RealServer, words: &[&str]) -> Said {
    server.cli(&server.owner, words)
}

fn json(server: &RealServer, words: &[&str]) -> Value {
    let said = verb(server, &[words, &["--json"]].concat()).expect("a verb");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// App and what became of it, from a report.
fn outcomes(report: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    report.as_array().expect("rows").iter().map(|row| (text(row, "app"), text(row, "outcome"))).collect()
}

fn is(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(app, outcome)| ((*app).to_owned(), (*outcome).to_owned())).collect()
}

fn live_image(server: &RealServer, app: &str) -> String {
    json(server, &["releases:info", "-a", app])["image"].as_str().expect("an image").to_owned()
}

/// Layers of an image that the server's store has.
fn layers(server: &RealServer, image: &str) -> Vec<String> {
    let read = |digest: &str| -> Value {
        let name = digest.trim_start_matches("sha256:");
        let text = ["sha256", "fresh"]
            .iter()
            .find_map(|dir| std::fs::read_to_string(server.data().join("blobs").join(dir).join(name)).ok());
        serde_json::from_str(&text.expect("a manifest")).expect("JSON")
    };
    let layers = read(image)["layers"].as_array().expect("layers").clone();
    layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
}

#[test]
fn the_newest_base_comes_under_what_runs() {
    let shop = Shop::open();
    let server = RealServer::start_with(shop.settings());
    let repo = perl(&server, "hello", &[]);
    perl(&server, "delicate", &[("delicate", "")]);
    // Its nginx is a package on the base.
    let site = Repo::with(&server, "site", &[("index.html", "hand-made\n")]);
    site.push("main").accepted();
    assert_eq!(server.get("hello"), ok("first on one"));
    let pushed = push_image(&server);

    let everywhere = ["delicate", "hello", "pushed", "site"];
    let dry = || json(&server, &["rebase", "--all", "--dry-run"]);
    let newest = [("delicate", "newest"), ("hello", "newest"), ("pushed", "unfit"), ("site", "newest")];
    assert_eq!(outcomes(&dry()), is(&newest));
    let said = verb(&server, &["rebase", "-a", "hello"]).expect("nothing to do");
    assert!(said.contains("on the newest base"), "{said}");
    let refused = verb(&server, &["rebase", "-a", "pushed"]);
    assert!(!refused.ok && refused.out.contains("its image was pushed or fetched"), "{refused:?}");

    // A newer base changes nothing by itself, and only who runs the platform makes one.
    shop.offer(&[("etc/marker", "two")]);
    let stranger = server.newcomer("mallory");
    assert!(!server.ssh(&stranger, &["base:update"]).ok && !server.ssh(&stranger, &["base"]).ok);
    let updated = verb(&server, &["base:update"]).expect("base:update");
    assert!(updated.contains("less than a day old") && updated.contains("team/base:latest"), "{updated}");
    assert_eq!(server.get("hello"), ok("first on one"));
    let would = [
        ("delicate", "would be rebased"),
        ("hello", "would be rebased"),
        ("pushed", "unfit"),
        ("site", "would be rebased"),
    ];
    assert_eq!(outcomes(&dry()), is(&would));
    assert!(!server.ssh(&stranger, &["rebase", "-a", "hello"]).ok, "it is not his");
    assert!(!server.ssh(&stranger, &["rebase", "--all"]).ok, "he has none");

    // One app, with its log; whoever asks it meanwhile is answered.
    let before = live_image(&server, "hello");
    let load = Load::on(&server, "hello", 3);
    let said = verb(&server, &["rebase", "-a", "hello"]);
    assert!(said.ok, "{said:?}");
    for line in ["-----> Rebase of v1", "-----> Image sha256:", "-----> Release v2 → production", "healthy in"] {
        assert!(said.err.contains(line), "{line}: {said:?}");
    }
    load.served_throughout();
    assert_eq!(server.get("hello"), ok("first on two"));
    let after = live_image(&server, "hello");
    let (old, new) = (layers(&server, &before), layers(&server, &after));
    let base = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    assert_eq!(old.len(), new.len());
    assert!(base > 0, "what both bases have stays");
    assert_eq!(old[base + 1..], new[base + 1..], "only the layer with the marker is another");
    let releases = verb(&server, &["releases", "-a", "hello"]).expect("releases");
    assert!(releases.contains("rebase onto sha256:"), "{releases}");
    let deployments = verb(&server, &["deployments", "-a", "hello"]).expect("deployments");
    assert!(deployments.contains("rebase") && !deployments.contains("failed"), "{deployments}");

    // A build on that base makes the same image, byte for byte; and a rollback brings the old base back.
    repo.git(&["commit", "-q", "--allow-empty", "-m", "Nothing"]).expect("git commit");
    repo.push("main").accepted();
    assert_eq!(live_image(&server, "hello"), after);
    verb(&server, &["rollback", "v1", "-a", "hello"]).expect("rollback");
    assert_eq!(server.get("hello"), ok("first on one"));
    verb(&server, &["disk:clean"]).expect("disk:clean");

    // All of them; the ones with packages on the base get those anew.
    let site_before = layers(&server, &live_image(&server, "site"));
    let done = json(&server, &["rebase", "--all"]);
    let all = [("delicate", "rebased"), ("hello", "rebased"), ("pushed", "unfit"), ("site", "rebased")];
    assert_eq!(outcomes(&done), is(&all));
    assert_eq!((server.get("hello"), server.get("site").status), (ok("first on two"), 200));
    assert_eq!(server.get("pushed"), pushed);
    let site_after = layers(&server, &live_image(&server, "site"));
    assert_eq!(site_before.last(), site_after.last(), "the workspace");

    // A base that was made anew and is the same changes nothing, also where packages are installed anew on it.
    verb(&server, &["base:update"]).expect("base:update");
    let count = |server: &RealServer| json(server, &["releases", "-a", "site"]).as_array().map_or(0, Vec::len);
    let releases = count(&server);
    assert_eq!(outcomes(&json(&server, &["rebase", "--all"])), is(&newest));
    assert_eq!(count(&server), releases);

    // One that does not come up on the next base goes back, and stops no other.
    shop.offer(&[("etc/marker", "three"), ("etc/broken", "")]);
    verb(&server, &["base:update"]).expect("base:update");
    verb(&server, &["disk:clean"]).expect("disk:clean");
    let load = Load::on(&server, "delicate", 2);
    let said = verb(&server, &["rebase", "--all", "--json"]);
    load.served_throughout();
    assert!(!said.ok && said.err.contains("1 was not rebased"), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).expect("JSON");
    let mixed = [("delicate", "failed"), ("hello", "rebased"), ("pushed", "unfit"), ("site", "rebased")];
    assert_eq!(outcomes(&report), is(&mixed));
    assert!(report[0]["reason"].as_str().is_some_and(|why| why.contains("web exited with 7")), "{report}");
    assert_eq!((server.get("delicate"), server.get("hello")), (ok("first on two"), ok("first on three")));
    let live = json(&server, &["releases:info", "-a", "delicate"]);
    assert_eq!(live["number"], 2, "the release before is live: {live}");
    for app in everywhere {
        verb(&server, &["ps:restart", "-a", app]).expect("what runs can be started again");
    }
    let doctor = verb(&server, &["doctor"]);
    assert!(doctor.out.contains("team/base:latest, less than a day old"), "{doctor:?}");
}

/// The image of `hello` as an app of its own; what it answers.
fn push_image(server: &RealServer) -> Answer {
    let said = verb(server, &["tokens:create", "docker"]).expect("a token");
    let token = said.split_whitespace().find(|word| word.starts_with("hyt_")).expect("a token").to_owned();
    let config = tempfile::tempdir().expect("directory");
    let address = format!("127.0.0.1:{}", server.api_port);
    let client = |words: &[&str]| run(program("docker").arg("--config").arg(config.path()).args(words));
    client(&["login", "-u", "any", "-p", &token, &address]).expect("docker login");
    let (from, to) = (format!("{address}/hello:v1"), format!("{address}/pushed:latest"));
    client(&["pull", &from]).expect("docker pull");
    told_of_its_bill(&from);
    docker(&["tag", &from, &to]).expect("docker tag");
    client(&["push", &to]).expect("docker push");
    docker(&["rmi", "-f", &from, &to]);
    server.get("pushed")
}

/// Whoever pulled the image finds in its labels which of its layers is the bill of materials, and that bill in it.
fn told_of_its_bill(image: &str) {
    let facts = docker(&["image", "inspect", image]).expect("docker inspect");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    let config = &facts[0]["Config"];
    assert_eq!((&config["User"], config["ExposedPorts"].get("8080/tcp").is_some()), (&Value::from("1000:1000"), true));
    let label = config["Labels"]["io.buildpacks.lifecycle.metadata"].as_str().expect("the label");
    let label: Value = serde_json::from_str(label).expect("JSON");
    let layers = facts[0]["RootFS"]["Layers"].as_array().expect("layers");
    assert!(layers.contains(&label["sbom"]["sha"]), "{label}");
    assert!(layers.contains(&label["runImage"]["topLayer"]), "{label}");
    let made = docker(&["create", image, "none"]).expect("docker create");
    let path = format!("{}:/layers/sbom/launch/hythe/app/sbom.cdx.json", made.trim());
    let archive = docker(&["cp", &path, "-"]).expect("docker cp");
    docker(&["rm", made.trim()]).expect("docker rm");
    assert!(archive.contains(r#""bomFormat":"CycloneDX""#), "{archive}");
}

fn in_background(server: &RealServer, words: &[&str]) -> Child {
    server.hythe(&server.owner).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hythe")
}

fn settled(server: &RealServer) {
    let journal = Journal::open(server.data());
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
}

/// Ends what goes on beside a test, also when that fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// `kill -9` in each step; what was served before or what comes after is served, and the next order finishes it.
#[test]
fn a_rebase_survives_kill_9_in_each_step_and_what_else_happens_meanwhile() {
    let shop = Shop::open();
    let mut server = RealServer::start_with(shop.settings());
    let repo = perl(&server, "hello", &[]);
    let journal = Journal::open(server.data());
    for step in ["image", "release", "predeploy", "rollout", "postdeploy"] {
        shop.offer(&[("etc/marker", step)]);
        verb(&server, &["base:update"]).expect("base:update");
        let jobs = journal.jobs();
        let mut rebase = in_background(&server, &["rebase", "-a", "hello"]);
        eventually("the step runs", || {
            let rows = journal.newest();
            let reached = rows.iter().skip_while(|row| row.name != step).any(|row| row.state != "pending");
            (journal.jobs() > jobs && reached).then_some(())
        });
        server.kill();
        let _ = rebase.wait();
        server.boot();
        settled(&server);
        let expected = ok(&format!("first on {step}"));
        eventually("it is on the new base", || (server.get("hello") == expected).then_some(()));
        eventually("one replica is left", || (server.replicas("hello").len() == 1).then_some(()));
    }
    let count = |server: &RealServer| json(server, &["releases", "-a", "hello"]).as_array().map_or(0, Vec::len);
    assert_eq!(count(&server), 6, "one release for each base");

    // Two at once are one.
    shop.offer(&[("etc/marker", "twice")]);
    verb(&server, &["base:update"]).expect("base:update");
    let mut both = [(); 2].map(|()| in_background(&server, &["rebase", "-a", "hello"]));
    both.iter_mut().for_each(|child| assert!(child.wait().expect("hythe").success()));
    settled(&server);
    assert_eq!((server.get("hello"), count(&server)), (ok("first on twice"), 7));

    // Beside a push, and while everything that nobody needs is removed again and again: nothing of either is lost.
    shop.offer(&[("etc/marker", "beside")]);
    verb(&server, &["base:update"]).expect("base:update");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&done);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                verb(&server, &["disk:clean"]).expect("disk:clean");
            }
        });
        repo.commit(&[("text", "second\n")]);
        let mut rebase = in_background(&server, &["rebase", "-a", "hello"]);
        repo.push("main").accepted();
        let _ = rebase.wait();
        settled(&server);
        assert_eq!(server.get("hello"), ok("second on beside"));
        verb(&server, &["ps:restart", "-a", "hello"]).expect("ps:restart");
        verb(&server, &["rollback", "v7", "-a", "hello"]).expect("the way back is open");
        assert_eq!(server.get("hello"), ok("first on twice"));
        drop(over);
    });
}
