//! Deploying what lies elsewhere: images of registries, branches of git repositories, archives in buckets.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use super::ok;
use crate::harness::{Answer, RealServer, Repo, Said, Settings, eventually, program};

/// Everything that a host on the network may do to who fetches from it.
struct Host {
    port: u16,
    /// Request lines and authorizations.
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

struct Asked {
    line: String,
    authorization: String,
    body: Vec<u8>,
}

impl Host {
    /// `repository`: served at `/repo.git`; `archive` at `/my-bucket/app.tar.gz`.
    fn start(repository: Option<PathBuf>, archive: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("address").port();
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let note = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (repository, archive, note) = (repository.clone(), archive.clone(), Arc::clone(&note));
                std::thread::spawn(move || {
                    let asked = asked(&stream);
                    note.lock().expect("lock").push((asked.line.clone(), asked.authorization.clone()));
                    // A client that goes away in the middle is what some of these are for.
                    let _ = answer(stream, &asked, repository, archive);
                });
            }
        });
        Self { port, seen }
    }

    fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn asked(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked { line: String::new(), authorization: String::new(), body: Vec::new() };
    reader.read_line(&mut asked.line).expect("a request");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "authorization" => asked.authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().expect("a length"),
            _ => {}
        }
    }
    asked.body.resize(length, 0);
    reader.read_exact(&mut asked.body).expect("a body");
    asked
}

fn answer(
    mut stream: TcpStream,
    asked: &Asked,
    repository: Option<PathBuf>,
    archive: Option<Vec<u8>>,
) -> std::io::Result<()> {
    let path = asked.line.split(' ').nth(1).unwrap_or_default();
    let mut whole = |kind: &str, body: &[u8]| {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)
    };
    match (path, repository, archive) {
        (path, Some(repository), _) if path.starts_with("/repo.git/") => {
            // base64 of x:the-token, and what the platform sends for a token without a user.
            if asked.authorization != "Basic dG9rZW46dGhlLXRva2Vu" {
                return stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
            let mut git = program("git");
            git.args(["upload-pack", "--stateless-rpc"]).env("GIT_PROTOCOL", "version=2");
            if path.contains("/info/refs") {
                let said = git.arg("--advertise-refs").arg(repository).output()?;
                return whole("application/x-git-upload-pack-advertisement", &[b"001e# service=git-upload-pack\n0000", &said.stdout[..]].concat());
            }
            let mut child = git.arg(repository).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            child.stdin.take().expect("stdin").write_all(&asked.body)?;
            let said = child.wait_with_output()?;
            whole("application/x-git-upload-pack-result", &said.stdout)
        }
        ("/my-bucket/app.tar.gz", _, Some(archive)) => whole("application/gzip", &archive),
        ("/endless-bucket/app.tar.gz", ..) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[7; 64 << 10])?;
            }
        }
        ("/redirecting-bucket/app.tar.gz", ..) => stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        ("/slow-bucket/app.tar.gz", ..) => {
            // Until the other side has had enough.
            stream.read(&mut [0]).map(drop)
        }
        ("/wrong-bucket/app.tar.gz", ..) => whole("text/html", b"<html>hello</html>"),
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn create(server: &RealServer, words: &[&str]) -> Said {
    server.cli(&server.owner, &[&["builds:create", "-a", "shop"], words].concat())
}

#[track_caller]
fn refused(said: &Said, texts: &[&str]) {
    assert!(!said.ok, "{said:?}");
    for text in texts {
        assert!(said.err.contains(text) || said.out.contains(text), "{text:?} is not in {said:?}");
    }
}

fn serves(server: &RealServer, text: &str) {
    let answer: Answer = eventually("the app answers", || Some(server.get("shop")).filter(|a| a.status == 200));
    assert_eq!(answer, ok(text));
}

#[test]
fn an_image_a_branch_and_an_archive_from_elsewhere_are_deployed() {
    let server = RealServer::start_with(Settings::with("HYTHE_OUTBOUND_PRIVATE", true));
    let repo = Repo::node(&server, "hello", "by image");
    repo.push("main").accepted();
    let verb = |words: &[&str]| server.cli(&server.owner, &[words, &["-a", "shop"]].concat()).expect("a verb");
    server.cli(&server.owner, &["apps:create", "shop"]).expect("apps:create");

    // Of a registry: this server's own, which has what `hello` runs.
    let said = server.cli(&server.owner, &["tokens:create", "pull"]).expect("a token");
    let token = said.split_whitespace().find(|word| word.starts_with("hyt_")).expect("a token").to_owned();
    let image = format!("127.0.0.1:{}/hello:v1", server.api_port);
    verb(&["config:set", &format!("REGISTRY_TOKEN={token}"), "WRONG=no-such-token", "GIT_TOKEN=the-token"]);
    refused(&create(&server, &["--image", &image]), &["cannot be fetched"]);
    refused(&create(&server, &["--image", &image, "--password-from", "WRONG"]), &["refuses these credentials"]);
    refused(&create(&server, &["--image", &image, "--password-from", "ABSENT"]), &["no variable ABSENT"]);
    let said = create(&server, &["--image", &image, "--password-from", "REGISTRY_TOKEN"]).expect("an image");
    assert!(said.contains(&format!("Fetching {image}")) && said.contains("Release v"), "{said}");
    assert!(!said.contains(&token), "{said}");
    serves(&server, "by image");
    assert!(verb(&["releases"]).contains(&format!("image {image}")));
    refused(
        &create(&server, &["--image", &image.replace("v1", "v99"), "--password-from", "REGISTRY_TOKEN"]),
        &["has no manifests/v99"],
    );
    refused(&create(&server, &["--image", "169.254.169.254/x/y:1"]), &["outbound.private"]);
    serves(&server, "by image");

    // Of a git repository.
    let elsewhere = Repo::node(&server, "shop", "by git");
    elsewhere.git(&["branch", "topic"]).expect("branch");
    elsewhere.answer("by git, later");
    let archive = elsewhere.file("../shop.tar.gz");
    let archive = archive.parent().expect("parent").join(format!("{}.tar.gz", elsewhere.head()));
    let out = format!("--output={}", archive.display());
    elsewhere.answer("by archive");
    elsewhere.git(&["archive", &out, "HEAD"]).expect("git archive");
    elsewhere.git(&["reset", "-q", "--hard", "HEAD~1"]).expect("reset");
    let bytes = fs::read(&archive).expect("archive");
    fs::remove_file(&archive).expect("removed");
    let host = Host::start(Some(elsewhere.file(".git")), Some(bytes));
    let url = host.at("/repo.git");
    refused(&create(&server, &["--git", &url]), &["401", "variables that hold its credentials"]);
    refused(&create(&server, &["--git", &host.at("/nothing.git")]), &["404"]);
    let with = ["--git", &url, "--password-from", "GIT_TOKEN"];
    refused(&create(&server, &[&with[..], &["--branch", "absent"]].concat()), &["no branch absent"]);
    create(&server, &[&with[..], &["--branch", "topic"]].concat()).expect("a branch");
    serves(&server, "by git");
    let said = create(&server, &with).expect("the environment's branch");
    assert!(said.contains("Node.js detected") && !said.contains("the-token"), "{said}");
    serves(&server, "by git, later");

    // Of a bucket, with a signature once the app has the usual variables.
    let bucket = |name: &str| format!("s3://{name}/app.tar.gz");
    let endpoint = host.at("");
    create(&server, &["--s3", &bucket("my-bucket"), "--endpoint", &endpoint]).expect("an archive");
    serves(&server, "by archive");
    verb(&["config:set", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=hunter2-of-the-bucket"]);
    create(&server, &["--s3", &bucket("my-bucket"), "--endpoint", &endpoint, "--region", "eu-central-1"])
        .expect("signed");
    let seen = host.seen.lock().expect("lock").clone();
    let signed: Vec<_> =
        seen.iter().filter(|(line, _)| line.contains("/my-bucket/")).map(|(_, a)| a.as_str()).collect();
    assert_eq!(signed[0], "");
    assert!(signed[1].starts_with("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"), "{signed:?}");
    assert!(signed[1].contains("/eu-central-1/s3/aws4_request"), "{signed:?}");
    for (name, texts) in [
        ("redirecting-bucket", &["169.254.169.254", "not an address of the public internet"][..]),
        ("wrong-bucket", &["the archive cannot be read"]),
        ("absent-bucket", &["404"]),
    ] {
        refused(&create(&server, &["--s3", &bucket(name), "--endpoint", &endpoint]), texts);
    }
    assert!(!server.log().contains("hunter2-of-the-bucket") && !server.log().contains(&token));
    assert_eq!(fs::read_dir(server.data().join("uploads")).expect("uploads").count(), 0);
    serves(&server, "by archive");
}

#[test]
fn nobody_is_led_into_the_server_s_own_network_or_held_up() {
    let host = Host::start(None, None);
    let strict = RealServer::start();
    strict.cli(&strict.owner, &["apps:create", "shop"]).expect("apps:create");
    let near = host.at("/repo.git");
    let local = near.replace("127.0.0.1", "localhost");
    for words in [
        ["--git", &near],
        ["--git", &local],
        ["--git", "http://169.254.169.254/repo.git"],
        ["--git", "http://[::1]/repo.git"],
        ["--git", "http://0177.0.0.1/repo.git"],
        ["--image", "localhost:1/x/y:1"],
        ["--image", "127.0.0.1:1/x/y:1"],
    ] {
        let said = create(&strict, &words);
        refused(&said, &["outbound.private"]);
    }
    strict.cli(&strict.owner, &["config:set", "-a", "shop", "GIT_TOKEN=t0ken"]).expect("config:set");
    let readable = ["--git", "http://git.example.com/repo.git", "--password-from", "GIT_TOKEN"];
    refused(&create(&strict, &readable), &["credentials go over https only"]);
    for endpoint in [host.at(""), "http://169.254.169.254".into()] {
        refused(&create(&strict, &["--s3", "s3://my-bucket/x", "--endpoint", &endpoint]), &["outbound.private"]);
    }
    for words in [
        ["--git", "ext::sh -c id"],
        ["--git", "file:///etc"],
        ["--git", "https://user:hunter2@example.com/x.git"],
        ["--s3", "s3://../etc/passwd"],
        ["--image", "nginx"],
        ["--image", "$(id)/x"],
    ] {
        let said = create(&strict, &words);
        refused(&said, &[]);
    }
    assert!(host.seen.lock().expect("lock").is_empty(), "nobody came: {:?}", host.seen);
    drop(strict);

    let mut settings = Settings::with("HYTHE_OUTBOUND_PRIVATE", true);
    settings.variables.insert("HYTHE_BUILD_TIMEOUT_SECONDS".into(), "3".into());
    settings.variables.insert("HYTHE_GIT_MAX_PACK_BYTES".into(), "300000".into());
    let bounded = RealServer::start_with(settings);
    bounded.cli(&bounded.owner, &["apps:create", "shop"]).expect("apps:create");
    for (bucket, texts) in
        [("endless-bucket", &["larger than 300000 bytes"][..]), ("slow-bucket", &["not fetched within 3 seconds"])]
    {
        let address = format!("s3://{bucket}/app.tar.gz");
        refused(&create(&bounded, &["--s3", &address, "--endpoint", &host.at("")]), texts);
    }
    assert_eq!(fs::read_dir(bounded.data().join("uploads")).expect("uploads").count(), 0);
}
