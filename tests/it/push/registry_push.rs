//! `docker push` end to end: from a real client to an app that answers, and what is left when it does not come so far.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use super::{Deployed, ok};
use crate::harness::{Journal, RealServer, Said, Settings, SmallDisk, docker, eventually, program, run};

/// A docker client that is logged in at the server's registry, and the images that it has made.
struct Client {
    address: String,
    token: String,
    config: tempfile::TempDir,
    images: BTreeSet<String>,
}

impl Client {
    fn of(server: &RealServer) -> Self {
        let said = server.cli(&server.owner, &["tokens:create", "docker"]).expect("a token");
        let token = said.split_whitespace().find(|word| word.starts_with("hyt_")).expect("a token").to_owned();
        let config = tempfile::tempdir().expect("directory");
        let address = format!("127.0.0.1:{}", server.api_port);
        let client = Self { address, token, config, images: BTreeSet::new() };
        client.docker(&["login", "-u", "any", "-p", &client.token, &client.address]).expect("docker login");
        client
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = program("docker");
        command.arg("--config").arg(self.config.path()).args(words);
        command
    }

    fn docker(&self, words: &[&str]) -> Said {
        run(&mut self.command(words))
    }

    fn name(&mut self, repository: &str) -> String {
        let name = format!("{}/{repository}", self.address);
        self.images.insert(name.clone());
        name
    }

    /// An image upon what the app `hello` runs, whose own command answers `text` on a port of its own.
    fn image(&mut self, base: &str, repository: &str, text: &str) -> String {
        let server = format!(
            "require('http').createServer((_, r) => r.end('{text}')).listen(3000);\
             process.on('SIGTERM', () => process.exit(0));"
        );
        self.image_of(base, repository, &["node", "-e", &server])
    }

    fn image_of(&mut self, base: &str, repository: &str, command: &[&str]) -> String {
        let name = self.name(repository);
        let made = docker(&["create", base, "none"]).expect("docker create");
        let command = format!("CMD {}", serde_json::to_string(command).expect("JSON"));
        let changes = [&command, "EXPOSE 3000", "LABEL io.hythe.buildpacks="].map(|change| ["--change", change]);
        let words: Vec<_> = ["commit"].into_iter().chain(changes.concat()).chain([made.trim(), &name]).collect();
        docker(&words).expect("docker commit");
        docker(&["rm", made.trim()]).expect("docker rm");
        name
    }

    fn push(&self, name: &str) -> Said {
        self.docker(&["push", name])
    }

    fn push_in_background(&self, name: &str) -> Child {
        self.command(&["push", name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docker push")
    }

    fn curl(&self, server: &RealServer, words: &[&str]) -> crate::harness::Answer {
        let user = format!("any:{}", self.token);
        server.curl(&[&["-u", &user], words].concat())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for image in &self.images {
            docker(&["rmi", "-f", image]);
        }
    }
}

fn incoming(server: &RealServer) -> usize {
    fs::read_dir(server.data().join("blobs/incoming")).map_or(0, Iterator::count)
}

#[test]
fn a_docker_push_puts_an_app_on_the_air_and_a_bad_one_says_why_it_does_not() {
    let app = Deployed::new();
    let server = &app.server;
    let mut client = Client::of(server);
    let base = client.name("hello:v1");
    client.docker(&["pull", &base]).expect("docker pull");

    // An app that is not there is made, as with git.
    let one = client.image(&base, "shop:latest", "pushed one");
    let pushed = client.push(&one).expect("docker push");
    let digest = pushed.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a digest").to_owned();
    assert_eq!(server.get("shop"), ok("pushed one"));
    let verb = |words: &[&str]| server.cli(&server.owner, &[words, &["-a", "shop"]].concat()).expect("a verb");
    let releases = verb(&["releases"]);
    assert!(releases.contains(&format!("docker push latest {}", &digest[..19])), "{releases}");
    assert!(verb(&["builds"]).contains("succeeded"));
    let log = verb(&["builds:output"]);
    for line in ["Image pushed as latest", "Release v1 → production", "healthy", "http://shop.localhost"] {
        assert!(log.contains(line), "{log}");
    }

    // One that does not come up is refused in the client's own words, and nothing changes.
    let bad = client.image_of(&base, "shop:latest", &["node", "-e", "console.log('no database'); process.exit(7)"]);
    let refused = client.push(&bad);
    assert!(!refused.ok && refused.err.contains("denied: deploy failed: web exited with 7"), "{refused:?}");
    assert_eq!(server.get("shop"), ok("pushed one"));
    // As whoever follows it finds: the verb ends as the push did.
    let told = server.cli(&server.owner, &["builds:output", "-a", "shop"]);
    assert!(!told.ok && told.out.contains("no database"), "{told:?}");

    // Another tag is only stored; an environment's name deploys there; a release's number is taken.
    let two = client.image(&base, "shop:two", "pushed two");
    client.push(&two).expect("docker push");
    assert_eq!(server.get("shop"), ok("pushed one"));
    verb(&["envs:create", "staging"]);
    let staging = client.name("shop:staging");
    docker(&["tag", &two, &staging]).expect("docker tag");
    client.push(&staging).expect("docker push");
    assert_eq!((server.get("staging--shop"), server.get("shop")), (ok("pushed two"), ok("pushed one")));
    let number = client.name("shop:v9");
    docker(&["tag", &two, &number]).expect("docker tag");
    let refused = client.push(&number);
    assert!(!refused.ok && refused.err.contains("name of a release"), "{refused:?}");

    // What is pulled is what was pushed, also after other releases of it, and it is kept from collections.
    verb(&["config:set", "A=b"]);
    server.cli(&server.owner, &["disk:clean"]).expect("disk:clean");
    docker(&["rmi", "-f", &one]).expect("docker rmi");
    assert!(client.docker(&["pull", &one]).expect("docker pull").contains(&digest));
    docker(&["rmi", "-f", &two]).expect("docker rmi");
    client.docker(&["pull", &two]).expect("docker pull");

    // Layers go over to another app without being sent, and git pushes go on beside it.
    let other = client.name("other:latest");
    docker(&["tag", &two, &other]).expect("docker tag");
    assert!(client.push(&other).expect("docker push").contains("Mounted from"));
    assert_eq!(server.get("other"), ok("pushed two"));
    app.repo.answer("second");
    app.repo.push("main").accepted();
    assert_eq!(server.get("hello"), ok("second"));
    assert_eq!(incoming(server), 0);
    app.nothing_left();
}

/// `kill -9` in each step of the deployment: after the restart it is done or was never there.
#[test]
fn a_kill_in_the_middle_of_a_deployment_leaves_no_half() {
    let mut app = Deployed::new();
    let mut client = Client::of(&app.server);
    let base = client.name("hello:v1");
    client.docker(&["pull", &base]).expect("docker pull");
    let journal = Journal::open(app.server.data());
    let mut live = "first".to_owned();
    for step in ["image", "release", "rollout", "accept"] {
        let image = client.image(&base, "hello:latest", step);
        let jobs = journal.jobs();
        let mut push = client.push_in_background(&image);
        eventually("the step runs", || {
            let rows = journal.newest();
            let reached = rows.iter().skip_while(|row| row.name != step).any(|row| row.state != "pending");
            (journal.jobs() > jobs && reached).then_some(())
        });
        app.server.kill();
        // The client tries again by itself, at a server that is back, or gives up.
        app.server.boot();
        let _ = push.wait();
        eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
        let (state, reason) = journal.deployments().pop().expect("a deployment");
        if state == "succeeded" {
            live = step.to_owned();
        } else {
            assert!(state == "failed" && reason.is_some(), "{state} {reason:?}");
        }
        let answer = eventually("the app answers", || Some(app.server.get("hello")).filter(|a| a.status == 200));
        assert_eq!(answer, ok(&live));
        eventually("one replica is left", || (app.server.replicas("hello").len() == 1).then_some(()));
    }
    let last = client.image(&base, "hello:latest", "last");
    client.push(&last).expect("docker push");
    assert_eq!(app.server.get("hello"), ok("last"));
    assert_eq!(incoming(&app.server), 0);
}

#[test]
fn a_kill_in_the_middle_of_an_upload_leaves_nothing() {
    let mut settings = Settings::with("HYTHE_BUILD_BASE", "127.0.0.1:1/none:none");
    settings.bare = true;
    let mut server = RealServer::start_with(settings);
    let client = Client::of(&server);
    let start = format!("{}/v2/shop/blobs/uploads/", server.api());
    let begun = client.curl(&server, &["-X", "POST", "-i", &start]);
    let location = begun.body.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location").to_owned();
    let mut stream = TcpStream::connect(&client.address).expect("connection");
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 100000000\r\n\r\n",
        client.address, client.token
    );
    stream.write_all(head.as_bytes()).expect("head");
    stream.write_all(&vec![7; 8 << 20]).expect("a part of the body");
    let written = || {
        let files = fs::read_dir(server.data().join("blobs/incoming")).expect("incoming").flatten();
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>()
    };
    eventually("some of it is on the disk", || (written() > 1 << 20).then_some(()));
    server.kill();
    let _ = stream.read(&mut [0; 64]);
    server.boot();
    assert_eq!(incoming(&server), 0);
    let gone = client.curl(&server, &["-X", "PATCH", "-d", "more", &format!("{}{location}", server.api())]);
    assert_eq!((gone.status, gone.body.contains("BLOB_UPLOAD_UNKNOWN")), (404, true), "{gone:?}");
    let tags = client.curl(&server, &[&format!("{}/v2/shop/tags/list", server.api())]);
    assert_eq!(tags, ok("{\"name\":\"shop\",\"tags\":[]}"));
}

#[test]
fn a_full_disk_is_told_in_clear_words_and_left_as_it_was() {
    let disk = SmallDisk::mount(48);
    let mut settings = Settings::with("HYTHE_BUILD_BASE", "127.0.0.1:1/none:none");
    settings.variables.insert("HYTHE_DISK_RESERVED_BYTES".into(), "0".into());
    (settings.bare, settings.data) = (true, Some(disk.path().join("data")));
    let server = RealServer::start_with(settings);
    let client = Client::of(&server);
    let large = server.home().join("large");
    fs::write(&large, vec![1; 64 << 20]).expect("a file");
    let zero = format!("sha256:{}", "0".repeat(64));
    let post = format!("{}/v2/shop/blobs/uploads/?digest={zero}", server.api());
    let refused = client.curl(&server, &["-X", "POST", "--data-binary", &format!("@{}", large.display()), &post]);
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(refused.body.contains("DENIED") && refused.body.contains("disk of this platform is full"), "{refused:?}");
    assert_eq!(incoming(&server), 0);
    let small = format!("{}/v2/shop/blobs/uploads/?digest=sha256:{}", server.api(), SHA256_OF_HELLO);
    assert_eq!(client.curl(&server, &["-X", "POST", "-d", "hello", &small]).status, 201);
}

const SHA256_OF_HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn a_nearly_full_disk_takes_no_pushes() {
    let mut settings = Settings::with("HYTHE_BUILD_BASE", "127.0.0.1:1/none:none");
    settings.variables.insert("HYTHE_DISK_RESERVED_BYTES".into(), (1_u64 << 60).to_string());
    settings.bare = true;
    let server = RealServer::start_with(settings);
    let client = Client::of(&server);
    let post = format!("{}/v2/shop/blobs/uploads/", server.api());
    let refused = client.curl(&server, &["-X", "POST", &post]);
    assert!(refused.status == 413 && refused.body.contains("nearly full"), "{refused:?}");
}
