//! What is in images, told by the product's own verbs.

use serde_json::Value;

use super::Deployed;
use crate::harness::{RealServer, Repo};

fn node_with_module(server: &RealServer, app: &str) -> Repo {
    let repo = Repo::node(server, app, "first");
    let package = r#"{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"greeter":"file:./greeter"}}"#;
    repo.commit(&[
        ("package.json", package),
        ("greeter/package.json", r#"{"name":"greeter","version":"2.10.0","license":"MIT"}"#),
        ("greeter/index.js", ""),
        (".npmrc", "install-links=true\n"),
    ]);
    repo
}

#[test]
fn a_release_tells_what_is_in_it_and_a_package_where_it_runs() {
    let app = Deployed::new();
    let other = node_with_module(&app.server, "other");
    other.push("main").accepted();

    let list = app.server.cli(&app.server.owner, &["sbom", "-a", "other"]).expect("sbom");
    let line = |name: &str| list.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
    let libc = line("libc6").unwrap_or_else(|| panic!("the base's packages:\n{list}"));
    assert!(libc.starts_with("deb") && libc.contains("2.36"), "{libc}");
    assert!(line("greeter").is_some_and(|line| line.contains("2.10.0") && line.contains("MIT")), "{list}");

    let json = |words: &[&str]| -> Value {
        serde_json::from_str(&app.server.cli(&app.server.owner, words).expect("a document")).expect("JSON")
    };
    let cyclonedx = json(&["sbom", "-a", "other", "--format", "cyclonedx"]);
    assert_eq!(cyclonedx["bomFormat"], "CycloneDX");
    let urls: Vec<_> = cyclonedx["components"].as_array().expect("components").iter().map(|c| &c["purl"]).collect();
    assert!(urls.contains(&&Value::from("pkg:npm/greeter@2.10.0")), "{urls:?}");
    let spdx = json(&["sbom", "-a", "other", "--format", "spdx"]);
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    assert_eq!(spdx["packages"].as_array().map(Vec::len), Some(urls.len() + 1), "the image itself, and what is in it");

    let with = |condition: &str| app.server.cli(&app.server.owner, &["apps", "--with-package", condition]);
    let found = with("greeter<2.11").expect("apps");
    assert!(found.contains("other") && !found.contains("hello"), "{found}");
    assert!(!with("greeter<2.9").expect("apps").contains("other"), "2.10 is later than 2.9");
    let found = with("glibc>=2.30").expect("apps");
    assert!(found.contains("other") && found.contains("hello"), "by the name of the source: {found}");
    let refused = with("glibc<<1");
    assert!(!refused.ok && refused.err.contains("openssl<3.0.11"), "{refused:?}");

    // A stranger sees nothing of it.
    let stranger = app.server.newcomer("mallory");
    let seen = app.server.ssh(&stranger, &["apps", "--with-package", "glibc"]).expect("apps");
    assert!(!seen.contains("hello") && !seen.contains("other"), "{seen}");
    assert!(!app.server.ssh(&stranger, &["sbom", "-a", "other"]).ok);

    // What was live is not found any more once it is gone, and can still be asked for by its number.
    other.commit(&[("greeter/package.json", r#"{"name":"greeter","version":"3.0.0"}"#)]);
    other.push("main").accepted();
    assert!(!with("greeter<3").expect("apps").contains("other"));
    let before = app.server.cli(&app.server.owner, &["sbom", "-a", "other", "--release", "v1"]).expect("sbom");
    assert!(before.contains("2.10.0"), "{before}");
}
