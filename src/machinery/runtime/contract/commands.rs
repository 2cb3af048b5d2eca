//! The clauses of commands beside the replicas, and inside them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{PATIENCE, Rig, has_exited, is_running, observe, space, until, workload};
use crate::base::model::{CommandId, EnvironmentId, Exit, Id, Limits, ReleaseId, Signal, Window};
use crate::base::secret::Secret;
use crate::machinery::runtime::{Attached, Channel, CommandSpec, Control, Engine, EngineError, EnterSpec};

pub async fn a_command_runs_once_and_is_kept_until_it_is_ended(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = one_off(rig, &["echo", "one  line"]);
    assert!(engine.run(&spec).await.expect("run"), "it is new");
    assert_eq!(exit(engine, &spec.id).await, Exit { code: 0, out_of_memory: false });
    for _ in 0..2 {
        assert!(!engine.run(&spec).await.expect("run"), "it was run before");
        assert_eq!(lines(engine, &spec.id).await, [(Channel::Out, "one  line".to_owned())], "and only once");
    }
    let seen = engine.commands().await.expect("commands");
    assert_eq!((seen.len(), &seen[0].id, &seen[0].environment), (1, &spec.id, &spec.environment));
    assert!(!seen[0].running);
    assert_eq!(observe(engine).await, [], "a command is no replica");
    for _ in 0..2 {
        engine.end_command(&spec.id, 0).await.expect("what is gone is ended");
    }
    assert_eq!(engine.commands().await.expect("commands"), []);
    let fault = engine.command_exit(&spec.id).await.expect_err("gone");
    assert!(matches!(fault, EngineError::NotFound { .. }), "{fault:?}");
    let fault = engine.command_output(&spec.id).await.err();
    assert!(matches!(fault, Some(EngineError::NotFound { .. })), "{fault:?}");
}

pub async fn a_command_has_variables_and_its_own_exit_code(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut spec = one_off(rig, &["printenv", "HYTHE_PROCESS", "SECRET"]);
    spec.variables.insert("SECRET".into(), Secret::new("s p=ä\"c$e".into()));
    engine.run(&spec).await.expect("run");
    assert_eq!(exit(engine, &spec.id).await.code, 0);
    let said: Vec<_> = lines(engine, &spec.id).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["run.1234", "s p=ä\"c$e"]);
    let fails = one_off(rig, &["false"]);
    engine.run(&fails).await.expect("run");
    assert_eq!(exit(engine, &fails.id).await.code, 1);
}

pub async fn a_running_command_is_seen_and_ended(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = one_off(rig, &["sleep", "1000"]);
    engine.run(&spec).await.expect("run");
    assert!(engine.commands().await.expect("commands")[0].running);
    // Replicas come and go beside it.
    let web = workload(rig, &["sleep", "1000"]);
    engine.ensure(&web).await.expect("ensure");
    until(engine, |all| all.iter().any(is_running)).await;
    engine.retire(&web.id, web.generation.next()).await.expect("retire");
    assert!(engine.commands().await.expect("commands")[0].running);
    let waiting = engine.command_exit(&spec.id);
    let ending = async {
        tokio::task::yield_now().await;
        engine.end_command(&spec.id, 1).await
    };
    let (_, ended) = tokio::time::timeout(PATIENCE, futures_util::future::join(waiting, ending)).await.expect("ends");
    ended.expect("ended");
    assert_eq!(engine.commands().await.expect("commands"), []);
}

pub async fn a_command_without_its_image_is_refused_and_leaves_nothing(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = CommandSpec { image: rig.other_image(), ..one_off(rig, &["true"]) };
    for fault in [engine.run(&spec).await.err(), engine.run_attached(&spec, None).await.err()] {
        let Some(EngineError::Refused { source, .. }) = &fault else { panic!("{fault:?}") };
        assert!(source.to_string().contains("is not in the engine"), "{source}");
    }
    assert_eq!(engine.commands().await.expect("commands"), []);
}

pub async fn an_attached_command_has_streams_apart(rig: &dyn Rig) {
    let engine = rig.engine();
    let fails = one_off(rig, &["cat", "/nowhere"]);
    let (out, err, code) = finished(engine.run_attached(&fails, None).await.expect("run")).await;
    assert_eq!((out.as_str(), code), ("", 1));
    assert!(err.contains("/nowhere"), "{err}");
    let cat = one_off(rig, &["cat"]);
    let attached = engine.run_attached(&cat, None).await.expect("run");
    let twice = engine.run_attached(&cat, None).await.err();
    assert!(matches!(twice, Some(EngineError::Refused { .. })), "{twice:?}");
    // More than any pipe holds, written while it is read back.
    let Attached { stdin, output, exit, control } = attached;
    let write = async move {
        for _ in 0..50 {
            stdin.send(Bytes::from(vec![b'x'; 20_000])).await.expect("it reads");
        }
    };
    let read = output.try_fold(0, |sum, (channel, bytes)| {
        assert_eq!(channel, Channel::Out);
        std::future::ready(Ok(sum + bytes.len()))
    });
    let both = futures_util::future::join(write, read);
    let (_, read) = tokio::time::timeout(PATIENCE, both).await.expect("it ends with its input");
    assert_eq!(read.expect("output"), 1_000_000);
    assert_eq!(exit.await.expect("exit").code, 0);
    drop(control);
    assert_eq!(engine.commands().await.expect("commands").len(), 2, "both are kept until they are ended");
}

pub async fn an_attached_command_hears_signals(rig: &dyn Rig) {
    let engine = rig.engine();
    let attached = engine.run_attached(&one_off(rig, &["sleep", "1000"]), None).await.expect("run");
    let control = attached.control.clone();
    let tell = again_and_again(async || control.send(Control::Signal(Signal::Term)).await.is_ok());
    let (_, _, code) = tokio::select! {
        ended = finished(attached) => ended,
        () = tell => unreachable!("it tells for ever"),
    };
    assert_eq!(code, 143);
}

pub async fn a_terminal_turns_a_key_into_a_signal(rig: &dyn Rig) {
    let engine = rig.engine();
    let window = Window { columns: 100, rows: 30 };
    let attached = engine.run_attached(&one_off(rig, &["sleep", "1000"]), Some(window)).await.expect("run");
    attached.control.send(Control::Resize(Window { columns: 90, rows: 20 })).await.expect("told");
    let stdin = attached.stdin.clone();
    let press = again_and_again(async || stdin.send(Bytes::from_static(&[3])).await.is_ok());
    let (_, _, code) = tokio::select! {
        ended = finished(attached) => ended,
        () = press => unreachable!("it presses for ever"),
    };
    assert_eq!(code, 130);
}

pub async fn a_replica_is_entered_beside_its_process(rig: &dyn Rig) {
    let engine = rig.engine();
    let mut web = workload(rig, &["sleep", "1000"]);
    web.variables.insert("SECRET".into(), Secret::new("shared".into()));
    engine.ensure(&web).await.expect("ensure");
    let replica = until(engine, |all| all.iter().any(is_running)).await[0].clone();
    let entered = engine.enter(&replica.id, inside(&["printenv", "HYTHE_PROCESS", "SECRET"]), None).await;
    let (out, _, code) = finished(entered.expect("enter")).await;
    assert_eq!((out.as_str(), code), ("web.1\nshared\n", 0));
    let attached = engine.enter(&replica.id, inside(&["cat"]), None).await.expect("enter");
    attached.stdin.send(Bytes::from_static(b"piped\n")).await.expect("it reads");
    assert_eq!(finished(attached).await, ("piped\n".to_owned(), String::new(), 0));
    let deaf = engine.enter(&replica.id, inside(&["sleep", "1000"]), None).await.expect("enter");
    let control = deaf.control.clone();
    let tell = again_and_again(async || control.send(Control::Signal(Signal::Term)).await.is_ok());
    let (_, _, code) = tokio::select! {
        ended = finished(deaf) => ended,
        () = tell => unreachable!("it tells for ever"),
    };
    assert_eq!(code, 143, "a signal reaches it alone");
    assert!(observe(engine).await.iter().all(|r| !has_exited(r)), "the replica runs on");
    for nowhere in ["gone", "../../etc", &"0".repeat(64)] {
        let fault = engine.enter(nowhere, inside(&["true"]), None).await.err();
        assert!(matches!(fault, Some(EngineError::NotFound { .. })), "{fault:?}");
    }
}

/// Whether a program that has just started listens yet is for nobody to know: it is told until it hears.
async fn again_and_again(tell: impl AsyncFn() -> bool) {
    let mut again = tokio::time::interval(std::time::Duration::from_millis(50));
    loop {
        again.tick().await;
        if !tell().await {
            std::future::pending::<()>().await;
        }
    }
}

pub fn one_off(rig: &dyn Rig, words: &[&str]) -> CommandSpec {
    CommandSpec {
        id: CommandId::fresh(),
        environment: EnvironmentId::fresh(),
        app: "shop".parse().expect("an app name"),
        space: space(),
        release: ReleaseId::fresh(),
        image: rig.image(),
        process: "run.1234".into(),
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        working_dir: None,
        variables: BTreeMap::new(),
        limits: Limits { memory_bytes: 64 << 20, pids: 64, ..Limits::default() },
        mounts: Vec::new(),
    }
}

pub fn inside(words: &[&str]) -> EnterSpec {
    let command = words.iter().map(|w| (*w).to_owned()).collect();
    EnterSpec { id: CommandId::fresh(), command, variables: BTreeMap::new() }
}

async fn exit(engine: &dyn Engine, id: &CommandId) -> Exit {
    tokio::time::timeout(PATIENCE, engine.command_exit(id)).await.expect("it ends").expect("exit")
}

async fn lines(engine: &dyn Engine, id: &CommandId) -> Vec<(Channel, String)> {
    let all = async { engine.command_output(id).await.expect("output").try_collect::<Vec<_>>().await.expect("lines") };
    let all = tokio::time::timeout(PATIENCE, all).await.expect("the output ends with the command");
    all.into_iter().map(|line| (line.channel, line.text)).collect()
}

/// Output, errors and exit code once it has ended; its input ends now.
pub async fn finished(attached: Attached) -> (String, String, i64) {
    let Attached { stdin, control, output, exit } = attached;
    drop(stdin);
    let all = async { (output.try_collect::<Vec<_>>().await.expect("output"), exit.await.expect("exit")) };
    let (pieces, exit) = tokio::time::timeout(PATIENCE, all).await.expect("the command ends");
    drop(control);
    let text = |channel| {
        let bytes: Vec<_> = pieces.iter().filter(|(c, _)| *c == channel).map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8(bytes.concat()).expect("text")
    };
    (text(Channel::Out), text(Channel::Err), exit.code)
}
