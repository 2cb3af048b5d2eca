//! The command line over the API: in process, as over SSH, and as the real program over HTTP.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hythe::base::access::Role;
use hythe::edges::client::Transport;
use hythe::edges::{api, cli};
use tokio::io::AsyncWrite;

use super::harness::{Person, TestApi};

pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1oe7lSaMlIzRbfu0folvdFfZkiw5EUXqZtb2xzMchg ann@laptop";
pub const FINGERPRINT: &str = "SHA256:7W5N+KFjAh+oPrT7MZDe2hcpHrdJbn4aWTpGuLXWQ60";

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("unpoisoned").clone()).expect("text")
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

async fn far(api: &TestApi, who: &Person, words: &str) -> Ran {
    far_with(api, who, words, "").await
}

async fn far_with(api: &TestApi, who: &Person, words: &str, input: &str) -> Ran {
    let (out, err) = (Sink::default(), Sink::default());
    let mut io = cli::Io::over(Box::new(out.clone()), Box::new(err.clone()));
    io.stdin = Box::new(std::io::Cursor::new(input.as_bytes().to_vec()));
    let transport = Transport::InProcess(api::in_process(api.router.clone(), who.actor.clone()));
    let words = shlex::split(words).expect("words");
    let code = cli::run_remote(words, transport, io).await;
    Ran { code, out: out.text(), err: err.text() }
}

#[tokio::test]
async fn the_verbs_work_far_away() {
    let (api, root) = TestApi::start().await;
    let made = far(&api, &root, "apps:create shop").await;
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.out.contains("http://shop.localhost:8080") && made.out.contains("ssh://git@localhost:2222/shop.git"));
    let app = {
        let id = far(&api, &root, "apps:info shop --json").await;
        let id: serde_json::Value = serde_json::from_str(&id.out).expect("JSON");
        let mut tx = api.ctx.store.read().await.expect("a transaction");
        let id = id["id"].as_str().expect("an id").parse().expect("an id");
        let scope = hythe::base::access::Scope::Platform;
        hythe::state::store::apps::find(&mut tx, &scope, &id).await.expect("no fault").expect("an app")
    };
    assert_eq!(far(&api, &root, "config:set -a shop A=1 'B=two words'").await.code, 0);
    assert_eq!(far(&api, &root, "config shop").await.out, "A=1\nB='two words'\n");
    assert_eq!(far(&api, &root, "config:get -a shop B").await.out, "two words\n");
    assert_eq!(far(&api, &root, "config:unset -a shop A").await.code, 0);
    assert_eq!(far(&api, &root, "config shop --json").await.out, "{\n  \"B\": \"two words\"\n}\n");
    api.deliver(&app).await;
    assert_eq!(far(&api, &root, "ps shop").await.out, "web: 0 of 1 ready: node server.js\n");
    assert!(far(&api, &root, "ps:scale -a shop web=2").await.out.contains("0 of 2 ready"));
    assert_eq!(far(&api, &root, "ps:restart shop").await.code, 0);
    assert!(far(&api, &root, "releases shop").await.out.contains("v1"));
    assert!(far(&api, &root, "releases:info -a shop v1").await.out.contains("web: node server.js"));
    assert!(far(&api, &root, "builds shop").await.out.contains("succeeded"));
    assert_eq!(far(&api, &root, "builds:output -a shop").await.out, "-----> Node.js detected\n");
    assert!(far(&api, &root, "deployments shop").await.out.contains("push"));
    assert!(far(&api, &root, "envs:set -a shop --check /up").await.out.contains("/up"));
    assert!(far(&api, &root, "envs shop").await.out.contains("production"));
    assert_eq!(far(&api, &root, "logs shop -n 5").await.code, 0);
    assert_eq!(far(&api, &root, "git:remote shop").await.out, "ssh://git@localhost:2222/shop.git\n");
    assert!(far(&api, &root, "whoami").await.out.starts_with("root <root@example.com>"));
    assert!(far_with(&api, &root, "keys:add -", KEY).await.err.contains(FINGERPRINT));
    assert_eq!(far(&api, &root, "keys:remove ann@laptop").await.code, 0);
    assert!(far(&api, &root, &format!("keys:add {KEY}")).await.err.contains(FINGERPRINT));
    assert!(far(&api, &root, "keys:add").await.err.contains("no key was given"));
    assert!(far(&api, &root, "keys").await.out.contains("ann@laptop"));
    assert_eq!(far(&api, &root, "keys:remove ann@laptop").await.code, 0);
    assert!(far(&api, &root, "tokens:create ci --days 3").await.out.starts_with("hyt_"));
    assert!(far(&api, &root, "openapi").await.out.contains("\"openapi\": \"3.1"));
    assert!(far(&api, &root, "apps:rename -a shop store").await.out.contains("http://store.localhost:8080"));
    let unsure = far(&api, &root, "apps:destroy store").await;
    assert_eq!((unsure.code, unsure.err.contains("--confirm store")), (2, true), "{}", unsure.err);
    assert_eq!(far(&api, &root, "apps:destroy store --confirm shop").await.code, 2);
    assert_eq!(far(&api, &root, "apps:destroy store --confirm store").await.code, 0);
    assert_eq!(far(&api, &root, "apps --json").await.out, "[]\n");
}

#[tokio::test]
async fn exit_codes_and_texts_tell_what_went_wrong() {
    let (api, root) = TestApi::start().await;
    api.app(&root, "shop").await;
    let viewer = api.person("viewer", Some((&root.actor, Role::Viewer))).await;
    for (who, words, code, text) in [
        (&root, "apps:info nothing", 3, "app not found"),
        (&root, "apps:create shop", 5, "already exists"),
        (&root, "apps:create Shop", 2, "name: must be"),
        (&root, "config", 2, "which app?"),
        (&root, "config:set -a shop A", 2, "has no value"),
        (&root, "config:set -a shop PORT=1", 2, "is set by the platform"),
        (&root, "ps:scale -a shop web=many", 2, "web=2"),
        (&root, "frobnicate", 2, "unrecognized subcommand"),
        (&root, "ps:restart shop", 5, "push first"),
        (&viewer, "config shop", 4, "your role here, viewer"),
        (&viewer, "config:set -a shop A=1", 4, "your role here, viewer"),
    ] {
        let ran = far(&api, who, words).await;
        assert_eq!(ran.code, code, "{words}: {}", ran.err);
        assert!(ran.err.contains(text) && ran.out.is_empty(), "{words}: {} {}", ran.err, ran.out);
    }
    let help = far(&api, &root, "--help").await;
    assert_eq!((help.code, help.err.is_empty(), help.out.contains("apps:create")), (0, true, true));
}

/// Whoever comes over SSH has no files and no server of this machine.
#[tokio::test]
async fn verbs_about_the_own_machine_are_not_for_far_away() {
    let (api, root) = TestApi::start().await;
    let viewer = api.person("viewer", Some((&root.actor, Role::Viewer))).await;
    for words in [
        "serve",
        "serve --config /etc/passwd",
        "doctor",
        "login --url http://169.254.169.254 --token x",
        "logout",
        "setup --token x --name a --email a@b --key /etc/passwd --url http://169.254.169.254",
        "keys:add /etc/passwd",
        "open shop",
    ] {
        let ran = far(&api, &viewer, words).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words}: {}", ran.err);
        assert!(ran.err.contains("your own machine"), "{words}: {}", ran.err);
    }
}

/// The program itself, with folders of its own.
fn near(home: &Path, folder: &Path, url: &str, words: &str) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hythe"));
    command.args(shlex::split(words).expect("words")).current_dir(folder).env_clear().env("HOME", home);
    if !url.is_empty() {
        command.env("HYTHE_URL", url);
    }
    command.stdin(std::process::Stdio::null());
    command
}

async fn ran(mut command: std::process::Command) -> Ran {
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("the program runs")).await.expect("joined");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = u8::try_from(output.status.code().expect("a code")).expect("small");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_sets_up_logs_in_and_knows_its_folder() {
    let api = TestApi::empty().await;
    let token = hythe::product::accounts::ensure_setup_token(&api.ctx).await.expect("no fault").expect("a token");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let service = api.router.clone().into_make_service_with_connect_info::<std::net::SocketAddr>();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, service).await });
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("code/shop/src");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::create_dir_all(home.path().join("code/shop/.git")).expect("a folder");
    std::fs::write(home.path().join("code/shop/.git/config"), "[core]\n\tbare = false\n").expect("a file");
    std::fs::write(home.path().join("key.pub"), format!("{KEY}\n")).expect("a file");
    std::fs::write(home.path().join("key"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").expect("a file");
    let key = home.path().join("key.pub");

    let private = format!(
        "setup --token {token} --name ann --email ann@example.com --key {} --url {url}",
        home.path().join("key").display()
    );
    let refused = ran(near(home.path(), &folder, "", &private)).await;
    assert_eq!((refused.code, refused.err.contains("private key")), (2, true), "{}", refused.err);
    let words =
        format!("setup --token {token} --name ann --email ann@example.com --key {} --url {url}/", key.display());
    let made = ran(near(home.path(), &folder, "", &words)).await;
    assert_eq!(made.code, 0, "{}", made.err);
    let kept = home.path().join(".config/hythe/config.toml");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kept).expect("kept").permissions());
    assert_eq!(mode & 0o777, 0o600);

    let who = ran(near(home.path(), &folder, "", "whoami")).await;
    assert_eq!(who.out, "ann <ann@example.com>, administrator of the platform\n", "{}", who.err);
    assert_eq!(ran(near(home.path(), &folder, "", "apps:create shop")).await.code, 0);
    assert_eq!(ran(near(home.path(), &folder, "", "apps:info")).await.code, 2, "which app?");
    let remote = ran(near(home.path(), &folder, "", "git:remote -a shop")).await;
    assert_eq!(remote.code, 0, "{}", remote.err);
    let config = std::fs::read_to_string(home.path().join("code/shop/.git/config")).expect("kept");
    assert!(config.contains("[remote \"hythe\"]\n\turl = ssh://git@localhost:2222/shop.git\n"), "{config}");
    assert_eq!(ran(near(home.path(), &folder, "", "open")).await.out, "http://shop.localhost:8080\n");

    // The kept token goes to no other server.
    let other = ran(near(home.path(), &folder, &url.replace("127.0.0.1", "localhost"), "whoami")).await;
    assert_eq!((other.code, other.err.contains("hythe login")), (4, true), "{}", other.err);
    assert_eq!(ran(near(home.path(), &folder, "", "logout")).await.code, 0);
    assert_eq!(ran(near(home.path(), &folder, "", "whoami")).await.code, 4);
    assert!(!std::fs::read_to_string(&kept).expect("kept").contains("hyt_"));
    server.abort_all();
    let away = ran(near(home.path(), &folder, "http://127.0.0.1:1", "whoami")).await;
    assert_eq!((away.code, away.err.contains("does not answer")), (6, true), "{}", away.err);
}
