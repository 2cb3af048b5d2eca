use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::*;

fn store() -> (tempfile::TempDir, LogStore) {
    let dir = tempfile::tempdir().expect("directory");
    let logs = LogStore::open(&dir.path().join("logs")).expect("logs");
    (dir, logs)
}

fn name() -> LogName {
    LogName::job(&JobId::fresh())
}

async fn next(stream: &mut LogStream) -> Option<LogEvent> {
    timeout(Duration::from_secs(20), stream.next()).await.expect("the log says something")
}

fn line(text: &str) -> Option<LogEvent> {
    Some(LogEvent::Line(text.to_owned()))
}

async fn all(stream: LogStream) -> Vec<String> {
    let events: Vec<_> = timeout(Duration::from_secs(20), stream.collect::<Vec<_>>()).await.expect("the log ends");
    let (end, lines) = events.split_last().expect("an event");
    assert_eq!(*end, LogEvent::End);
    lines
        .iter()
        .map(|event| match event {
            LogEvent::Line(line) => line.clone(),
            LogEvent::End => panic!("an end before the end"),
        })
        .collect()
}

#[tokio::test]
async fn followers_see_lines_as_they_come_and_the_end() {
    let (_dir, logs) = store();
    let name = name();
    let (mut early, mut later) = (logs.follow(&name, 0), logs.follow(&name, 1));
    assert!(timeout(Duration::from_millis(1), early.next()).await.is_err(), "nothing was written yet");
    logs.append(&name, "one").expect("append");
    assert_eq!(next(&mut early).await, line("one"));
    logs.append(&name, "two\nthree\n").expect("append");
    for expected in ["two", "three"] {
        assert_eq!(next(&mut early).await, line(expected));
        assert_eq!(next(&mut later).await, line(expected));
    }
    logs.close(&name).expect("close");
    for stream in [&mut early, &mut later] {
        assert_eq!(next(stream).await, Some(LogEvent::End));
        assert_eq!(next(stream).await, None);
    }
    assert_eq!(logs.read(&name).await.expect("read"), ["one", "two", "three"]);
}

#[tokio::test]
async fn the_end_outlives_the_process() {
    let (dir, logs) = store();
    let (ended, open) = (name(), name());
    for name in [&ended, &open] {
        logs.append(name, "a\nb").expect("append");
    }
    logs.close(&ended).expect("close");
    drop(logs);
    let logs = LogStore::open(&dir.path().join("logs")).expect("logs");
    assert_eq!(all(logs.follow(&ended, 1)).await, ["b"]);
    let mut stream = logs.follow(&open, 2);
    assert!(timeout(Duration::from_millis(1), stream.next()).await.is_err(), "it has not ended");
    logs.append(&open, "c").expect("append");
    assert_eq!(next(&mut stream).await, line("c"));
    // Closing twice is closing once, also across the restart.
    logs.close(&ended).expect("close");
    assert_eq!(all(logs.follow(&ended, 0)).await, ["a", "b"]);
}

#[tokio::test]
async fn a_line_after_the_end_opens_the_log_again() {
    let (_dir, logs) = store();
    let name = name();
    logs.append(&name, "a").expect("append");
    logs.close(&name).expect("close");
    logs.append(&name, "b").expect("append");
    logs.close(&name).expect("close");
    assert_eq!(all(logs.follow(&name, 0)).await, ["a", "b"]);
    assert_eq!(all(logs.follow(&name, 1)).await, ["b"], "the first end counts as no line");
    assert_eq!(logs.read(&name).await.expect("read"), ["a", "b"]);
}

#[tokio::test]
async fn a_torn_line_does_not_swallow_the_next() {
    let (dir, logs) = store();
    let name = name();
    logs.append(&name, "whole").expect("append");
    drop(logs);
    let path = dir.path().join("logs").join(format!("{}.log", name.0));
    let mut file = fs::OpenOptions::new().append(true).open(path).expect("file");
    file.write_all("half a li\u{e9}".as_bytes().split_last().expect("bytes").1).expect("tear");
    let logs = LogStore::open(&dir.path().join("logs")).expect("logs");
    logs.append(&name, "after").expect("append");
    logs.close(&name).expect("close");
    assert_eq!(all(logs.follow(&name, 0)).await, ["whole", "half a li\u{fffd}", "after"]);
}

#[tokio::test]
async fn many_followers_of_a_busy_log_all_see_all() {
    let (_dir, logs) = store();
    let name = name();
    let mut followers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        followers.spawn(all(logs.follow(&name, 0)));
    }
    let expected: Vec<String> = (0..5000).map(|n| format!("line {n} {}", "x".repeat(n % 200))).collect();
    for chunk in expected.chunks(7) {
        logs.append(&name, &chunk.join("\n")).expect("append");
        tokio::task::yield_now().await;
    }
    logs.close(&name).expect("close");
    let mut seen = 0;
    while let Some(lines) = followers.join_next().await {
        assert_eq!(lines.expect("follower"), expected);
        seen += 1;
    }
    assert_eq!(seen, 32);
}

#[tokio::test]
async fn a_full_log_says_so_once_and_ends() {
    let (dir, logs) = store();
    let name = name();
    let path = dir.path().join("logs").join(format!("{}.log", name.0));
    // A sparse file stands for the first lines.
    let file = fs::File::create(&path).expect("file");
    file.set_len(live::LARGEST - 20).expect("length");
    (&file).write_all(b"first\n").expect("write");
    std::os::unix::fs::FileExt::write_all_at(&file, b"\n", live::LARGEST - 21).expect("write");
    logs.append(&name, "fits\nand this does not").expect("append");
    logs.append(&name, "nor this").expect("append");
    let logs = LogStore::open(&dir.path().join("logs")).expect("logs");
    logs.append(&name, "nor this after a restart").expect("append");
    logs.close(&name).expect("close");
    let lines = all(logs.follow(&name, 1)).await;
    assert_eq!(lines[lines.len() - 2..], ["fits", live::FULL]);
    assert!(fs::metadata(&path).expect("file").len() < live::LARGEST + 256);
}

#[tokio::test]
async fn a_deleted_log_ends_for_those_who_follow_it() {
    let (_dir, logs) = store();
    let name = name();
    logs.append(&name, "a").expect("append");
    let mut stream = logs.follow(&name, 0);
    assert_eq!(next(&mut stream).await, line("a"));
    logs.delete(&name).await.expect("delete");
    assert_eq!(next(&mut stream).await, Some(LogEvent::End));
    assert!(logs.read(&name).await.expect("read").is_empty());
}

#[tokio::test]
async fn idle_logs_are_forgotten_and_found_again() {
    let (_dir, logs) = store();
    let followed = name();
    let mut stream = logs.follow(&followed, 0);
    let names: Vec<_> = (0..REMEMBERED * 3).map(|_| name()).collect();
    for name in &names {
        logs.append(name, "a").expect("append");
    }
    assert!(logs.live.lock().expect("lock").len() <= REMEMBERED + 1);
    logs.append(&followed, "still heard").expect("append");
    assert_eq!(next(&mut stream).await, line("still heard"));
    logs.append(&names[0], "b").expect("append");
    assert_eq!(logs.read(&names[0]).await.expect("read"), ["a", "b"]);
}
