//! Go: modules, vendored ones, several programs, C.

use hythe::base::secret::Secret;

use super::*;
use crate::harness::docker;

const MODULE: &str = "go/fixtures/module";

#[test]
fn a_module_of_the_standard_library_alone() {
    let (app, first) = answers(MODULE, "<p>from a module</p>", &["-----> Go 1.19.8 from Debian (go.mod \"go 1.19\")"]);
    // The image has the program and what it reads, and neither compiler nor source.
    let image = app.lab.engine.image_reference(&first.imaged.image);
    let found = docker(&["run", "--rm", &image, "find", "/workspace", "/layers", "-type", "f"]).expect("find");
    let mut files: Vec<_> =
        found.lines().filter(|file| !["/env.launch/", "/sbom/"].iter().any(|of| file.contains(of))).collect();
    files.sort_unstable();
    assert_eq!(files, ["/workspace/bin/hello", "/workspace/templates/page.html"]);
}

#[test]
fn vendored_modules_need_no_network() {
    answers("go/fixtures/vendored", "from a vendored module", &["modules: vendor/"]);
}

#[test]
fn several_programs_and_c() {
    answers("go/fixtures/commands", "one of two commands", &["-----> Compiling web worker (go build)"]);
    answers("go/fixtures/cgo", "by C: 42", &[]);
    let processes = ["web: bash -c worker one", "worker: bash -c one"];
    let app = App::new();
    let tree = Tree::of("buildpacks/go/fixtures/several").file("Procfile", "web: worker one\nworker: one\n");
    let done = app.build(&tree);
    let found: Vec<_> = done.imaged.processes.iter().map(|(n, p)| format!("{n}: {}", p.command.join(" "))).collect();
    assert_eq!(found, processes);
}

#[test]
fn programs_that_people_name() {
    let tree = || Tree::of("buildpacks/go/fixtures/several");
    let module = include_str!("../../../../buildpacks/go/fixtures/several/go.mod");
    let mut app = App::new();
    let web = |app: &App, tree: &Tree| {
        let done = app.build(tree);
        let web = &done.imaged.processes[&"web".parse().expect("name")];
        web.command.clone()
    };
    let named = tree().file("go.mod", &format!("{module}\n// +heroku install ./cmd/two\n"));
    assert_eq!(web(&app, &named), ["/workspace/bin/two"]);
    app.variables.insert("GO_INSTALL_PACKAGE_SPEC".into(), Secret::new("./cmd/one ./cmd/two".into()));
    assert_eq!(web(&app, &named), ["/workspace/bin/one"], "the first, and the variable goes before the file");
}

#[test]
fn flags_of_the_app() {
    let mut app = App::new();
    app.variables.insert("GOFLAGS".into(), Secret::new("-tags=special".into()));
    let special = "//go:build special\n\npackage main\n\nfunc init() { panic(\"made with its tag\") }\n";
    let done = app.build(&Tree::of(&format!("buildpacks/{MODULE}")).file("special.go", special));
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let said = docker(&["run", "--rm", &image, "/workspace/bin/hello"]);
    assert!(said.err.contains("made with its tag"), "{said:?}");
}

#[test]
fn what_fails() {
    fails("go/fixtures/newer", "Go 1.99.1 is not available", &["go.mod", "1.19.8", "build.go_proxy"]);
    fails("go/fixtures/no-program", "nothing says how to start the app", &["package main"]);
    fails("go/fixtures/several", "several programs, and nothing says which one serves", &["one, two", "web: bin/one"]);
    fails("go/fixtures/broken", "go exited 2", &["\"go build example.org/broken\""]);
    fails("go/fixtures/unreachable", "go exited 1", &["go mod vendor", "build.go_proxy"]);
}

#[test]
fn equal_trees_give_equal_programs() {
    let (one, other) = (App::new(), App::new());
    let tree = || Tree::of(&format!("buildpacks/{MODULE}"));
    assert_eq!(one.build(&tree()).imaged.image, other.build(&tree()).imaged.image);
}
