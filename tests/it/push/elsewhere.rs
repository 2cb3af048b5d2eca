//! Deploying what lies elsewhere: images of registries, branches of git repositories, archives in buckets.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use super::ok;
use crate::harness::{Answer, Journal, RealServer, Repo, Said, Settings, SmallDisk, eventually, program};

/// Everything that a host on the network may do to who fetches from it.
struct Host {
    port: u16,
    /// Request lines and authorizations.
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

struct Asked {
    line: String,
    authorization: String,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    /// First byte of what is asked for.
    fn from(&self) -> usize {
        let range = self.headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |at| at.parse().expect("a number"))
    }
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
                    let first = {
                        let mut seen = note.lock().expect("lock");
                        seen.push((asked.line.clone(), asked.authorization.clone()));
                        // Of a branch: where it stands, and then its pack.
                        let usual = if asked.line.starts_with("POST") { 2 } else { 1 };
                        seen.iter().filter(|(line, _)| *line == asked.line).count() <= usual
                    };
                    // A client that goes away in the middle is what some of these are for.
                    let _ = answer(stream, &asked, (repository, archive), first);
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
    let (line, headers) = (String::new(), BTreeMap::new());
    let mut asked = Asked { line, authorization: String::new(), headers, body: Vec::new() };
    reader.read_line(&mut asked.line).expect("a request");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim().split_once(':') else { break };
        asked.headers.insert(name.to_lowercase(), value.trim().to_owned());
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
    (repository, archive): (Option<PathBuf>, Option<Vec<u8>>),
    first: bool,
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
            let said = child.wait_with_output()?.stdout;
            let is_pack = asked.body.windows(5).any(|word| word == b"want ");
            match path {
                path if is_pack && path.starts_with("/repo.git/cut/") => half(&mut stream, &said),
                path if is_pack && path.starts_with("/repo.git/held/") && first => hold(&mut stream, &said),
                _ => whole("application/x-git-upload-pack-result", &said),
            }
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
        // Ends in the middle each time, and has the rest for who asks for that.
        ("/dripping-bucket/app.tar.gz", _, Some(archive)) => {
            let (at, all) = (asked.from(), archive.len());
            let status = if at == 0 { "200 OK" } else { "206 Partial Content" };
            let piece = all / 3 + 1;
            write!(
                stream,
                "HTTP/1.1 {status}\r\nETag: \"one\"\r\nContent-Range: bytes {at}-{}/{all}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                all - 1,
                all - at,
            )?;
            stream.write_all(&archive[at..(at + piece).min(all)])
        }
        ("/cut-bucket/app.tar.gz", _, Some(archive)) => half(&mut stream, &archive),
        ("/held-bucket/app.tar.gz", _, Some(archive)) if first => hold(&mut stream, &archive),
        ("/held-bucket/app.tar.gz", _, Some(archive)) => whole("application/gzip", &archive),
        ("/signed-bucket/a%20b/app%2B1.tar.gz", _, Some(archive)) => match signature_fault(asked) {
            None => whole("application/gzip", &archive),
            Some(fault) => {
                let said = format!("<Error><Code>{fault}</Code></Error>");
                write!(stream, "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}", said.len())
            }
        },
        ("/wrong-bucket/app.tar.gz", ..) => whole("text/html", b"<html>hello</html>"),
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn promise(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..body.len() / 2])
}

/// And closes.
fn half(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    promise(stream, body)
}

/// And sends no more, until the other side goes.
fn hold(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    promise(stream, body)?;
    stream.read(&mut [0]).map(drop)
}

const KEY_ID: &str = "AKIDOFTHETEST";
const SECRET: &str = "hunter2-of-the-bucket";
const SESSION: &str = "session/of+the=test";

/// Judges as a store does, from what it was sent alone (AWS, "Create a signed AWS API request").
fn signature_fault(asked: &Asked) -> Option<String> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::{Digest as _, Sha256};
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let Some(rest) = asked.authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Some("AccessDenied".into());
    };
    let parts: BTreeMap<&str, &str> = rest.split(',').filter_map(|part| part.trim().split_once('=')).collect();
    let credential: Vec<&str> = parts["Credential"].split('/').collect();
    let [id, day, region, "s3", "aws4_request"] = credential[..] else {
        return Some("AuthorizationHeaderMalformed".into());
    };
    if (id, region) != (KEY_ID, "eu-central-1") {
        return Some("InvalidAccessKeyId".into());
    }
    let names: Vec<&str> = parts["SignedHeaders"].split(';').collect();
    for name in ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
        if !names.contains(&name) {
            return Some(format!("Unsigned:{name}"));
        }
    }
    let mut words = asked.line.split(' ');
    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
    let lines: String = names.iter().map(|name| format!("{name}:{}\n", asked.headers[*name])).collect();
    let body = hex::encode(Sha256::digest(&asked.body));
    let date = &asked.headers["x-amz-date"];
    if asked.headers["x-amz-content-sha256"] != body || asked.headers["x-amz-security-token"] != SESSION {
        return Some("InvalidToken".into());
    }
    if !date.starts_with(day) {
        return Some("RequestTimeTooSkewed".into());
    }
    let canonical = format!("{method}\n{path}\n\n{lines}\n{}\n{body}", parts["SignedHeaders"]);
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let key = ["s3", "aws4_request"]
        .into_iter()
        .fold(mac(&mac(format!("AWS4{SECRET}").as_bytes(), day), region), |key, part| mac(&key, part));
    (parts["Signature"] != hex::encode(mac(&key, &text))).then(|| "SignatureDoesNotMatch".into())
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
    let redirecting = ["--s3", &bucket("redirecting-bucket"), "--endpoint", &endpoint];
    refused(&create(&server, &redirecting), &["169.254.169.254", "not an address of the public internet"]);
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
        ("redirecting-bucket", &["redirects to 169.254.169.254, where credentials do not follow"][..]),
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

/// A server with `shop`, and what is elsewhere: a repository that answers `by git` and an archive that answers `by archive`.
fn apart() -> (RealServer, Repo, Host) {
    let server = RealServer::start_with(Settings::with("HYTHE_OUTBOUND_PRIVATE", true));
    server.cli(&server.owner, &["apps:create", "shop"]).expect("apps:create");
    server.cli(&server.owner, &["config:set", "-a", "shop", "GIT_TOKEN=the-token"]).expect("config:set");
    let repo = Repo::node(&server, "shop", "by archive");
    let archive = server.home().join("shop.tar.gz");
    // What is random does not pack: it is worth a connection that breaks.
    let noise: String = (0..40_000_u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    repo.commit(&[("noise", &noise)]);
    repo.git(&["archive", &format!("--output={}", archive.display()), "HEAD"]).expect("git archive");
    repo.answer("by git");
    let host = Host::start(Some(repo.file(".git")), Some(fs::read(archive).expect("the archive")));
    (server, repo, host)
}

impl Host {
    fn times(&self, path: &str) -> usize {
        self.seen.lock().expect("lock").iter().filter(|(line, _)| line.contains(path)).count()
    }
}

fn nothing_is_left(server: &RealServer) {
    let journal = Journal::open(server.data());
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
    eventually("nothing stays in quarantine", || super::quarantined(server.data()).is_empty().then_some(()));
    eventually("no upload stays", || {
        (fs::read_dir(server.data().join("uploads")).expect("uploads").count() == 0).then_some(())
    });
}

/// `kill -9` while the half of it is there; and another fetch of the same app that waits its turn behind.
#[test]
fn a_fetch_survives_kill_9_and_another_waits_behind_it() {
    let (mut server, _repo, host) = apart();
    let endpoint = host.at("");
    let (held, plain) = (host.at("/repo.git/held"), host.at("/repo.git"));
    let git = ["--git", &held, "--password-from", "GIT_TOKEN"];
    let bucket = ["--s3", "s3://held-bucket/app.tar.gz", "--endpoint", &endpoint];
    let detached = |server: &RealServer, words: &[&str]| {
        let said = create(server, &[words, &["--json"]].concat()).expect("a job");
        assert!(said.contains("\"running\""), "answered before it is fetched: {said}");
    };

    detached(&server, &git);
    eventually("half of the pack is on its way", || (host.times("POST /repo.git/held/") == 2).then_some(()));
    server.kill();
    server.boot();
    serves(&server, "by git");
    nothing_is_left(&server);
    assert_eq!(host.times("POST /repo.git/held/"), 4, "it was asked for anew");

    detached(&server, &bucket);
    let half = || host.times("/held-bucket/") == 1;
    eventually("half of the archive is on its way", || half().then_some(()));
    detached(&server, &["--git", &plain, "--password-from", "GIT_TOKEN"]);
    assert!(half(), "the second waits");
    server.kill();
    server.boot();
    nothing_is_left(&server);
    assert_eq!(host.times("/held-bucket/"), 2);
    serves(&server, "by git");
    let releases = server.cli(&server.owner, &["releases", "-a", "shop"]).expect("releases");
    for text in
        [format!("main of {held} "), format!("s3://held-bucket/app.tar.gz at {endpoint} "), format!("main of {plain} ")]
    {
        assert!(releases.contains(&text), "{text}: {releases}");
    }
}

#[test]
fn a_lost_connection_is_taken_up_again_and_told_when_it_stays_lost() {
    let (server, _repo, host) = apart();
    let endpoint = host.at("");
    let said =
        create(&server, &["--s3", "s3://dripping-bucket/app.tar.gz", "--endpoint", &endpoint]).expect("an archive");
    assert!(said.contains("Fetching s3://dripping-bucket/app.tar.gz") && said.contains("Fetched "), "{said}");
    assert_eq!(host.times("/dripping-bucket/"), 3, "each time the rest");
    serves(&server, "by archive");

    let cut = host.at("/repo.git/cut");
    let said = create(&server, &["--git", &cut, "--password-from", "GIT_TOKEN"]);
    refused(
        &said,
        &["tried again (1 of 3)", "main of http://127.0.0.1:", "cannot be fetched", "The release before keeps serving"],
    );
    assert!(!said.out.contains("the-token") && !said.err.contains("the-token"), "{said:?}");
    assert_eq!(host.times("POST /repo.git/cut/"), 6);
    let said = create(&server, &["--s3", "s3://cut-bucket/app.tar.gz", "--endpoint", &endpoint]);
    refused(&said, &["s3://cut-bucket/app.tar.gz at http://127.0.0.1:", "cannot be fetched"]);
    assert_eq!(host.times("/cut-bucket/"), 3);
    nothing_is_left(&server);
    serves(&server, "by archive");
}

/// Against a store that looks at every signature: below an endpoint, with a session, a region and a key with spaces.
#[test]
fn a_bucket_is_asked_with_a_signature_that_holds() {
    let (server, _repo, host) = apart();
    let endpoint = host.at("");
    let words = ["--s3", "s3://signed-bucket/a b/app+1.tar.gz", "--endpoint", &endpoint, "--region", "eu-central-1"];
    refused(&create(&server, &words), &["403", "name the variables"]);
    let set = |pairs: &[String]| {
        let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
        server.cli(&server.owner, &[&["config:set", "-a", "shop"], &pairs[..]].concat()).expect("config:set");
    };
    let named = [&words[..], &["--user-from", "BUCKET_ID", "--password-from", "BUCKET_SECRET"]].concat();
    set(&[format!("BUCKET_ID={KEY_ID}"), "BUCKET_SECRET=wrong".into(), format!("AWS_SESSION_TOKEN={SESSION}")]);
    refused(&create(&server, &named), &["403", "correct their values"]);
    set(&[format!("BUCKET_SECRET={SECRET}")]);
    let said = create(&server, &named).expect("signed");
    assert!(!said.contains(SECRET) && !said.contains(SESSION), "{said}");
    serves(&server, "by archive");
    assert!(!server.log().contains(SECRET) && !server.log().contains(SESSION));
}

#[test]
fn a_full_disk_ends_a_fetch_and_leaves_nothing() {
    let (server, _repo, host) = apart();
    // Only where archives come in: the rest of the server goes on.
    let uploads = SmallDisk::over(&server.data().join("uploads"), 4);
    uploads.fill(4096);
    let endpoint = host.at("");
    let words = ["--s3", "s3://my-bucket/app.tar.gz", "--endpoint", &endpoint];
    refused(
        &create(&server, &words),
        &["the disk of the server is full", "s3://my-bucket/app.tar.gz", "Nothing was deployed"],
    );
    uploads.relieve();
    create(&server, &words).expect("an archive");
    serves(&server, "by archive");
    nothing_is_left(&server);
}
