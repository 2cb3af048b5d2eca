//! What every engine must do. Each function is one clause; `engine_contract!` makes a test of each.
//!
//! Clauses use the commands of `fake/toybox.rs` and no others, so that the same text holds for an engine
//! that runs programs and for one that does not.

pub mod commands;
pub mod garbage;
mod seen;
pub mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::tarball::{self, Kind, Reader};
use super::{ByteStream, Channel, Engine, EngineError, Exec, ExecSpec, Privileges, SandboxSpec, probe};
use crate::base::model::{
    Check, EnvironmentId, Generation, Id, ImageDigest, Limits, Process, ProcessName, ReleaseId, Replica, ReplicaState,
    SpaceId, WorkloadId, WorkloadSpec,
};
use crate::base::secret::Secret;

pub use seen::{
    a_witness_sees_the_last_lines, output_is_read_again_from_where_it_was_left, usage_is_read_while_it_runs,
};

/// An engine with what a test needs beside it. Dropping it leaves nothing behind.
#[async_trait]
pub trait Rig: Send + Sync {
    fn engine(&self) -> &dyn Engine;
    /// Loaded. Has the commands of the toybox, a user 1000:1000, and `/tmp` and `/workspace` that this user may write.
    fn image(&self) -> ImageDigest;
    /// Not loaded; its base layers are those of `image`.
    fn other_image(&self) -> ImageDigest;
    /// `other_image` as a docker-archive, with all layers or with only those that `image` lacks.
    fn archive(&self, whole: bool) -> ByteStream;
    /// As `archive(false)`, with a layer missing that no image brought.
    fn archive_with_a_gap(&self) -> ByteStream;
    /// Listens on `$PORT`.
    fn listener(&self) -> Vec<String>;
    /// Takes more memory than the limits of `workload` allow.
    fn glutton(&self) -> Vec<String>;
}

#[doc(hidden)]
#[macro_export]
macro_rules! engine_contract {
    ($rig:expr) => {
        macro_rules! clause {
            ($name:ident) => {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let rig = $rig;
                    $crate::machinery::runtime::contract::$name(&rig).await;
                }
            };
            (volumes::$name:ident) => {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let rig = $rig;
                    $crate::machinery::runtime::contract::volumes::$name(&rig).await;
                }
            };
            (garbage::$name:ident) => {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let rig = $rig;
                    $crate::machinery::runtime::contract::garbage::$name(&rig).await;
                }
            };
            (commands::$name:ident) => {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let rig = $rig;
                    $crate::machinery::runtime::contract::commands::$name(&rig).await;
                }
            };
        }
        clause!(probes);
        clause!(ensures_exactly_that_many);
        clause!(replicas_are_reached_at_their_address);
        clause!(variables_reach_the_process);
        clause!(what_exited_is_seen_and_replaced);
        clause!(running_out_of_memory_is_told);
        clause!(lower_generations_are_retired);
        clause!(one_replica_is_removed_in_whatever_state);
        clause!(logs_are_read_and_followed);
        clause!(output_is_read_again_from_where_it_was_left);
        clause!(a_witness_sees_the_last_lines);
        clause!(usage_is_read_while_it_runs);
        clause!(commands_run_inside_a_replica);
        clause!(a_missing_image_is_refused_and_leaves_nothing);
        clause!(images_are_loaded_without_known_layers);
        clause!(a_broken_archive_is_refused);
        clause!(sandboxes_live_until_closed);
        clause!(a_sandbox_with_another_image_is_new);
        clause!(commands_have_streams_and_codes);
        clause!(commands_have_a_user_a_place_and_variables);
        clause!(files_are_put_and_read_back);
        clause!(changes_are_a_layer);
        clause!(what_is_not_there_is_not_found);
        clause!(commands::a_command_runs_once_and_is_kept_until_it_is_ended);
        clause!(commands::a_command_has_variables_and_its_own_exit_code);
        clause!(commands::a_running_command_is_seen_and_ended);
        clause!(commands::a_command_without_its_image_is_refused_and_leaves_nothing);
        clause!(commands::an_attached_command_has_streams_apart);
        clause!(commands::an_attached_command_hears_signals);
        clause!(commands::a_terminal_turns_a_key_into_a_signal);
        clause!(commands::a_replica_is_entered_beside_its_process);
        clause!(volumes::a_volume_outlives_its_replicas);
        clause!(volumes::a_volume_is_removed_only_when_nobody_has_it);
        clause!(volumes::a_replica_has_the_volumes_of_its_spec_and_no_others);
        clause!(garbage::an_image_goes_only_when_nothing_is_of_it);
        clause!(garbage::a_network_goes_only_when_nobody_is_in_it);
        clause!(garbage::sandboxes_are_measured);
    };
}

const PATIENCE: Duration = Duration::from_secs(60);

pub async fn probes(rig: &dyn Rig) {
    let facts = rig.engine().probe().await.expect("probe");
    assert!(!facts.version.is_empty() && !facts.architecture.is_empty(), "{facts:?}");
}

pub async fn ensures_exactly_that_many(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = WorkloadSpec { count: 2, ..workload(rig, &["sleep", "1000"]) };
    engine.ensure(&spec).await.expect("two");
    let two = until(engine, |all| all.len() == 2 && all.iter().all(is_running)).await;
    assert_eq!(ordinals(&two), [1, 2]);
    for replica in &two {
        assert_eq!(replica.workload, spec.id);
        assert_eq!(replica.generation, spec.generation);
        assert_eq!(replica.release, spec.release);
        assert!(replica.started_at.is_some());
    }
    engine.ensure(&spec).await.expect("again");
    assert_eq!(observe(engine).await, two, "nothing to do");
    spec.count = 1;
    engine.ensure(&spec).await.expect("one");
    assert_eq!(observe(engine).await, two[..1], "the highest ordinal went");
    spec.count = 3;
    engine.ensure(&spec).await.expect("three");
    let three = until(engine, |all| all.len() == 3 && all.iter().all(is_running)).await;
    assert_eq!(three[0], two[0]);
    assert_eq!(ordinals(&three), [1, 2, 3]);
    engine.stop(&three[1].id).await.expect("stop");
    engine.stop(&three[1].id).await.expect("it is gone already");
    let two = until(engine, |all| all.len() == 2).await;
    assert_eq!(ordinals(&two), [1, 3], "that one, and no other");
    spec.count = 0;
    engine.ensure(&spec).await.expect("none");
    assert_eq!(observe(engine).await, []);
}

pub async fn replicas_are_reached_at_their_address(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &[]);
    spec.process.command = rig.listener();
    let quiet = workload(rig, &["sleep", "1000"]);
    let quiet = WorkloadSpec { port: None, id: WorkloadId { process: name("worker"), ..spec.id.clone() }, ..quiet };
    engine.ensure(&spec).await.expect("web");
    engine.ensure(&quiet).await.expect("worker");
    let both = until(engine, |all| all.len() == 2 && all.iter().all(is_running)).await;
    assert!(both.iter().all(|r| r.address.is_some() == (r.workload == spec.id)), "{both:?}");
    let address = both.iter().find_map(|r| r.address).expect("an address");
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let listening = async {
        while probe::ready(address, &Check::Tcp, Duration::from_secs(1)).await.is_err() {
            again.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("it accepts connections");
}

pub async fn variables_reach_the_process(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &["printenv", "HYTHE_PROCESS", "PORT", "SECRET"]);
    spec.variables.insert("SECRET".into(), Secret::new("s p=ä\"c$e".into()));
    engine.ensure(&spec).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    let lines: Vec<_> = engine.logs(&ended[0].id, 10, false).await.expect("logs").try_collect().await.expect("lines");
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["web.1", "8000", "s p=ä\"c$e"]);
}

pub async fn what_exited_is_seen_and_replaced(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = workload(rig, &["false"]);
    engine.ensure(&spec).await.expect("ensure");
    let first = until(engine, |all| all.iter().any(has_exited)).await;
    let ReplicaState::Exited { code, out_of_memory, at } = first[0].state else { unreachable!() };
    assert_eq!((code, out_of_memory, first[0].address), (1, false, None));
    assert!(at >= first[0].started_at.expect("it had started"), "{first:?}");
    assert_eq!(observe(engine).await, first, "it stays as it is until somebody asks");
    engine.ensure(&spec).await.expect("ensure again");
    let second = until(engine, |all| all.iter().any(has_exited)).await;
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].id, first[0].id);
}

pub async fn running_out_of_memory_is_told(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &[]);
    spec.process.command = rig.glutton();
    engine.ensure(&spec).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    assert!(matches!(ended[0].state, ReplicaState::Exited { out_of_memory: true, .. }), "{ended:?}");
}

pub async fn lower_generations_are_retired(rig: &dyn Rig) {
    let engine = rig.engine();
    let old = workload(rig, &["sleep", "1000"]);
    let new = WorkloadSpec { generation: old.generation.next(), release: ReleaseId::fresh(), ..old.clone() };
    let other = workload(rig, &["sleep", "1000"]);
    for spec in [&old, &new, &other] {
        engine.ensure(spec).await.expect("ensure");
    }
    until(engine, |all| all.len() == 3 && all.iter().all(is_running)).await;
    for _ in 0..2 {
        engine.retire(&old.id, new.generation).await.expect("retire");
        let left = observe(engine).await;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|r| r.workload == other.id || r.generation == new.generation));
    }
}

pub async fn one_replica_is_removed_in_whatever_state(rig: &dyn Rig) {
    let engine = rig.engine();
    let runs = workload(rig, &["sleep", "1000"]);
    let ends = workload(rig, &["true"]);
    engine.ensure(&runs).await.expect("ensure");
    engine.ensure(&ends).await.expect("ensure");
    let mut left = until(engine, |all| all.iter().any(has_exited) && all.iter().any(is_running)).await;
    while let Some(replica) = left.pop() {
        engine.remove(&replica.id).await.expect("removed");
        engine.remove(&replica.id).await.expect("already gone is success");
        let seen = observe(engine).await;
        assert_eq!(seen.len(), left.len(), "only that one: {seen:?}");
    }
    engine.remove("../../etc/passwd").await.expect("what never was is gone");
}

pub async fn logs_are_read_and_followed(rig: &dyn Rig) {
    let engine = rig.engine();
    engine.ensure(&workload(rig, &["echo", "one  line"])).await.expect("ensure");
    let ended = until(engine, |all| all.iter().any(has_exited)).await;
    for follow in [false, true] {
        let lines = engine.logs(&ended[0].id, 10, follow).await.expect("logs");
        let lines: Vec<_> = tokio::time::timeout(PATIENCE, lines.try_collect()).await.expect("it ends").expect("lines");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.text.as_str(), line.channel), ("one  line", Channel::Out));
        assert!(line.at.0 > 0);
    }
    assert_eq!(engine.logs(&ended[0].id, 0, false).await.expect("logs").count().await, 0, "no lines asked for");
    engine.ensure(&workload(rig, &["sleep", "1000"])).await.expect("ensure");
    let all = until(engine, |all| all.iter().any(is_running)).await;
    let runs = all.iter().find(|r| is_running(r)).expect("one runs");
    let mut lines = engine.logs(&runs.id, 10, true).await.expect("logs");
    engine.retire(&runs.workload, runs.generation.next()).await.expect("retire");
    let end = tokio::time::timeout(PATIENCE, lines.next()).await.expect("following ends with the replica");
    assert!(end.is_none(), "{end:?}");
}

pub async fn commands_run_inside_a_replica(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = workload(rig, &["sleep", "1000"]);
    spec.variables.insert("COLOUR".into(), Secret::new("blue".into()));
    engine.ensure(&spec).await.expect("ensure");
    let running = until(engine, |all| all.iter().all(is_running) && !all.is_empty()).await;
    let words = |command: &[&str]| command.iter().map(ToString::to_string).collect::<Vec<_>>();
    let run = async |command: &[&str]| engine.exec_in(&running[0].id, &words(command), PATIENCE).await.expect("exec");
    let said = run(&["printenv", "COLOUR", "HYTHE_PROCESS"]).await;
    assert_eq!((said.code, said.tail.as_str()), (Some(0), "blue\nweb.1\n"));
    assert_eq!(run(&["false"]).await.code, Some(1));
    let short = Duration::from_millis(300);
    let slow = engine.exec_in(&running[0].id, &words(&["sleep", "20"]), short).await.expect("exec");
    assert_eq!(slow.code, None, "it has not ended in time");
    let gone = engine.exec_in(&"0".repeat(64), &words(&["true"]), PATIENCE).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
    assert!(engine.exec_in("../x", &words(&["true"]), PATIENCE).await.is_err());
}

pub async fn a_missing_image_is_refused_and_leaves_nothing(rig: &dyn Rig) {
    let engine = rig.engine();
    assert!(!engine.has_image(&rig.other_image()).await.expect("has"));
    let spec = WorkloadSpec { image: rig.other_image(), ..workload(rig, &["true"]) };
    let fault = engine.ensure(&spec).await.expect_err("no image");
    let EngineError::Refused { source, .. } = &fault else { panic!("{fault:?}") };
    assert!(source.to_string().contains("is not in the engine"), "{source}");
    assert!(!fault.is_temporary());
    assert_eq!(observe(engine).await, []);
    let spec = SandboxSpec { image: rig.other_image(), ..sandbox(rig) };
    assert!(matches!(engine.open_sandbox(&spec).await, Err(EngineError::Refused { .. })));
    assert_eq!(engine.sandboxes().await.expect("list"), Vec::<String>::new());
}

pub async fn images_are_loaded_without_known_layers(rig: &dyn Rig) {
    let engine = rig.engine();
    assert!(engine.has_image(&rig.image()).await.expect("has"));
    let missing = engine.load(rig.archive_with_a_gap()).await;
    assert!(matches!(missing, Err(EngineError::MissingLayers)), "{missing:?}");
    assert!(!engine.has_image(&rig.other_image()).await.expect("has"));
    for whole in [false, false, true] {
        engine.load(rig.archive(whole)).await.expect("load");
        assert!(engine.has_image(&rig.other_image()).await.expect("has"));
    }
    let spec = WorkloadSpec { image: rig.other_image(), ..workload(rig, &["true"]) };
    engine.ensure(&spec).await.expect("it runs");
    until(engine, |all| all.iter().any(has_exited)).await;
}

pub async fn a_broken_archive_is_refused(rig: &dyn Rig) {
    let engine = rig.engine();
    let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err(std::io::Error::other("disk gone"))]).boxed();
    let fault = engine.load(broken).await.expect_err("broken");
    let EngineError::Refused { source, .. } = &fault else { panic!("{fault:?}") };
    assert!(source.to_string().contains("disk gone"), "{source}");
    let garbage = stream::iter([Ok(Bytes::from_static(&[7; 2048]))]).boxed();
    assert!(matches!(engine.load(garbage).await, Err(EngineError::Refused { .. })));
}

pub async fn sandboxes_live_until_closed(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    assert!(engine.open_sandbox(&spec).await.expect("open"), "it is new");
    assert_eq!(said(engine, &spec, &["touch", "/tmp/kept"]).await, (String::new(), 0));
    assert!(!engine.open_sandbox(&spec).await.expect("open"), "it was open");
    for _ in 0..2 {
        engine.pause_sandbox(&spec.name).await.expect("pausing twice is fine");
    }
    assert!(engine.exec(&spec.name, command(&["true"])).await.is_err(), "it is frozen");
    assert!(!engine.open_sandbox(&spec).await.expect("open"), "it was paused");
    assert_eq!(said(engine, &spec, &["cat", "/tmp/kept"]).await, (String::new(), 0));
    assert_eq!(engine.sandboxes().await.expect("list"), [spec.name.as_str()]);
    assert_eq!(observe(engine).await, [], "a sandbox is no replica");
    engine.pause_sandbox(&spec.name).await.expect("pause");
    for _ in 0..2 {
        engine.close_sandbox(&spec.name).await.expect("closing what is closed is fine");
    }
    engine.pause_sandbox(&spec.name).await.expect("pausing what is closed is fine");
    assert_eq!(engine.sandboxes().await.expect("list"), Vec::<String>::new());
    assert!(engine.open_sandbox(&spec).await.expect("open"), "it is new again");
    assert_eq!(said(engine, &spec, &["cat", "/tmp/kept"]).await.1, 1, "nothing is left");
}

pub async fn a_sandbox_with_another_image_is_new(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    assert!(engine.open_sandbox(&spec).await.expect("open"));
    engine.load(rig.archive(false)).await.expect("load");
    let other = SandboxSpec { image: rig.other_image(), ..spec.clone() };
    assert!(engine.open_sandbox(&other).await.expect("open"), "another image");
    let trusted = SandboxSpec { privileges: Privileges::Packages, ..other };
    assert!(engine.open_sandbox(&trusted).await.expect("open"), "other privileges");
    assert_eq!(engine.sandboxes().await.expect("list").len(), 1);
}

pub async fn commands_have_streams_and_codes(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    engine.open_sandbox(&spec).await.expect("open");
    assert_eq!(said(engine, &spec, &["echo", "a", "b"]).await, ("a b\n".into(), 0));
    assert_eq!(said(engine, &spec, &["false"]).await, (String::new(), 1));
    let (output, code) = finished(engine.exec(&spec.name, command(&["cat", "/nowhere"])).await.expect("exec")).await;
    assert_eq!(code, 1);
    assert!(output.iter().all(|(channel, _)| *channel == Channel::Err) && !output.is_empty(), "{output:?}");
    let (output, code) = finished(engine.exec(&spec.name, command(&["no-such-command"])).await.expect("exec")).await;
    assert!(code == 126 || code == 127, "{code} {output:?}");
    // More than any pipe or frame holds, fed while it is read back.
    let piece = Bytes::from(vec![b'x'; 100_000]);
    let stdin = stream::iter(std::iter::repeat_n(piece, 50).map(Ok)).boxed();
    let cat = ExecSpec { stdin: Some(stdin), ..command(&["cat"]) };
    let (output, code) = finished(engine.exec(&spec.name, cat).await.expect("exec")).await;
    assert_eq!((output.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), code), (5_000_000, 0));
    // A command that ends without reading what it is given.
    let stdin = stream::iter([Ok(Bytes::from_static(b"unread"))]).chain(stream::pending()).boxed();
    let deaf = ExecSpec { stdin: Some(stdin), ..command(&["true"]) };
    assert_eq!(finished(engine.exec(&spec.name, deaf).await.expect("exec")).await.1, 0);
}

pub async fn commands_have_a_user_a_place_and_variables(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = SandboxSpec { variables: [("A".into(), "outer".into())].into(), ..sandbox(rig) };
    engine.open_sandbox(&spec).await.expect("open");
    assert_eq!(said(engine, &spec, &["id", "-u"]).await.0, "1000\n");
    let root = ExecSpec { user: Some("0:0".into()), ..command(&["id", "-u"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, root).await.expect("exec")).await).0, "0\n");
    let there = ExecSpec { working_dir: Some("/tmp".into()), ..command(&["pwd"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, there).await.expect("exec")).await).0, "/tmp\n");
    let with = ExecSpec { variables: [("B".into(), "inner $A".into())].into(), ..command(&["printenv", "A", "B"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, with).await.expect("exec")).await).0, "outer\ninner $A\n");
    let over = ExecSpec { variables: [("A".into(), "mine".into())].into(), ..command(&["printenv", "A"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, over).await.expect("exec")).await).0, "mine\n");
}

pub async fn files_are_put_and_read_back(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    engine.open_sandbox(&spec).await.expect("open");
    let mut tar = Vec::new();
    tarball::append(&mut tar, "sub/", Kind::Directory, 0o755, "", b"");
    tarball::append(&mut tar, "sub/run me ü", Kind::File, 0o755, "", b"hello");
    tarball::append(&mut tar, "sub/link", Kind::Link, 0o777, "run me ü", b"");
    tarball::finish(&mut tar);
    engine.put(&spec.name, "/workspace", one(tar.clone())).await.expect("put");
    assert_eq!(said(engine, &spec, &["cat", "/workspace/sub/run me ü"]).await, ("hello".into(), 0));
    let back = engine.get(&spec.name, "/workspace/sub").await.expect("get");
    let mut back = entries(back).await;
    back.sort();
    assert_eq!(
        back,
        [
            ("sub".into(), Kind::Directory, String::new()),
            ("sub/link".into(), Kind::Link, String::new()),
            ("sub/run me ü".into(), Kind::File, "hello".into())
        ]
    );
    let one_file = entries(engine.get(&spec.name, "/workspace/sub/run me ü").await.expect("get")).await;
    assert_eq!(one_file, [("run me ü".into(), Kind::File, "hello".into())]);
    for path in ["/workspace/nothing", "/nowhere/at/all"] {
        assert!(matches!(engine.get(&spec.name, path).await, Err(EngineError::NotFound { .. })));
    }
    let nowhere = engine.put(&spec.name, "/nowhere", one(tar)).await;
    assert!(matches!(nowhere, Err(EngineError::NotFound { .. })), "{nowhere:?}");
    let broken = stream::iter([Err(std::io::Error::other("disk gone"))]).boxed();
    let fault = engine.put(&spec.name, "/workspace", broken).await.expect_err("broken");
    assert!(matches!(&fault, EngineError::Refused { source, .. } if source.to_string().contains("disk gone")));
}

pub async fn changes_are_a_layer(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    engine.open_sandbox(&spec).await.expect("open");
    // Twice: what the first left behind must not disturb the second.
    for file in ["new", "newer"] {
        said(engine, &spec, &["touch", &format!("/workspace/{file}")]).await;
        let layer = entries(engine.changes(&spec.name).await.expect("changes")).await;
        let paths: Vec<_> = layer.iter().map(|(path, ..)| path.as_str()).collect();
        assert!(paths.contains(&format!("workspace/{file}").as_str()), "{paths:?}");
        assert!(!paths.iter().any(|path| path.starts_with("usr/bin/")), "nothing of the image: {paths:?}");
    }
    // Read only in part.
    drop(engine.changes(&spec.name).await.expect("changes"));
    assert_eq!(said(engine, &spec, &["true"]).await.1, 0, "the sandbox goes on");
}

pub async fn what_is_not_there_is_not_found(rig: &dyn Rig) {
    let engine = rig.engine();
    let not_found = |fault: Option<EngineError>| {
        assert!(matches!(fault, Some(EngineError::NotFound { .. })), "{fault:?}");
    };
    not_found(engine.exec("gone", command(&["true"])).await.err());
    not_found(engine.get("gone", "/").await.err());
    not_found(engine.put("gone", "/", one(vec![0; 1024])).await.err());
    not_found(engine.changes("gone").await.err());
    for id in ["gone", "../../etc", &"0".repeat(64)] {
        not_found(engine.logs(id, 1, false).await.err());
    }
    for name in ["", "a/b", "../x", "A", "x y"] {
        let spec = SandboxSpec { name: name.into(), ..sandbox(rig) };
        assert!(matches!(engine.open_sandbox(&spec).await, Err(EngineError::Refused { .. })), "{name:?}");
        assert!(engine.exec(name, command(&["true"])).await.is_err());
    }
}

// ---- what the clauses are made of

fn name(text: &str) -> ProcessName {
    text.parse().expect("a process name")
}

/// One replica of a fresh environment.
pub fn workload(rig: &dyn Rig, command: &[&str]) -> WorkloadSpec {
    WorkloadSpec {
        id: WorkloadId { environment: EnvironmentId::fresh(), process: name("web") },
        generation: Generation(7),
        count: 1,
        app: "shop".parse().expect("an app name"),
        space: SPACE.parse().expect("a space id"),
        release: ReleaseId::fresh(),
        release_number: 3,
        image: rig.image(),
        process: Process { command: command.iter().map(|c| (*c).to_owned()).collect(), working_dir: None },
        variables: BTreeMap::new(),
        port: Some(8000),
        limits: Limits { memory_bytes: 64 << 20, pids: 64, ..Limits::default() },
        mounts: Vec::new(),
        grace_seconds: 10,
    }
}

/// One space for all clauses: an engine has few networks to give.
const SPACE: &str = "spc_00000000000000000000000000000001";

pub fn space() -> SpaceId {
    SPACE.parse().expect("a space id")
}

pub fn sandbox(rig: &dyn Rig) -> SandboxSpec {
    SandboxSpec {
        name: "app_1".into(),
        image: rig.image(),
        limits: Limits { memory_bytes: 256 << 20, pids: 256, ..Limits::default() },
        variables: BTreeMap::new(),
        privileges: Privileges::None,
    }
}

pub fn command(words: &[&str]) -> ExecSpec {
    ExecSpec {
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        user: None,
        working_dir: None,
        variables: BTreeMap::new(),
        stdin: None,
    }
}

pub fn is_running(replica: &Replica) -> bool {
    replica.state == ReplicaState::Running
}

pub fn has_exited(replica: &Replica) -> bool {
    matches!(replica.state, ReplicaState::Exited { .. })
}

fn ordinals(replicas: &[Replica]) -> Vec<u32> {
    replicas.iter().map(|r| r.ordinal).collect()
}

/// By ordinal, then by id.
pub async fn observe(engine: &dyn Engine) -> Vec<Replica> {
    let mut all = engine.observe().await.expect("observe");
    all.sort_by(|a, b| (a.ordinal, &a.id).cmp(&(b.ordinal, &b.id)));
    all
}

/// Observes at each event until `enough`; so it is also the test of `events`.
pub async fn until(engine: &dyn Engine, enough: impl Fn(&[Replica]) -> bool) -> Vec<Replica> {
    let mut events = engine.events().await.expect("events");
    let seen = async {
        loop {
            let all = observe(engine).await;
            if enough(&all) {
                return all;
            }
            events.next().await.expect("the engine goes on");
        }
    };
    match tokio::time::timeout(PATIENCE, seen).await {
        Ok(all) => all,
        Err(_) => panic!("not in time; there is {:?}", observe(engine).await),
    }
}

type Finished = (Vec<(Channel, Bytes)>, i64);

pub async fn finished(exec: Exec) -> Finished {
    let all = async { (exec.output.try_collect().await.expect("output"), exec.exit.await.expect("exit")) };
    tokio::time::timeout(PATIENCE, all).await.expect("the command ends")
}

fn text((output, code): Finished) -> (String, i64) {
    let out: Vec<_> = output.into_iter().filter(|(c, _)| *c == Channel::Out).map(|(_, bytes)| bytes).collect();
    (String::from_utf8(out.concat()).expect("text"), code)
}

/// What a command wrote to stdout, and its exit code.
pub async fn said(engine: &dyn Engine, sandbox: &SandboxSpec, words: &[&str]) -> (String, i64) {
    text(finished(engine.exec(&sandbox.name, command(words)).await.expect("exec")).await)
}

pub fn one(bytes: Vec<u8>) -> ByteStream {
    stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

/// Path without the slash that ends a directory's, kind, content.
pub async fn entries(tar: ByteStream) -> Vec<(String, Kind, String)> {
    let mut reader = Reader::new(tar);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().await.expect("an archive") {
        let content = reader.whole().await.expect("content");
        let path = entry.path.trim_end_matches('/').to_owned();
        all.push((path, entry.kind, String::from_utf8_lossy(&content).into_owned()));
    }
    all
}
