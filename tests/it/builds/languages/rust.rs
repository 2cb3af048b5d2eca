//! Rust: what is compiled again and what is not, workspaces, registries.

use hythe::machinery::image::Ecosystem;

use super::*;

#[test]
fn a_program_without_crates() {
    let (app, first) =
        answers("rust/fixtures/plain", "a plain program", &["-----> Rust 1.", " from Debian (Cargo.toml \"1.70\")"]);
    let image = app.lab.engine.image_reference(&first.imaged.image);
    let found = crate::harness::docker(&["run", "--rm", &image, "find", "/workspace", "-type", "f"]).expect("find");
    let mut files: Vec<_> = found.lines().collect();
    files.sort_unstable();
    assert_eq!(files, ["/workspace/bin/plain", "/workspace/page.txt"]);
    // Only what changed is compiled: here nothing, there the program and no crate.
    let tree = || Tree::of("buildpacks/rust/fixtures/plain");
    let same = app.build(&tree()).log;
    assert!(!same.contains("Compiling plain"), "{same}");
    let source = include_str!("../../../../buildpacks/rust/fixtures/plain/src/main.rs");
    let changed = app.build(&tree().file("src/main.rs", &source.replace("{page}", "changed {page}")));
    assert!(changed.log.contains("Compiling plain"), "{}", changed.log);
    assert_eq!(Container::start(&app, &changed).body("/"), "changed a plain program\n");
    // Back again, after an attempt that failed.
    app.fail(&tree().file("src/main.rs", "fn main() { undefined_thing() }"));
    let back = app.build(&tree());
    assert_eq!(Container::start(&app, &back).body("/"), "a plain program\n");
}

#[test]
fn a_workspace_with_a_crate_of_the_registry() {
    let (app, first) = answers("rust/fixtures/crates", "from a workspace, 42", &["crates reused"]);
    let packages = app.await_(app.builder.packages(&first.imaged.image)).expect("packages");
    let crates: Vec<_> = packages.iter().filter(|one| one.ecosystem == Ecosystem::Cargo).collect();
    let crates: Vec<_> = crates.iter().map(|one| (one.name.as_str(), one.version.as_str())).collect();
    assert_eq!(crates, [("itoa", "1.0.15")], "those of the registry");
}

#[test]
fn which_program_serves() {
    let package = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    let app = App::new();
    for (more, names, serves) in
        [("default-run = \"two\"\n", ["two", "web"], "two"), ("", ["one", "web"], "web"), ("", ["app", "one"], "app")]
    {
        let mut tree = Tree::empty().file("Cargo.toml", &format!("{package}{more}"));
        for name in names {
            tree = tree.file(&format!("src/bin/{name}.rs"), "fn main() {}\n");
        }
        let done = app.build(&tree);
        let web = &done.imaged.processes[&"web".parse().expect("name")];
        assert_eq!(web.command, [format!("/workspace/bin/{serves}")], "{more:?} {names:?}");
    }
}

#[test]
fn what_fails() {
    fails("rust/fixtures/newer", "Rust 1.999 is not available", &["Cargo.toml", "this platform has Rust 1."]);
    fails("rust/fixtures/nightly", "Rust nightly-2026-01-01 is not available", &["rust-toolchain.toml"]);
    fails("rust/fixtures/several", "several programs, and nothing says which one serves", &["one, two"]);
    fails("rust/fixtures/broken", "cargo exited 101", &["cargo build --release"]);
    fails("rust/fixtures/missing", "cargo exited 101", &["this-crate-does-not-exist-at-all", "Cargo.toml"]);
    fails("rust/fixtures/library", "nothing says how to start the app", &["src/main.rs"]);
}
