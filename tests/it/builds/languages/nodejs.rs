//! Yarn, pnpm and workspaces; npm alone is in `fixtures`.

use super::*;

#[test]
fn yarn_and_pnpm() {
    for (fixture, heading) in [
        ("yarn", "-----> Installing dependencies (yarn install)"),
        ("yarn-berry", "-----> Installing dependencies (yarn install)"),
        ("pnpm", "-----> Installing dependencies (pnpm install)"),
    ] {
        let page = "function built false";
        let (_, first) = answers(&format!("nodejs/fixtures/{fixture}"), page, &["dependencies reused"]);
        assert!(first.log.contains(heading), "{}", first.log);
    }
}

#[test]
fn workspaces_lose_what_only_the_build_needed() {
    let app = App::new();
    for fixture in ["workspaces", "pnpm-workspace"] {
        let done = app.build(&Tree::of(&format!("buildpacks/nodejs/fixtures/{fixture}")));
        let body = Container::start(&app, &done).body("/");
        assert!(body.contains("from a workspace, built, false"), "{fixture}: {body}");
        // Modules are in the tree here, and in a layer of their own.
        let tree = Tree::of(&format!("buildpacks/nodejs/fixtures/{fixture}")).file("note.txt", "changed\n");
        writes_little(&app, &done, &app.build(&tree));
        let again = App::new().build(&Tree::of(&format!("buildpacks/nodejs/fixtures/{fixture}")));
        assert_eq!(again.imaged.image, done.imaged.image, "equal trees give equal images: {fixture}");
    }
}

#[test]
fn modules_of_the_tree_share_no_layer_with_the_code() {
    let app = App::new();
    let tree = || {
        let large = "// large\n".repeat(100_000);
        Tree::empty()
            .file("package.json", r#"{"scripts": {"start": "node index.js"}, "dependencies": {"own": "1.0.0"}}"#)
            .file("node_modules/own/package.json", r#"{"name": "own", "version": "1.0.0", "main": "own.js"}"#)
            .file("node_modules/own/own.js", &format!("module.exports = 'of the tree';\n{large}"))
            .file("odd [*] \\ \"name\"/node_modules/other/large.js", &large)
            .file(
                "index.js",
                "require('http').createServer((_, r) => r.end(require('own'))).listen(process.env.PORT);\n",
            )
    };
    let first = app.build(&tree());
    assert_eq!(Container::start(&app, &first).body("/"), "of the tree");
    let second = app.build(&tree().file("note.txt", "changed\n"));
    writes_little(&app, &first, &second);
    assert_eq!(Container::start(&app, &second).body("/"), "of the tree");
}

#[test]
fn what_fails() {
    fails("nodejs/fixtures/pnpm-outdated", "pnpm exited 1", &["pnpm-lock.yaml", "pnpm install"]);
}
