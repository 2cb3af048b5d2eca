use super::*;
use crate::base::model::Protocol;

#[test]
fn a_table_comes_back_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("routes.json");
    assert!(load(&path).expect("absence is no fault").is_none());
    let upstream = Upstream::new("127.0.0.1:9".parse().expect("an address"), "c1");
    let canary =
        Portion { percent: 10, upstreams: vec![Upstream::new("127.0.0.1:7".parse().expect("an address"), "c2")] };
    upstream.speak(Protocol::H2c);
    let mut live = Arc::into_inner(target(TargetState::Live, vec![upstream])).expect("one");
    live.canary = Some(canary);
    let live = Arc::new(live);
    let api = Some((host("hythe.test"), "127.0.0.1:8081".parse().expect("an address")));
    let routes = [
        (host("a.test"), Arc::clone(&live)),
        (host("b.test"), live),
        (host("c.test"), target(TargetState::Stopped, vec![])),
    ];
    save(&RouteTable::new(None, []), &path).expect("saves");
    save(&RouteTable::new(api.clone(), routes), &path).expect("saves over the old one");
    let table = load(&path).expect("loads").expect("is there");
    assert_eq!(table.api(), api.as_ref());
    assert_eq!(table.len(), 3);
    let (a, b) = (table.target(&host("a.test")).expect("a"), table.target(&host("b.test")).expect("b"));
    assert!(Arc::ptr_eq(a, b), "hosts of one target share it");
    assert_eq!((a.upstreams[0].replica(), a.upstreams[0].address().port()), ("c1", 9));
    let canary = a.canary.as_ref().expect("a canary");
    assert_eq!((a.upstreams[0].protocol(), canary.upstreams[0].protocol()), (Protocol::H2c, Protocol::Http1));
    assert_eq!((canary.percent, canary.upstreams[0].replica()), (10, "c2"));
    assert_eq!(table.target(&host("c.test")).expect("c").state, TargetState::Stopped);
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1, "no temporary file stays");
}

#[test]
fn what_was_noted_counts_until_it_is_saved_or_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("routes.json");
    let with = |name: &str| RouteTable::new(None, [(host(name), target(TargetState::Live, vec![]))]);
    let loaded = |name: &str| load(&path).expect("loads").expect("is there").target(&host(name)).is_some();
    save(&with("a.test"), &path).expect("saves");
    note(&with("b.test"), &path).expect("notes");
    assert!(loaded("b.test"));
    let noted = path.with_extension("json.noted");
    let text = std::fs::read(&noted).expect("reads");
    for damaged in [&text[..text.len() / 2], b"", &vec![0; text.len()]] {
        std::fs::write(&noted, damaged).expect("writes");
        assert!(loaded("a.test"), "a power cut takes it back to what was saved");
    }
    note(&with("c.test"), &path).expect("notes");
    save(&with("d.test"), &path).expect("saves");
    assert!(loaded("d.test"));
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 1, "the note has gone");
}

#[test]
fn a_damaged_file_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("routes.json");
    for text in [
        "",
        "{",
        "null",
        "[]",
        "\0",
        r#"{"format":2,"api":null,"targets":[]}"#,
        r#"{"format":1,"api":null,"targets":[{"app":"x","state":"live","hosts":["$(id)"],"upstreams":[]}]}"#,
        r#"{"format":1,"api":null,"targets":[{"app":"x","state":"live","hosts":[],"upstreams":[{"address":"x","replica":"r"}]}]}"#,
    ] {
        std::fs::write(&path, text).expect("writes");
        let error = load(&path).expect_err(text);
        assert!(matches!(error, TableError::Damaged { .. }) && !error.is_temporary(), "{text:?}: {error}");
    }
    let error = save(&RouteTable::default(), &dir.path().join("no/such/routes.json")).expect_err("no directory");
    assert!(error.is_temporary());
}
