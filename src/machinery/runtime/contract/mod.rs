//! What every engine must do. Each function is one clause; `engine_contract!` makes a test of each.
//!
//! Clauses use the commands of `fake/toybox.rs` and no others, so that the same text holds for an engine
//! that runs programs and for one that does not.

pub mod commands;
pub mod garbage;
mod images;
mod replicas;
mod sandboxes;
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

pub use images::{
    a_broken_archive_is_refused, a_missing_image_is_refused_and_leaves_nothing, images_are_loaded_without_known_layers,
};
pub use replicas::{
    commands_run_inside_a_replica, ensures_exactly_that_many, logs_are_read_and_followed,
    lower_generations_are_retired, one_replica_is_removed_in_whatever_state, replicas_are_reached_at_their_address,
    running_out_of_memory_is_told, variables_reach_the_process, what_exited_is_seen_and_replaced,
};
pub use sandboxes::{
    a_sandbox_with_another_image_is_new, changes_are_a_layer, commands_have_a_user_a_place_and_variables,
    commands_have_streams_and_codes, files_are_put_and_read_back, sandboxes_live_until_closed,
};
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
        process: Process { command: command.iter().map(|c| (*c).to_owned()).collect(), working_dir: None, port: None },
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
