//! What `app.json` of the pushed tree asks for.

use super::Deployed;
use crate::harness::eventually;

const SAYS_SETTINGS: &str = "require('http').createServer((_, r) => r.end(`${process.env.GREETING} ${process.env.SECRET?.length}`))\
    .listen(process.env.PORT);\n";

#[test]
fn variables_are_set_once_and_required_ones_are_asked_for() {
    let app = Deployed::new();
    let asks = r#"{"env": {"GREETING": "well met", "SECRET": {"generator": "secret"}, "KEY": {"description": "of the shop"}}}"#;
    app.repo.commit(&[("app.json", asks), ("server.js", SAYS_SETTINGS)]);
    app.repo.push("main").refused(&["KEY: of the shop", "hythe config:set -a hello KEY="]);
    app.untouched();

    let owner = &app.server.owner;
    app.server.cli(owner, &["config:set", "-a", "hello", "KEY=1", "GREETING=hello"]).expect("config:set");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("set from app.json: SECRET"), "{said}");
    assert_eq!(app.server.get("hello").body, "hello 64", "what people set goes before what the file says");
    let first = app.server.cli(owner, &["config:get", "-a", "hello", "SECRET"]).expect("config:get");
    app.repo.commit(&[("note.txt", "again")]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.cli(owner, &["config:get", "-a", "hello", "SECRET"]).expect("config:get"), first);
}

#[test]
fn the_formation_is_where_a_process_type_starts() {
    let app = Deployed::new();
    let worker = "setInterval(() => {}, 1000);\n";
    let (procs, asks) =
        ("web: node server.js\nworker: node worker.js\n", r#"{"formation": {"worker": {"quantity": 2}}}"#);
    app.repo.commit(&[("app.json", asks), ("Procfile", procs), ("worker.js", worker)]);
    app.repo.push("main").accepted();
    eventually("one web and two workers", || (app.server.replicas("hello").len() == 3).then_some(()));
}

#[test]
fn a_fault_in_the_file_names_its_place() {
    let app = Deployed::new();
    app.repo.commit(&[("app.json", r#"{"formation": {"web": {"quantity": "two"}}}"#)]);
    app.repo.push("main").refused(&["app.json: formation.web"]);
    app.untouched();
}
