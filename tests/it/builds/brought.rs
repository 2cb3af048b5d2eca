//! Buildpacks that are not the platform's own: what the buildpack specification promises them, each rule by a fixture in
//! `brought/app`, and what hostile ones are told.

use hythe::base::model::{ChosenBuildpack, Files, ImageDigest, Process, Project};
use hythe::base::secret::Secret;
use hythe::machinery::image::{AddedLayer, BlobStore, ImageSpec, LayerWriter, assemble, inspect};
use hythe::product::builds::launched;
use serde_json::json;
use tokio::task::JoinSet;

use super::hosts::Goods;
use super::lab::Done;
use super::{App, Tree};
use crate::harness::docker;

const APP: &str = "tests/it/builds/brought/app";

pub fn chosen(names: &[&str]) -> Vec<ChosenBuildpack> {
    names
        .iter()
        .map(|name| ChosenBuildpack::from(name.parse::<hythe::base::model::BuildpackRef>().expect(name)))
        .collect()
}

fn app(names: &[&str]) -> App {
    let mut app = App::new();
    app.wishes.buildpacks = chosen(names);
    app.variables.insert("BP_COLOUR".into(), Secret::new("blue".into()));
    app.variables.insert("PATH".into(), Secret::new("/mine".into()));
    app
}

/// What a process of the image says, with these variables of people.
fn said(app: &App, done: &Done, process: &str, variables: &[&str]) -> String {
    ran(app, done, &done.imaged.processes[&process.parse().expect("name")], variables)
}

/// What a command says that is no process of the image.
fn said_beside(app: &App, done: &Done, words: &[&str], variables: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let command = launched(&words, &done.imaged.processes);
    ran(app, done, &Process { command, working_dir: None, port: None }, variables)
}

fn ran(app: &App, done: &Done, process: &Process, variables: &[&str]) -> String {
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let label = format!("hythe.prefix={}", app.lab.prefix);
    let mut words = vec!["run", "--rm", "--cap-drop=ALL", "--label", &label, "--entrypoint", &process.command[0]];
    variables.iter().for_each(|variable| words.extend(["-e", variable]));
    if let Some(dir) = &process.working_dir {
        words.extend(["-w", dir]);
    }
    words.push(&image);
    words.extend(process.command[1..].iter().map(String::as_str));
    docker(&words).expect("docker run").trim().to_owned()
}

#[test]
fn a_composite_s_first_group_that_stands_builds_with_all_that_is_promised() {
    let app = app(&["./buildpacks/all", "./buildpacks/cleared"]);
    let done = app.build(&Tree::of(APP));
    for line in ["-----> One, Two, Cleared detected", "One has run 0 times", "Two has what it needs", "Cleared sees no"]
    {
        assert!(done.log.contains(line), "{line}: {}", done.log);
    }
    let facts = inspect(&app.lab.blobs, &done.imaged.image).expect("image");
    assert_eq!(facts.labels["com.example.one"], "yes");
    assert_eq!(facts.labels["io.hythe.buildpacks"], "example/one example/two example/cleared");
    assert!(facts.labels["io.buildpacks.build.metadata"].contains("\"id\":\"example/one\",\"version\":\"1.2.3\""));

    // Bills of materials lie together; a slice is a layer of its own, and nothing of it is missing.
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let inside = |words: &[&str]| docker(&[&["run", "--rm", &image], words].concat()).expect("docker run");
    let boms = inside(&["find", "/layers/sbom", "-type", "f"]);
    let mut boms: Vec<_> = boms.lines().collect();
    boms.sort_unstable();
    let at = "/layers/sbom/launch/example_one";
    let platform_s = "/layers/sbom/launch/hythe/app/sbom.cdx.json".to_owned();
    assert_eq!(boms, [format!("{at}/lib/sbom.spdx.json"), format!("{at}/sbom.cdx.json"), platform_s]);
    assert!(inside(&["cat", "/workspace/buildpacks/one/bin/detect", "/workspace/app.txt"]).ends_with("here\n"));
    let metadata: serde_json::Value =
        serde_json::from_str(&facts.labels["io.buildpacks.lifecycle.metadata"]).expect("JSON");
    assert_eq!(metadata["app"].as_array().map(Vec::len), Some(2));
    assert!(metadata["sbom"]["sha"].is_string(), "{metadata}");
    let one = &metadata["buildpacks"][0];
    assert_eq!((one["key"].as_str(), one["version"].as_str()), (Some("example/one"), Some("1.2.3")));
    let mut lib = one["layers"]["lib"].clone();
    assert!(lib["sha"].take().as_str().is_some_and(|sha| sha.starts_with("sha256:")), "{one}");
    let data = json!({ "made": "once" });
    assert_eq!(lib, json!({ "sha": null, "launch": true, "build": false, "cache": false, "data": data }));
    let about: serde_json::Value = serde_json::from_str(&facts.labels["io.buildpacks.build.metadata"]).expect("JSON");
    let of: Vec<_> =
        about["processes"].as_array().expect("a list").iter().map(|p| [&p["type"], &p["buildpackID"]]).collect();
    assert_eq!(of, [["web", "example/one"], ["worker", "example/one"]], "{about}");

    // At launch: variables of layers, programs that give more, one process's own, and people's before all.
    assert_eq!(said(&app, &done, "web", &[]), "hello from workspace ✓ none default");
    assert_eq!(said(&app, &done, "web", &["USER_SET=mine"]), "hello from workspace ✓ none mine");
    assert_eq!(said(&app, &done, "worker", &[]), "hello from workspace ✓ of-worker default by hello");
    assert_eq!(said(&app, &done, "worker", &["OWN=mine"]), "hello from workspace ✓ mine default by hello");
    // A command that is none of the processes has what is for all of them, and nothing of one process's own.
    assert_eq!(said_beside(&app, &done, &["greet"], &[]), "hello from workspace ✓ none default");
    assert_eq!(said_beside(&app, &done, &["greet"], &["USER_SET=mine"]), "hello from workspace ✓ none mine");
    let worker = &done.imaged.processes[&"worker".parse().expect("name")];
    assert_eq!(worker.working_dir.as_deref(), Some("/workspace/buildpacks"));

    // Again: what was stored and cached is there, the layer of the image is taken from it.
    let again = app.build(&Tree::of(APP));
    for line in ["One has run 1 times", "tool restored as \"new\"", "lib reused: \"once\""] {
        assert!(again.log.contains(line), "{line}: {}", again.log);
    }
    assert_eq!(again.imaged.image, done.imaged.image);
    // And where the sandbox was lost.
    app.await_(app.lab.engine.close_sandbox(&app.sandbox())).expect("closed");
    let lost = app.build(&Tree::of(APP));
    assert!(lost.log.contains("One has run 2 times") && lost.log.contains("tool restored"), "{}", lost.log);
    assert_eq!(lost.imaged.image, done.imaged.image);
}

pub fn image_of(blobs: &BlobStore, files: &[(&str, &str)], about: &str) -> ImageDigest {
    let mut layer = LayerWriter::new(blobs);
    for (path, text) in files {
        let mode = if path.contains("/bin/") { 0o755 } else { 0o644 };
        layer.file(path, mode, (1000, 1000), text.as_bytes()).expect("file");
    }
    let layers = vec![AddedLayer { layer: layer.finish().expect("layer"), created_by: "tests".into() }];
    let labels = [("io.buildpacks.buildpackage.metadata".to_owned(), about.to_owned())].into();
    assemble(blobs, &ImageSpec { layers, labels, ..ImageSpec::default() }).expect("image")
}

#[test]
fn an_image_brings_its_buildpacks_along() {
    let toml =
        |id: &str, rest: &str| format!("api = \"0.10\"\n[buildpack]\nid = \"acme/{id}\"\nversion = \"1.0.0\"\n{rest}");
    let part = "cnb/buildpacks/acme_part/1.0.0";
    let whole = toml("whole", "[[order]]\n[[order.group]]\nid = \"acme/part\"\nversion = \"1.0.0\"\n");
    let build = "#!/bin/bash\necho \"built from $CNB_BUILDPACK_DIR\"; stat -c '%U %a' \"$0\"\n\
                 printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"\n";
    let files = [
        (format!("{part}/buildpack.toml"), toml("part", "")),
        (format!("{part}/bin/detect"), "#!/bin/bash\n".to_owned()),
        (format!("{part}/bin/build"), build.to_owned()),
        ("cnb/buildpacks/acme_whole/1.0.0/buildpack.toml".to_owned(), whole),
        ("etc/shadow".to_owned(), "never taken".to_owned()),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let home = tempfile::tempdir().expect("directory");
    let blobs = BlobStore::open(home.path()).expect("blobs");
    let mut tasks = JoinSet::new();

    let mut app = App::with(&hythe::base::config::Build::default());
    let image = image_of(&blobs, &files, "{\"id\": \"acme/whole\", \"version\": \"1.0.0\"}");
    let goods = Goods { image: Some((blobs.clone(), image)), ..Goods::default() };
    let address = app.await_(goods.clone().offer(&mut tasks));
    app.wishes.buildpacks = chosen(&[&format!("docker://{address}/acme/pack:1")]);
    let done = app.build(&Tree::of(APP));
    assert!(done.log.contains("built from /cnb/buildpacks/acme_part/1.0.0"), "{}", done.log);
    assert!(done.log.contains("root 755"), "{}", done.log);
    // Again: all of it is known by the digest.
    let asked = goods.seen.lock().expect("lock").len();
    let done = app.build(&Tree::of(APP));
    assert!(done.log.contains(", as in the last build"), "{}", done.log);
    assert!(done.log.contains("built from /cnb/buildpacks/acme_part/1.0.0"), "{}", done.log);
    assert_eq!(goods.seen.lock().expect("lock").len(), asked + 1);

    // One that does not say which of several it is.
    let image = image_of(&blobs, &files, "");
    let address = app.await_(Goods { image: Some((blobs, image)), ..Goods::default() }.offer(&mut tasks));
    app.wishes.buildpacks = chosen(&[&format!("docker://{address}/acme/pack:1")]);
    let (failure, _) = app.fail(&Tree::of(APP));
    assert!(failure.lines.join("\n").contains("there is no cnb/buildpacks"), "{failure:?}");
}

#[test]
fn processes_of_api_0_8_are_a_shell_s() {
    let app = app(&["./buildpacks/old"]);
    let done = app.build(&Tree::of(APP).file(".profile", "export FROM_PROFILE=\"$FROM_PROFILE app\"\n"));
    assert_eq!(said(&app, &done, "web", &[]), "PROFILE APP");
    assert_eq!(said(&app, &done, "loud", &[]), "profile loud app-a  b-it's-");
    assert_eq!(said(&app, &done, "plain", &[]), "$FROM_PROFILE");
    assert_eq!(said_beside(&app, &done, &["printenv", "FROM_PROFILE"], &[]), "profile app");
    assert_eq!(
        said_beside(&app, &done, &["bash", "-c", "echo \"$FROM_PROFILE\" $#", "x", "a  b"], &[]),
        "profile app 1"
    );
}

#[test]
fn the_platform_s_own_and_those_of_the_tree_build_together() {
    let mut app = app(&["./buildpacks/never", "./buildpacks/old", "heroku/procfile"]);
    app.wishes.buildpacks[0].optional = true;
    let done = app.build(&Tree::of(APP).file("Procfile", "clock: date\n"));
    assert!(done.log.contains("-----> Old, Procfile detected"), "{}", done.log);
    assert_eq!(said(&app, &done, "clock", &[]).split_whitespace().count(), 6);
    let names: Vec<_> = done.imaged.processes.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["clock", "loud", "plain", "web"]);
}

#[test]
fn project_toml_says_which_files_and_variables_a_build_has() {
    let text = "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\nuri = \"look\"\n[[io.buildpacks.build.env]]\n\
                name = \"BP_SAID\"\nvalue = \"by the project\"\n[io.buildpacks]\nexclude = [\"*.md\", \"!keep.md\", \"/docs/\"]\n";
    let project = Project::parse(text.as_bytes()).expect("project");
    let tree = || {
        simple("find . -type f ! -path './look/*' | sort; echo \"$BP_SAID\"")
            .file("a.md", "")
            .file("keep.md", "")
            .file("docs/x.txt", "")
            .file("sub/docs/y.txt", "")
            .file("sub/b c.md", "")
    };
    let mut app = App::new();
    app.wishes.buildpacks = project.buildpacks;
    app.wishes.variables = project.variables;
    app.wishes.files = project.files;
    let done = app.build(&tree());
    assert!(done.log.contains("       ./keep.md\n       ./sub/docs/y.txt\n       by the project"), "{}", done.log);
    app.wishes.files = Files::Only(vec!["sub/".into(), "keep*".into(), "!y.txt".into()]);
    let done = app.build(&tree());
    assert!(done.log.contains("       ./keep.md\n       ./sub/b c.md\n       by the project"), "{}", done.log);
}

/// One buildpack at `look` that passes, with these lines for its build.
pub fn simple(build: &str) -> Tree {
    with_detect("exit 0", build)
}

fn with_detect(detect: &str, build: &str) -> Tree {
    let launch = "printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"";
    Tree::empty()
        .file(
            "look/buildpack.toml",
            "api = \"0.10\"\n[buildpack]\nid = \"example/look\"\nversion = \"0.1.0\"\nname = \"Look\"\n",
        )
        .program("look/bin/detect", &format!("#!/bin/bash\n{detect}\n"))
        .program("look/bin/build", &format!("#!/bin/bash\n{launch}\n{build}\n"))
}

#[test]
fn what_was_built_with_is_told_and_is_not_in_the_image() {
    let app = app(&["./look"]);
    let done = app.build(&simple(
        "cd $CNB_LAYERS_DIR; echo '{\"all\": 1}' >build.sbom.cdx.json; echo '{\"of\": \"x\"}' >x.sbom.spdx.json\n\
         mkdir x y; printf '[types]\\nbuild = true\\n' >x.toml; printf '[types]\\nlaunch = true\\n' >y.toml\n\
         echo '{}' >y.sbom.cdx.json",
    ));
    let boms = app.builder.build_boms(&app.id).expect("boms");
    let told: Vec<_> =
        boms.iter().map(|bom| (bom.layer.as_deref(), bom.kind.as_str(), bom.document.to_string())).collect();
    let expected = [(None, "cdx.json", "{\"all\":1}"), (Some("x"), "spdx.json", "{\"of\":\"x\"}")];
    let mut told: Vec<_> = told.iter().map(|(layer, kind, text)| (*layer, *kind, text.as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, expected);
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let found = docker(&["run", "--rm", &image, "find", "/layers", "-name", "*sbom*.json"]).expect("docker run");
    let mut found: Vec<_> = found.lines().collect();
    found.sort_unstable();
    let of = |place: &str| format!("/layers/sbom/launch/{place}/sbom.cdx.json");
    assert_eq!(found, [of("example_look/y"), of("hythe/app")]);
    app.build(&simple(":"));
    assert!(app.builder.build_boms(&app.id).expect("boms").is_empty());
}

#[test]
fn hostile_and_broken_ones_are_told_what_is_wrong() {
    let app = app(&["./look"]);
    let layer = |types: &str, make: &str| format!("cd $CNB_LAYERS_DIR; printf '[types]\\n{types}\\n' >x.toml; {make}");
    for (build, says) in [
        ("exit 7".to_owned(), "Look ended with code 7"),
        (layer("launch = true", "mkdir x; mkfifo x/pipe"), "is a pipe"),
        (layer("launch = true", "ln -s /etc x"), "it is a link"),
        (layer("launch = true", ":"), "has no directory"),
        (layer("launch = \"yes\"", ":"), "x.toml"),
        ("cd $CNB_LAYERS_DIR; echo '[' >x.toml".to_owned(), "x.toml"),
        ("cd $CNB_LAYERS_DIR; >'a b.toml'".to_owned(), "a b.toml"),
        ("cd $CNB_LAYERS_DIR; >\"$(printf 'n%.0s' {1..200}).toml\"".to_owned(), "a layer's name is"),
        ("head -c 1000000 /dev/zero | tr '\\0' '#' >$CNB_LAYERS_DIR/launch.toml".to_owned(), "longer than"),
        ("sed -i 's/web/we\\\\\"b/' $CNB_LAYERS_DIR/launch.toml".to_owned(), "the process type"),
        ("sed -i 's/command.*/command = \"x\"/' $CNB_LAYERS_DIR/launch.toml".to_owned(), "it is a list"),
        (
            "echo '[[slices]]' >>$CNB_LAYERS_DIR/launch.toml; echo 'paths = [\"../x\"]' >>$CNB_LAYERS_DIR/launch.toml"
                .to_owned(),
            "slice",
        ),
    ] {
        let (failure, _) = app.fail(&simple(&build));
        let text = failure.lines.join("\n");
        assert!(
            text.contains(says) && failure.reason.starts_with("build failed: "),
            "{build}: {}\n{text}",
            failure.reason
        );
    }
    for (detect, says) in [
        ("exit 100", "does not know this tree"),
        ("echo why; exit 3", "ended with code 3"),
        ("printf '[[requires]]\\nname = \"x\"\\n' >$2", "nobody provides the \"x\""),
        ("printf '[[provides]]\\nname = \"x\"\\n' >$2", "nobody requires the \"x\""),
        ("echo '[[' >$2", "build plan of Look"),
        ("head -c 1000000 /dev/zero | tr '\\0' '#' >$2", "longer than"),
    ] {
        let (failure, _) = app.fail(&with_detect(detect, ":"));
        let text = failure.lines.join("\n");
        assert!(text.contains(says), "{detect}: {text}");
    }
    // Set-id bits do not reach the image, and the sandbox is of use again.
    let done = app.build(&simple(&layer("launch = true", "mkdir x; cp /bin/true x/t; chmod 6755 x/t")));
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let mode = docker(&["run", "--rm", &image, "stat", "-c", "%a %U", "/layers/example_look/x/t"]).expect("docker run");
    assert!(mode.starts_with("755 "), "{mode}");
}

#[test]
fn descriptors_and_orders_are_refused_with_their_place() {
    let descriptor = |rest: &str| Tree::empty().file("look/buildpack.toml", rest);
    let order = |ids: &str| {
        format!("api = \"0.10\"\n[buildpack]\nid = \"example/order\"\nversion = \"1.0.0\"\n[[order]]\n{ids}")
    };
    let group = |id: &str| format!("[[order.group]]\nid = \"{id}\"\nversion = \"1.0.0\"\n");
    for (tree, says) in [
        (Tree::empty().file("x", ""), "there is no look/buildpack.toml"),
        (Tree::empty().file("look/extension.toml", "api = \"0.10\"\n"), "image extension"),
        (descriptor("api = \"0.99\"\n[buildpack]\nid = \"a\"\nversion = \"1.0.0\"\n"), "0.8 to 0.12"),
        (descriptor("api = \"0.10\"\n[buildpack"), "line 2"),
        (
            descriptor("api = \"0.9\"\n[buildpack]\nid = \"a\"\nversion = \"1.0.0\"\n[[stacks]]\nid = \"heroku-24\"\n"),
            "heroku-24",
        ),
        (descriptor(&order(&group("example/order"))), "circle: example_order/1.0.0 → example_order/1.0.0"),
        (descriptor(&order(&group("example/missing"))), "example/missing@1.0.0 is not there"),
    ] {
        let (failure, _) = app(&["./look"]).fail(&tree);
        let text = failure.lines.join("\n");
        assert!(text.contains(says), "{says}: {text}");
    }
    let (failure, _) = app(&["example/unknown"]).fail(&Tree::of(APP));
    assert!(failure.lines.join("\n").contains("hythe/nodejs"), "{:?}", failure.lines);
    let (failure, _) = app(&["docker://127.0.0.1:1/none/such:1"]).fail(&Tree::of(APP));
    assert!(failure.lines.join("\n").contains("outbound.private"), "{failure:?}");
}
