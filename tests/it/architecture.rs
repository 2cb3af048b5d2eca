//! The architecture as a test: who may import whom, which room owns which crate, where processes
//! start, how long a file may be. `rules` is a function over paths and texts, so that a planted
//! violation of each rule is proven to be found.

mod rules;
mod source;

use std::path::Path;
use std::process::Command;

use rules::{LONGEST, Rule, check};

/// Every tracked or new text file that git does not ignore.
fn tree() -> Vec<(String, String)> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&root);
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git lists the files of the checkout");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut files: Vec<_> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root.join(name)).ok()?)))
        .collect();
    files.sort();
    files.dedup();
    files
}

#[test]
fn the_tree_keeps_the_rules() {
    let files = tree();
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "the listing lacks src/lib.rs");
    let found: Vec<_> =
        check(&files).iter().map(|v| format!("{}:{}: {:?}: {}", v.path, v.line, v.rule, v.text)).collect();
    assert!(found.is_empty(), "{} violations of the house's rules:\n{}", found.len(), found.join("\n"));
}

/// One tree per rule that breaks it and nothing else.
fn planted(rule: Rule) -> Vec<(&'static str, String)> {
    let one = |path, text: &str| vec![(path, format!("//! Head.\n{text}"))];
    match rule {
        Rule::Bands => one("src/state/jobs/queue.rs", "use crate::{base::Error, product::{apps, Ctx}};\n"),
        Rule::MachineryRooms => one("src/machinery/image/pull.rs", "fn f() { crate::machinery::git::open(); }\n"),
        Rule::ProductOrder => one("src/product/apps/mod.rs", "use super::deploy::push;\n"),
        Rule::EngineCallers => one("src/product/apps/ps.rs", "use crate::machinery::runtime::Engine;\n"),
        Rule::EdgeImports => one("src/edges/api/apps.rs", "use crate::state;\nfn f() { state::store::begin(); }\n"),
        Rule::EdgeReach => one("src/edges/api/apps.rs", "async fn f(ctx: Ctx) { ctx.store.begin().await; }\n"),
        Rule::PureBase => one("src/base/model/app.rs", "use std::{fmt, fs};\n"),
        Rule::PurePlan => one("src/product/converge/plan.rs", "fn plan() { let at = Timestamp::now(); }\n"),
        Rule::CrateOwners => one("src/product/apps/mod.rs", "#[derive(sqlx::FromRow)]\nstruct Row;\n"),
        Rule::Processes => {
            one("src/machinery/git/mod.rs", "use std::process;\nfn f() { process::Command::new(\"git\"); }\n")
        }
        Rule::Shells => one("src/product/builds/run.rs", "const SHELL: &str = \"/bin/sh\";\n"),
        Rule::Sizes => one("src/daemon.rs", &"\n".repeat(LONGEST)),
        Rule::HeadDocs => vec![("src/base/model/app.rs", "// Not a head.\npub struct App;\n".into())],
        Rule::Words => one("src/product/apps/mod.rs", "pub struct AppManager;\n"),
        Rule::RegistryNames => vec![("contrib/run", format!("curl https://{}{}/\n", "deb.deb", "ian.org"))],
        Rule::Migrations => vec![("migrations/sqlite/0001_spine.sql", "SELECT 1;\n".into())],
    }
}

#[test]
fn a_planted_violation_of_each_rule_is_found() {
    for rule in Rule::ALL {
        let files: Vec<_> = planted(rule).into_iter().map(|(path, text)| (path.to_owned(), text)).collect();
        let found = check(&files);
        assert!(!found.is_empty(), "{rule:?}: nothing found in {files:?}");
        assert!(found.iter().all(|v| v.rule == rule), "{rule:?}: {found:?}");
    }
}

/// What looks like a violation and is none.
#[test]
fn the_exceptions_stand() {
    let clean = [
        ("src/edges/ssh/receive.rs", "//! Head.\nuse crate::machinery::git::Repository;\nuse russh::server;\n"),
        ("src/edges/registry/mod.rs", "//! Head.\nuse crate::machinery::image::BlobStore;\n"),
        ("src/edges/client/mod.rs", "//! Head.\nuse crate::edges::api::types::App;\n"),
        ("src/machinery/runtime/mod.rs", "//! Head.\nuse crate::machinery::remote::Tunnel;\n"),
        ("src/product/deploy/mod.rs", "//! Head.\nuse super::{Ctx, builds};\nuse crate::machinery::runtime::Engine;\n"),
        (
            "src/base/model/x.rs",
            "//! Head.\n// use crate::state::store; in a comment\nconst A: &str = \"crate::state::x\";\n",
        ),
        ("src/machinery/git/x.rs", "//! Head.\nuse crate::base::model::Command;\nfn f() { Command::new('\"'); }\n"),
        ("src/edges/api/y.rs", "//! Head.\n#[cfg(test)]\nmod tests {\n    use crate::state::store::Store;\n}\n"),
        ("src/edges/api/z.rs", "//! Head.\n#[cfg(test)]\nmod tests;\n"),
        ("src/edges/api/z/tests.rs", "use crate::state::store::Store;\n"),
        (
            "src/machinery/image/layer.rs",
            "//! Head.\nuse tar::Builder;\nfn f<'a>(x: &'a str) -> impl use<'a> Sized { x }\n",
        ),
        (
            "src/daemon.rs",
            "//! Head.\nuse crate::{edges::{api, ssh}, machinery::runtime::docker, state::store::Store};\n",
        ),
    ];
    let files: Vec<_> = clean.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let found = check(&files);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn nested_braces_and_aliases_are_followed() {
    let text = "//! Head.\nuse crate::{base::{Error, model::{App, Host}}, machinery::{git::{self as g}, image}};\n";
    let found = check(&[("src/machinery/git/x.rs".to_owned(), text.to_owned())]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].text.contains("machinery::image"), "{found:?}");
    let text = "//! Head.\nuse crate::product::apps as verbs;\nfn f() { verbs::create(); }\n";
    let found = check(&[("src/machinery/git/x.rs".to_owned(), text.to_owned())]);
    assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [2, 3], "{found:?}");
}
