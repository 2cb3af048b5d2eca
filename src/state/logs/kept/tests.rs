use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::*;

const DAY: i64 = 86_400_000;
const BOUNDS: Bounds = Bounds { bytes: 64 << 10, age_millis: 7 * DAY };

struct Place {
    dir: tempfile::TempDir,
    environment: EnvironmentId,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), environment: EnvironmentId::fresh() }
    }

    fn open(&self) -> AppLogs {
        AppLogs::open(self.dir.path(), BOUNDS).expect("logs")
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let dir = self.dir.path().join(self.environment.as_str());
        let mut all: Vec<_> = fs::read_dir(dir).expect("a folder").flatten().map(|e| e.path()).collect();
        all.sort();
        all
    }

    fn bytes(&self) -> u64 {
        self.files().iter().map(|path| fs::metadata(path).expect("a file").len()).sum()
    }
}

fn record(at: i64, name: &str, text: &str) -> Record {
    let mark = Some(Mark { stream: format!("{name}o"), position: at });
    Record { at: Timestamp(at), source: Source::App, name: name.into(), text: text.into(), mark }
}

fn all() -> Query {
    Query { tail: 10_000, ..Query::default() }
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|r| r.text.as_str()).collect()
}

#[tokio::test]
async fn what_is_kept_is_found_by_whoever_opens_it_next() {
    let place = Place::new();
    let written = [record(10, "web.1", "one"), record(11, "worker.1", "a  b\u{1b}[2J\nc"), record(12, "web.2", "")];
    place.open().append(&place.environment, &written).expect("append");
    let logs = place.open();
    let found = logs.search(&place.environment, &all()).await.expect("search");
    assert_eq!(texts(&found), ["one", "a  b c", ""], "controls and ends of lines are none of a line's");
    assert_eq!(found[0], written[0]);
    assert_eq!(found[0].to_string(), "1970-01-01T00:00:00.010Z web.1: one");
    assert_eq!(logs.cursor(&place.environment, "web.1o").expect("cursor"), Some(Cursor { position: 10, count: 1 }));
    assert_eq!(logs.cursor(&place.environment, "web.1e").expect("cursor"), None);
    let nobody = EnvironmentId::fresh();
    assert!(logs.search(&nobody, &all()).await.expect("search").is_empty());
}

#[tokio::test]
async fn everything_asked_for_must_hold() {
    let place = Place::new();
    let logs = place.open();
    let mut written: Vec<_> =
        (0..100).map(|n| record(n, if n % 2 == 0 { "web.1" } else { "web.2" }, &format!("Line {n}"))).collect();
    written[50].source = Source::Build;
    logs.append(&place.environment, &written).expect("append");
    let found = async |query: Query| {
        let found = logs.search(&place.environment, &query).await.expect("search");
        found.iter().map(|r| r.at.0).collect::<Vec<_>>()
    };
    assert_eq!(found(Query { tail: 2, ..Query::default() }).await, [98, 99]);
    assert_eq!(found(Query { tail: 0, ..Query::default() }).await, [0; 0]);
    assert_eq!(found(Query { tail: 2, process: Some("web.2".into()), ..Query::default() }).await, [97, 99]);
    assert_eq!(found(Query { tail: 2, process: Some("web".into()), ..Query::default() }).await, [98, 99]);
    assert_eq!(found(Query { process: Some("we".into()), ..all() }).await, [0; 0]);
    assert_eq!(found(Query { source: Some(Source::Build), ..all() }).await, [50]);
    assert_eq!(found(Query { since: Some(Timestamp(30)), until: Some(Timestamp(32)), ..all() }).await, [30, 31]);
    assert_eq!(found(Query { word: Some("line 7".into()), tail: 3, ..Query::default() }).await, [77, 78, 79]);
    assert_eq!(found(Query { word: Some(".*".into()), ..all() }).await, [0; 0], "a text, no pattern");
}

#[tokio::test]
async fn the_bound_holds_and_the_oldest_goes_first() {
    let place = Place::new();
    let logs = place.open();
    for n in 0..2_000 {
        logs.append(&place.environment, &[record(n, "web.1", &format!("{n} {}", "x".repeat(100)))]).expect("append");
        assert!(place.bytes() <= BOUNDS.bytes + 1024, "{}", place.bytes());
    }
    let found = logs.search(&place.environment, &all()).await.expect("search");
    assert!(found.len() > 200 && found.len() < 1_000, "{}", found.len());
    assert_eq!(found.last().map(|r| r.at.0), Some(1_999));
    assert!(found.windows(2).all(|pair| pair[1].at.0 == pair[0].at.0 + 1), "without gap");
    // A line longer than a file is clipped, not refused.
    logs.append(&place.environment, &[record(2_000, "web.1", &"y".repeat(1 << 20))]).expect("append");
    assert!(place.bytes() <= BOUNDS.bytes + 32 * 1024);
}

#[tokio::test]
async fn a_quiet_stream_is_known_when_its_lines_are_long_gone() {
    let place = Place::new();
    let logs = place.open();
    logs.append(&place.environment, &[record(5, "quiet.1", "once"), record(5, "quiet.1", "twice")]).expect("append");
    logs.append(&place.environment, &[record(6, "gone.1", "bye")]).expect("append");
    logs.forget(&place.environment, "gone.1o").expect("forget");
    for n in 10..2_000 {
        logs.append(&place.environment, &[record(n, "web.1", &"x".repeat(100))]).expect("append");
    }
    assert!(logs.search(&place.environment, &all()).await.expect("search").iter().all(|r| r.name != "quiet.1"));
    drop(logs);
    let logs = place.open();
    let known = |stream: &str| logs.cursor(&place.environment, stream).expect("cursor");
    assert_eq!(known("quiet.1o"), Some(Cursor { position: 5, count: 2 }));
    assert_eq!(known("web.1o"), Some(Cursor { position: 1_999, count: 1 }));
    assert_eq!(known("gone.1o"), None);
}

#[tokio::test]
async fn a_torn_record_was_never_kept() {
    let place = Place::new();
    place.open().append(&place.environment, &[record(1, "web.1", "whole")]).expect("append");
    let path = place.files().remove(0);
    fs::OpenOptions::new().append(true).open(&path).expect("file").write_all(b"2 a web.1 web.1o 2 to").expect("tear");
    let logs = place.open();
    assert_eq!(logs.cursor(&place.environment, "web.1o").expect("cursor"), Some(Cursor { position: 1, count: 1 }));
    logs.append(&place.environment, &[record(2, "web.1", "torn no more")]).expect("append");
    let found = logs.search(&place.environment, &all()).await.expect("search");
    assert_eq!(texts(&found), ["whole", "torn no more"]);
}

#[tokio::test]
async fn followers_see_what_was_and_what_comes_across_files() {
    let place = Place::new();
    let logs = place.open();
    logs.append(&place.environment, &[record(0, "web.1", "zero"), record(1, "web.1", "one")]).expect("append");
    let mut follower = logs.follow(&place.environment, &Query { tail: 1, ..Query::default() }).expect("follow");
    let next = async |follower: &mut BoxStream<'static, Record>| {
        timeout(Duration::from_secs(20), follower.next()).await.expect("in time").expect("a record")
    };
    assert_eq!(next(&mut follower).await.text, "one");
    assert!(timeout(Duration::from_millis(5), follower.next()).await.is_err(), "nothing came yet");
    for n in 2..400 {
        logs.append(&place.environment, &[record(n, "web.1", &format!("{n} {}", "x".repeat(100)))]).expect("append");
        let seen = next(&mut follower).await;
        assert_eq!(seen.at.0, n);
    }
    assert!(place.files().len() > 3, "over several files");
}

#[tokio::test]
async fn a_follower_that_is_too_slow_is_told() {
    let place = Place::new();
    let logs = place.open();
    logs.append(&place.environment, &[record(1, "web.1", "one")]).expect("append");
    let mut follower = logs.follow(&place.environment, &Query { tail: 1, ..Query::default() }).expect("follow");
    assert_eq!(follower.next().await.expect("a record").text, "one");
    for n in 2..3_000 {
        logs.append(&place.environment, &[record(n, "web.1", &"x".repeat(100))]).expect("append");
    }
    let mut seen = Vec::new();
    while seen.last().is_none_or(|r: &Record| r.at.0 < 2_999) {
        seen.push(timeout(Duration::from_secs(20), follower.next()).await.expect("in time").expect("a record"));
    }
    assert!(seen.iter().any(|r| r.source == Source::System && r.text.contains("missing")), "{}", seen.len());
}

#[tokio::test]
async fn the_old_and_the_orphaned_are_swept() {
    let place = Place::new();
    let logs = place.open();
    let other = EnvironmentId::fresh();
    logs.append(&place.environment, &[record(DAY, "web.1", "old")]).expect("append");
    logs.append(&other, &[record(DAY, "web.1", "of nobody")]).expect("append");
    let there = HashSet::from([place.environment.clone()]);
    logs.sweep(&there, Timestamp(7 * DAY)).expect("sweep");
    assert_eq!(logs.search(&place.environment, &all()).await.expect("search").len(), 1);
    assert!(!place.dir.path().join(other.as_str()).exists());
    logs.append(&place.environment, &[record(6 * DAY, "web.1", "young")]).expect("append");
    logs.sweep(&there, Timestamp(9 * DAY)).expect("sweep");
    assert_eq!(texts(&logs.search(&place.environment, &all()).await.expect("search")), ["young"]);
    logs.sweep(&there, Timestamp(90 * DAY)).expect("sweep");
    assert!(logs.search(&place.environment, &all()).await.expect("search").is_empty());
    let known = place.open().cursor(&place.environment, "web.1o").expect("cursor");
    assert_eq!(known, Some(Cursor { position: 6 * DAY, count: 1 }), "its place is known on");
}
