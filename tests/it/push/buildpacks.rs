//! Which buildpacks an app is built with: by the tree, and by the verbs, which go before it.

use std::path::Path;

use hythe::machinery::image::BlobStore;
use tokio::task::JoinSet;

use super::{Deployed, ok};
use crate::builds::{Goods, image_of};
use crate::harness::{Settings, program, run};
use crate::people::listed;

const SERVER: &str =
    "require('http').createServer((_, r) => r.end(process.env.WORDS ?? 'none')).listen(process.env.PORT);\n";

/// Makes the Node.js app of the push answer with what it is told at launch.
fn buildpack(id: &str) -> Vec<(String, String)> {
    let build = format!(
        "#!/bin/bash\nmkdir -p \"$1/words/env\"; printf 'by {id}' >\"$1/words/env/WORDS\"\n\
         printf '[types]\\nlaunch = true\\n' >\"$1/words.toml\"\n"
    );
    let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"example/{id}\"\nversion = \"1.0.0\"\n");
    [("buildpack.toml", toml), ("bin/detect", "#!/bin/bash\n".to_owned()), ("bin/build", build)]
        .map(|(file, text)| (format!("packs/{id}/{file}"), text))
        .to_vec()
}

#[test]
fn the_tree_says_which_and_people_go_before_it() {
    let app = Deployed::new();
    let files: Vec<_> = buildpack("one").into_iter().chain(buildpack("two")).collect();
    let mut files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("server.js", SERVER));
    files.push(("app.json", "{\"buildpacks\": [{\"url\": \"heroku/nodejs\"}, {\"url\": \"./packs/one\"}]}"));
    app.repo.commit(&files);
    app.repo.git(&["update-index", "--chmod=+x", "packs/one/bin/detect", "packs/one/bin/build"]).expect("mode");
    app.repo.git(&["update-index", "--chmod=+x", "packs/two/bin/detect", "packs/two/bin/build"]).expect("mode");
    app.repo.git(&["commit", "-q", "-m", "programs"]).expect("commit");
    app.repo.git(&["checkout", "-q", "--", "."]).expect("checkout");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("Node.js, example/one detected"), "{said}");
    assert_eq!(app.server.get("hello"), ok("by one"));

    let owner = &app.server.owner;
    let refused = app.server.cli(owner, &["buildpacks:set", "-a", "hello", "git@example.com:x.git"]);
    assert!(!refused.ok && refused.err.contains("https://HOST/REPOSITORY.git#REF"), "{refused:?}");
    app.server.cli(owner, &["buildpacks:set", "-a", "hello", "hythe/nodejs"]).expect("buildpacks:set");
    app.server.ssh(owner, &["buildpacks:add", "-a", "hello", "./packs/two"]).expect("buildpacks:add");
    let listed = app.server.cli(owner, &["buildpacks", "-a", "hello", "--json"]).expect("buildpacks");
    let listed: Vec<String> = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed, ["hythe/nodejs", "./packs/two"]);
    app.repo.commit(&[("note.txt", "again")]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("by two"));

    app.server.cli(owner, &["buildpacks:remove", "-a", "hello", "--index", "1"]).expect("buildpacks:remove");
    app.server.cli(owner, &["buildpacks:clear", "-a", "hello"]).expect("buildpacks:clear");
    app.repo.commit(&[("project.toml", "[[io.buildpacks.group]]\nuri = \"packs/gone\"\n")]);
    app.repo.push("main").refused(&["packs/gone", "there is no packs/gone/buildpack.toml", "project.toml"]);
    app.repo.commit(&[("project.toml", "[io.buildpacks")]);
    app.repo.push("main").refused(&["project.toml: line 1"]);
    assert_eq!(app.server.get("hello"), ok("by two"));
}

fn git(at: &Path, words: &[&str]) {
    let names = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"];
    run(program("git").current_dir(at).args(names).args(words)).expect("git");
}

/// A repository with buildpacks below `packs`.
fn repository(at: &Path, ids: &[&str]) {
    git(at, &["init", "-q"]);
    for (path, text) in ids.iter().flat_map(|id| buildpack(id)) {
        let file = at.join(&path);
        std::fs::create_dir_all(file.parent().expect("parent")).expect("directory");
        std::fs::write(&file, text).expect("file");
        git(at, &["add", &path]);
        if path.contains("/bin/") {
            git(at, &["update-index", "--chmod=+x", &path]);
        }
    }
    git(at, &["commit", "-q", "-m", "buildpacks"]);
}

#[test]
fn those_of_a_repository_and_of_a_registry_build_what_is_pushed() {
    let home = tempfile::tempdir().expect("directory");
    repository(home.path(), &["chosen", "named"]);
    let store = tempfile::tempdir().expect("directory");
    let blobs = BlobStore::open(store.path()).expect("blobs");
    let files: Vec<_> = buildpack("pulled")
        .into_iter()
        .map(|(path, text)| (path.replace("packs/pulled", "cnb/buildpacks/example_pulled/1.0.0"), text))
        .collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let image = image_of(&blobs, &files, "{\"id\": \"example/pulled\", \"version\": \"1.0.0\"}");
    let goods =
        Goods { repository: Some(home.path().to_owned()), image: Some((blobs.clone(), image)), ..Goods::default() };
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let mut tasks = JoinSet::new();
    let host = runtime.block_on(goods.clone().offer(&mut tasks));

    let app = Deployed::with(Settings::with("HYTHE_OUTBOUND_PRIVATE", true));
    let owner = &app.server.owner;
    let repository = |id: &str| format!("http://{host}/repo.git#main:packs/{id}");
    app.server.cli(owner, &["buildpacks:set", "-a", "hello", "hythe/nodejs"]).expect("buildpacks:set");
    app.server.cli(owner, &["buildpacks:add", "-a", "hello", &repository("chosen")]).expect("buildpacks:add");
    app.repo.commit(&[("server.js", SERVER)]);
    let said = app.repo.push("main").accepted();
    assert!(said.contains("Node.js, example/chosen detected"), "{said}");
    assert_eq!(app.server.get("hello"), ok("by chosen"));
    assert!(goods.asked_for("/repo.git/git-upload-pack") > 0);

    // What the tree names counts once nobody has chosen.
    app.server.cli(owner, &["buildpacks:clear", "-a", "hello"]).expect("buildpacks:clear");
    let project = |uri: &str| {
        format!("[[io.buildpacks.group]]\nid = \"hythe/nodejs\"\n[[io.buildpacks.group]]\nuri = \"{uri}\"\n")
    };
    app.repo.commit(&[("project.toml", &project(&repository("named")))]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("by named"));
    app.repo.commit(&[("project.toml", &project(&format!("docker://{host}/acme/pack:1")))]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("by pulled"));
    assert!(goods.asked_for("/v2/acme/pack/manifests/1") > 0);

    app.repo.commit(&[("project.toml", &project(&repository("gone")))]);
    app.repo.push("main").refused(&["there is no packs/gone/buildpack.toml"]);
    assert_eq!(app.server.get("hello"), ok("by pulled"));
}

#[test]
fn addresses_of_the_platform_s_own_network_are_not_asked_for_buildpacks() {
    let goods = Goods::default();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let mut tasks = JoinSet::new();
    let host = runtime.block_on(goods.clone().offer(&mut tasks));
    let app = Deployed::new();
    for at in [
        format!("http://{host}/repo.git#main"),
        format!("http://{host}/pack.tgz"),
        format!("docker://{host}/acme/pack:1"),
    ] {
        app.server.cli(&app.server.owner, &["buildpacks:set", "-a", "hello", &at]).expect("buildpacks:set");
        app.repo.commit(&[("note.txt", &at)]);
        app.repo.push("main").refused(&["outbound.private"]);
    }
    assert!(goods.seen.lock().expect("lock").is_empty(), "{:?}", goods.seen);
    app.untouched();
}

/// A buildpack whose layer has a program that says more of the environment as a container starts, and a variable that one
/// process type has to itself.
const DYNAMIC: [(&str, &str); 3] = [
    ("packs/dynamic/buildpack.toml", "api = \"0.10\"\n[buildpack]\nid = \"example/dynamic\"\nversion = \"1.0.0\"\n"),
    ("packs/dynamic/bin/detect", "#!/bin/bash\n"),
    (
        "packs/dynamic/bin/build",
        "#!/bin/bash\nmkdir -p \"$1/words\"/{exec.d,env.launch/web}\n\
         printf 'of web' >\"$1/words/env.launch/web/OWN\"\n\
         printf '#!/bin/sh\\necho \"WORDS = \\\\\"at the start\\\\\"\" >&3\\n' >\"$1/words/exec.d/words\"\n\
         chmod +x \"$1/words/exec.d/words\"\nprintf '[types]\\nlaunch = true\\n' >\"$1/words.toml\"\n",
    ),
];

#[test]
fn what_runs_beside_the_processes_has_the_environment_that_they_start_in() {
    let app = Deployed::new();
    let server = "require('http').createServer((_, r) => r.end(`${process.env.WORDS}, ${process.env.OWN}`))\
                  .listen(process.env.PORT);\n";
    let asks = r#"{
        "buildpacks": [{"url": "heroku/nodejs"}, {"url": "./packs/dynamic"}],
        "scripts": {"predeploy": "echo before: $WORDS", "postdeploy": "echo after: $WORDS"},
        "cron": [{"name": "tidy", "schedule": "@yearly", "command": "echo tidied $WORDS"}],
        "healthchecks": {"web": [{"type": "startup", "command": ["sh", "-c", "test \"$WORDS\" = 'at the start'"],
                                  "wait": 0.2, "timeout": 5, "attempts": 20}]}
    }"#;
    let mut files = DYNAMIC.to_vec();
    files.extend([
        ("server.js", server),
        ("app.json", asks),
        ("Procfile", "web: node server.js\nrelease: echo release: $WORDS\n"),
    ]);
    app.repo.commit(&files);
    app.repo.git(&["update-index", "--chmod=+x", "packs/dynamic/bin/detect", "packs/dynamic/bin/build"]).expect("mode");
    app.repo.git(&["commit", "-q", "-m", "programs"]).expect("commit");
    let said = app.repo.push("main").accepted();
    for line in [
        "Running the predeploy command: echo before: $WORDS",
        "before: at the start",
        "Running the release command: echo release: $WORDS",
        "release: at the start",
        "after: at the start",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert_eq!(app.server.get("hello"), ok("at the start, of web"));

    let owner = &app.server.owner;
    let words = |words: &[&str]| app.server.cli(owner, &[&["run", "-a", "hello"], words].concat()).expect("run");
    assert_eq!(words(&["printenv", "WORDS"]), "at the start\n");
    assert_eq!(words(&["echo \"$WORDS${OWN-}\""]), "at the start\n");
    let id = app.server.cli(owner, &["cron:run", "-a", "hello", "tidy"]).expect("cron:run").trim().to_owned();
    let ended = app.server.cli(owner, &["run:logs", "-t", "-a", "hello", &id]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "tidied at the start\n"), "{ended:?}");
    let listed = listed(&app.server, &["run:list", "-a", "hello", "--json"]);
    assert!(!format!("{listed:?}").contains("lifecycle"), "people read what they wrote: {listed:?}");
}
