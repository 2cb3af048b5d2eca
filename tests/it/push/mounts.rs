//! Dockerfiles with what the engine's own builder lacks: mounts, secrets, here-documents, modes.

use std::path::Path;

use super::dockerfiles::{PERL, SERVE};
use super::{Deployed, ok};
use crate::harness::{Journal, RealServer, Repo, Settings, docker, engine, eventually};

const SECRET: &str = "hunter2-and-quite-some-more";
const OTHER: &str = "swordfish-in-a-variable";
const APP_JSON: &str =
    r#"{"build": {"target": "serve", "secrets": {"token": "TOKEN", "api": "API_TOKEN", "unused": "TOKEN"}}}"#;

/// `run`: the end of a command with mounts of every kind, which leaves one more file in its cache.
fn dockerfile(run: &str) -> String {
    let text = r#"# syntax=docker/dockerfile:1
ARG NOTE=global
FROM hythe/base AS unused
RUN exit 1
FROM hythe/base AS tool
RUN mkdir -p /tool/bin && echo of the stage > /tool/word
FROM hythe/base AS serve
ARG GREETING="a 'b' c"
ARG NOTE
ENV PLACE=/srv
WORKDIR /srv
COPY --chmod=755 serve.sh .
COPY serve.pl .
COPY --from=tool --chmod=0640 --chown=1000:1000 /tool/word copied
RUN echo '{"old": 1}' > kept.json
RUN --mount=type=cache,target=/var/cache/mine,id=mine,uid=7,mode=0750 \
    --mount=type=secret,id=token,required \
    --mount=type=secret,id=token,target=/root/.netrc,mode=0444 \
    --mount=type=secret,id=api,env=API \
    --mount=type=secret,id=nobody \
    --mount=type=bind,source=kept.json,target=kept.json \
    --mount=type=bind,source=docs,target=docs \
    --mount=type=bind,from=tool,source=/tool,target=$PLACE/tool \
    --mount=type=tmpfs,target=/scratch,size=1m \
    set -e; ls /var/cache/mine | wc -l > page; touch /var/cache/mine/$(date +%s%N); stat -c '%u %a' /var/cache/mine; \
    cat kept.json docs/deep/read.me tool/word; echo gone > tool/written; echo gone > docs/written; echo gone > kept.json; \
    sha256sum < /run/secrets/token > proof; cmp /run/secrets/token /root/.netrc; test ! -e /run/secrets/nobody; \
    echo "the token is $(cat /run/secrets/token), the other $API"; echo "$API" | sha256sum >> proof; \
    df /scratch | tail -1; echo "$GREETING|$NOTE|$PLACE" >> page; COMMAND
RUN <<EOF
set -e
test ! -e /root/.netrc
test -z "$API$(find /run/secrets tool docs /var/cache/mine -type f)"
cat kept.json >> page
echo "later $GREETING" >> page
EOF
RUN <<-EOF
	#!/usr/bin/perl
	open my $f, '>>', '/srv/page'; print $f "by perl\n";
EOF
COPY --chmod=600 <<made <<'plain' /srv/made/
at $PLACE for \$5
made
at $PLACE
plain
RUN cat made/made made/plain >> page; stat -c '%a %u' serve.sh copied made/made >> page; cat copied >> page
RUN --network=none test "$(ls /sys/class/net)" = lo && rm -r made proof
EXPOSE 8080
USER 1000
CMD ["/srv/serve.sh"]
FROM scratch
RUN --mount=type=cache,target=/x nothing
"#;
    text.replace("COMMAND", run)
}

/// `warm`: how many files the command found in its cache.
fn page(warm: usize) -> String {
    format!(
        "{warm}\na 'b' c|global|/srv\n{{\"old\": 1}}\nlater a 'b' c\nby perl\nat /srv for $5\nat $PLACE\n\
         755 0\n640 1000\n600 0\nof the stage"
    )
}

fn tree(server: &RealServer, app: &str, text: &str) -> Repo {
    let files = [
        ("Dockerfile", text),
        ("serve.pl", PERL),
        ("serve.sh", SERVE),
        ("app.json", APP_JSON),
        ("kept.json", "{\"new\": 1}\n"),
        ("docs/deep/read.me", "of the tree\n"),
    ];
    let repo = Repo::with(server, app, &files);
    server.cli(&server.owner, &["apps:create", app]).expect("apps:create");
    let (token, api) = (format!("TOKEN={SECRET}"), format!("API_TOKEN={OTHER}"));
    server.cli(&server.owner, &["config:set", &token, &api, "-a", app]).expect("config:set");
    repo
}

/// A file below that holds one of the secrets.
fn holds(path: &Path) -> Option<String> {
    if path.is_dir() {
        return std::fs::read_dir(path).expect("a directory").find_map(|entry| holds(&entry.expect("an entry").path()));
    }
    if !path.is_file() {
        return None;
    }
    let content = std::fs::read(path).expect("a file");
    let found = |secret: &str| content.windows(secret.len()).any(|window| window == secret.as_bytes());
    (found(SECRET) || found(OTHER)).then(|| path.display().to_string())
}

fn volumes(prefix: &str, label: &str) -> Vec<String> {
    let (ours, label) = (format!("label=hythe.prefix={prefix}"), format!("label={label}"));
    let listed = docker(&["volume", "ls", "-q", "--filter", &ours, "--filter", &label]).expect("docker volume ls");
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn a_build_has_mounts_and_secrets_and_nothing_of_them_is_kept() {
    let server = RealServer::start();
    let repo = tree(&server, "hello", &dockerfile("true"));
    let said = repo.push("main").accepted();
    for text in [
        "line 16: RUN --mount=type=cache",
        "there is no secret nobody",
        "the token is ****, the other ****",
        "{\"new\": 1}",
        "of the tree",
        "7 750",
        "line 41: COPY --chmod=600",
        "Release v",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    assert!(!said.contains(SECRET) && !said.contains(OTHER), "{said}");
    assert_eq!(server.get("hello"), ok(&page(0)));

    // Nothing of a secret, in what the engine has of the build and in what the platform has.
    let images = engine::recipes(&server.prefix);
    let room = tempfile::tempdir().expect("a directory");
    let saved = room.path().join("images.tar");
    let to = saved.to_str().expect("a path");
    let on_images = |words: &[&'static str], more: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain(more.iter().copied()).collect();
        docker(&words).expect("docker")
    };
    for image in &images {
        let told = on_images(&["history", "--no-trunc"], &[image]) + &on_images(&["inspect"], &[image]);
        assert!(!told.contains(SECRET) && !told.contains(OTHER), "{told}");
    }
    let named = format!("{}/recipe", server.prefix);
    let tag = on_images(&["images", "--format", "{{.Repository}}:{{.Tag}}"], &[&named]);
    on_images(&["save", "-o"], &[to, tag.trim()]);
    assert_eq!(holds(&saved), None);
    assert_eq!(holds(server.data()), None);
    let caches = volumes(&server.prefix, "hythe.recipe.cache");
    assert_eq!(caches.len(), 1, "{caches:?}");
    let place = docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", &caches[0]]).expect("docker volume inspect");
    assert_eq!(holds(Path::new(place.trim())), None);
    assert!(volumes(&server.prefix, "hythe.recipe.run").is_empty());

    // The same again is taken as it was; a changed command finds its cache as it left it.
    repo.commit(&[]);
    let again = repo.push("main").accepted();
    assert!(again.contains("(as before)") && again.contains("nothing new") && !again.contains("****"), "{again}");
    repo.commit(&[("Dockerfile", &dockerfile("echo changed"))]);
    repo.push("main").accepted();
    assert_eq!(server.get("hello"), ok(&page(1)));
    // As does one of whose files one has changed.
    repo.commit(&[("docs/deep/read.me", "changed\n")]);
    repo.push("main").accepted();
    assert_eq!(server.get("hello"), ok(&page(2)));

    // Nobody has another's cache, whatever it is called.
    tree(&server, "other", &dockerfile("echo changed")).push("main").accepted();
    assert_eq!(server.get("other"), ok(&page(0)));

    assert_eq!(volumes(&server.prefix, "hythe.recipe.cache").len(), 2);
    server.cli(&server.owner, &["builds:cache:clear", "-a", "hello"]).expect("builds:cache:clear");
    assert_eq!(volumes(&server.prefix, "hythe.recipe.cache").len(), 1);
    repo.commit(&[]);
    repo.push("main").accepted();
    assert_eq!(server.get("hello"), ok(&page(0)));
    server.cli(&server.owner, &["apps:destroy", "other", "--confirm", "other"]).expect("apps:destroy");
    let left = || volumes(&server.prefix, "hythe.recipe.cache");
    eventually("its cache is gone and that of the other app is left", || (left().len() == 1).then_some(()));
}

#[test]
fn mounts_that_cannot_be_had_are_refused_and_change_nothing() {
    let app = Deployed::new();
    let repo = &app.repo;
    let with =
        |options: &str, command: &str| format!("FROM hythe/base\nRUN --mount={options} {command}\nCMD [\"x\"]\n");
    let none = r#"{"build": {}}"#;
    let named = r#"{"build": {"secrets": ["TOKEN"]}}"#;
    for (text, app_json, texts) in [
        (with("type=secret,id=npm,required", "id"), none, &["Dockerfile line 2", "no secret npm", "\"secrets\""][..]),
        (with("type=secret,id=TOKEN", "id"), named, &["the build secret TOKEN has no value", "config:set TOKEN="]),
        (with("type=ssh", "id"), none, &["Dockerfile line 2", "no agent"]),
        (with("type=bind,source=/,target=/", "id"), none, &["Dockerfile line 2", "no place to mount"]),
        (with("type=bind,source=../../etc,target=/x", "id"), none, &["Dockerfile line 2", "leads out"]),
        (with("type=bind,source=absent,target=/x", "id"), none, &["Dockerfile line 2", "absent"]),
        (with("type=bind,from=hythe/base,source=/absent,target=/x", "id"), none, &["line 2", "no /absent"]),
        (with("type=bind,target=/x,bind-propagation=shared", "id"), none, &["Dockerfile line 2", "not known"]),
        (with("type=tmpfs,target=/x", "echo the evidence; exit 7"), none, &["line 2", "exited 7", "the evidence"]),
        ("FROM scratch\nCOPY Dockerfile /\nRUN --mount=type=tmpfs,target=/x id\n".into(), none, &["no /bin/sh"]),
        ("FROM hythe/base\nCOPY <<EOF /x\nno end\n".into(), none, &["Dockerfile line 2", "no line is EOF alone"]),
    ] {
        repo.commit(&[("Dockerfile", &text), ("app.json", app_json)]);
        repo.push("main").refused(texts);
        app.untouched();
    }
    assert!(volumes(&app.server.prefix, "hythe.recipe.run").is_empty());
}

#[test]
fn a_command_with_mounts_is_bounded_as_any_other() {
    let mut settings = Settings::with("HYTHE_BUILD_MEMORY_BYTES", 256 << 20);
    let bounds = [("PROCESSES", "256"), ("DISK_BYTES", "1000000000")];
    settings.variables.extend(bounds.map(|(key, value)| (format!("HYTHE_BUILD_{key}"), value.to_owned())));
    let app = Deployed::with(settings);
    for (command, told) in [
        ("bash -c 'bomb() { bomb | bomb & }; bomb; sleep infinity'", &["too many processes", "build.processes"][..]),
        ("perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 24) }'", &["Dockerfile line 2", "exited 137", "256 MiB"]),
        (
            "dd if=/dev/zero of=/c/full bs=1M count=4000; sleep infinity",
            &["wrote more than 1.0 GB", "build.disk_bytes"],
        ),
    ] {
        let text = format!("FROM hythe/base\nRUN --mount=type=cache,target=/c {command}\nCMD [\"x\"]\n");
        app.repo.commit(&[("Dockerfile", &text), ("app.json", r#"{"build": {}}"#)]);
        app.repo.push("main").refused(told);
    }
    // The cache that filled the disk is gone, so that the next build is not ended for it.
    assert!(volumes(&app.server.prefix, "hythe.recipe.cache").is_empty());
    eventually("no container of a build is left", || {
        let names = app.server.containers();
        names.iter().all(|name| name.contains("-sandbox-") || name.contains("hello")).then_some(())
    });
}

#[test]
fn a_command_with_a_secret_that_kill_9_cuts_short_leaves_nothing() {
    let mut server = RealServer::start();
    let repo = tree(&server, "hello", &dockerfile("sleep 5"));
    let push = repo.push_in_background("main");
    let journal = Journal::open(server.data());
    let container = eventually("the command runs", || {
        let names = server.containers();
        let name = names.iter().find(|name| name.contains("-recipe-") && name.ends_with("-run"))?;
        let top = docker(&["top", name]);
        // Not the shell, whose line has these words as well.
        let sleeps = |line: &str| line.ends_with(" sleep 5") && !line.contains("set -e");
        (top.ok && top.out.lines().any(sleeps)).then(|| name.clone())
    });
    // Not where an operator's tools look, and not in what the engine writes to its disk.
    let inspected = docker(&["inspect", &container]).expect("docker inspect");
    assert!(!inspected.contains(SECRET) && !inspected.contains(OTHER), "{inspected}");
    let id = docker(&["inspect", "-f", "{{.Id}}", &container]).expect("docker inspect");
    let root = docker(&["info", "-f", "{{.DockerRootDir}}"]).expect("docker info");
    assert_eq!(holds(&Path::new(root.trim()).join("containers").join(id.trim())), None);
    server.kill();
    drop(push.wait());
    server.boot();
    // The command had filled its cache before.
    eventually("the app answers", || (server.get("hello") == ok(&page(1))).then_some(()));
    eventually("every job has ended", || (journal.unfinished() == 0).then_some(()));
    assert!(volumes(&server.prefix, "hythe.recipe.run").is_empty());
    assert!(!server.containers().iter().any(|name| name.contains("-recipe-")));
}
