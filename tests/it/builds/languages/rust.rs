//! Rust: what is compiled again and what is not, workspaces, registries.

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
    answers("rust/fixtures/crates", "from a workspace, 42", &["crates reused"]);
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
