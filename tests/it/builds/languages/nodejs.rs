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
    }
}

#[test]
fn what_fails() {
    fails("nodejs/fixtures/pnpm-outdated", "pnpm exited 1", &["pnpm-lock.yaml", "pnpm install"]);
}
