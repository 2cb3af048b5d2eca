use std::net::TcpListener;

use async_trait::async_trait;

use super::*;
use crate::machinery::runtime::contract::{self, Rig, is_running, observe, workload};
use crate::machinery::runtime::tarball::{self, Kind};
use crate::machinery::runtime::{ByteStream, Engine};

struct FakeRig {
    engine: FakeEngine,
    _listener: TcpListener,
}

const BASE: &str = "sha256:1111";

fn digest(digit: char) -> ImageDigest {
    format!("sha256:{}", digit.to_string().repeat(64)).parse().expect("a digest")
}

impl FakeRig {
    async fn new() -> Self {
        let engine = FakeEngine::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        engine.serve_at(move |_, _, _| Some(address));
        let rig = Self { engine, _listener: listener };
        rig.engine.load(rig.archive_of('a', &[(BASE, true)])).await.expect("load");
        rig
    }

    fn archive_of(&self, image: char, layers: &[(&str, bool)]) -> ByteStream {
        let reference = self.engine.image_reference(&digest(image));
        let paths: Vec<_> = layers.iter().map(|(digest, _)| format!("{digest}/layer.tar")).collect();
        let digests: Vec<_> = layers.iter().map(|(digest, _)| *digest).collect();
        let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [reference], "Layers": paths}]);
        let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": digests}});
        let mut tar = Vec::new();
        tarball::append(&mut tar, "config.json", Kind::File, 0o644, "", config.to_string().as_bytes());
        for (path, _) in paths.iter().zip(layers).filter(|(_, (_, comes))| *comes) {
            tarball::append(&mut tar, path, Kind::File, 0o644, "", b"a layer");
        }
        tarball::append(&mut tar, "manifest.json", Kind::File, 0o644, "", manifest.to_string().as_bytes());
        tarball::finish(&mut tar);
        contract::one(tar)
    }
}

#[async_trait]
impl Rig for FakeRig {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn image(&self) -> ImageDigest {
        digest('a')
    }

    fn other_image(&self) -> ImageDigest {
        digest('b')
    }

    fn archive(&self, whole: bool) -> ByteStream {
        self.archive_of('b', &[(BASE, whole), ("sha256:2222", true)])
    }

    fn archive_with_a_gap(&self) -> ByteStream {
        self.archive_of('b', &[(BASE, true), ("sha256:3333", false)])
    }

    fn listener(&self) -> Vec<String> {
        vec!["listen".into()]
    }

    fn glutton(&self) -> Vec<String> {
        self.engine.crash_starts(1, 137, true, &[]);
        vec!["eat".into()]
    }
}

crate::engine_contract!(FakeRig::new().await);

#[tokio::test]
async fn faults_come_as_scripted_and_then_stop() {
    let rig = FakeRig::new().await;
    rig.engine.fail_next(Op::Ensure, 1, Fault::Unreachable);
    rig.engine.fail_next(Op::Ensure, 1, Fault::NoSpace);
    let spec = workload(&rig, &["sleep", "1"]);
    assert!(matches!(rig.engine.ensure(&spec).await, Err(EngineError::Unreachable { .. })));
    assert!(matches!(rig.engine.ensure(&spec).await, Err(EngineError::NoSpace)));
    assert_eq!(observe(&rig.engine).await, []);
    rig.engine.ensure(&spec).await.expect("ensure");
    assert_eq!(rig.engine.calls(Op::Ensure), 3);
    assert_eq!(observe(&rig.engine).await.len(), 1);
}

#[tokio::test]
async fn held_replicas_start_when_let_go() {
    let rig = FakeRig::new().await;
    rig.engine.hold_starts(true);
    rig.engine.ensure(&workload(&rig, &["sleep", "1"])).await.expect("ensure");
    let held = observe(&rig.engine).await;
    assert_eq!(held[0].state, ReplicaState::Starting);
    rig.engine.hold_starts(false);
    assert!(is_running(&observe(&rig.engine).await[0]));
}

#[tokio::test]
async fn replicas_are_killed_and_crash_on_demand() {
    let rig = FakeRig::new().await;
    let spec = workload(&rig, &["sleep", "1"]);
    rig.engine.ensure(&spec).await.expect("ensure");
    rig.engine.kill(&spec.id, 1, 143, false);
    assert!(matches!(observe(&rig.engine).await[0].state, ReplicaState::Exited { code: 143, .. }));
    rig.engine.crash_starts(1, 3, false, &["boom"]);
    rig.engine.ensure(&spec).await.expect("ensure");
    let crashed = observe(&rig.engine).await;
    assert!(matches!(crashed[0].state, ReplicaState::Exited { code: 3, .. }));
    let lines: Vec<_> = rig.engine.logs(&crashed[0].id, 5, false).await.expect("logs").collect().await;
    assert_eq!(lines[0].as_ref().expect("line").text, "boom");
    rig.engine.ensure(&spec).await.expect("ensure");
    assert!(is_running(&observe(&rig.engine).await[0]));
}

#[tokio::test]
async fn a_handler_answers_before_the_toybox() {
    let rig = FakeRig::new().await;
    let spec = contract::sandbox(&rig);
    rig.engine.open_sandbox(&spec).await.expect("open");
    rig.engine.on_exec(|_, spec, files| {
        (spec.command[0] == "build").then(|| {
            files.write("/layers/app/built", "yes");
            ended(vec![(Channel::Err, Bytes::from_static(b"building\n"))], 4)
        })
    });
    let built = rig.engine.exec(&spec.name, contract::command(&["build"])).await.expect("exec");
    assert_eq!(contract::finished(built).await, (vec![(Channel::Err, Bytes::from_static(b"building\n"))], 4));
    assert_eq!(contract::said(&rig.engine, &spec, &["cat", "/layers/app/built"]).await, ("yes".into(), 0));
}
