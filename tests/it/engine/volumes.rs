//! Volumes of the real engine: whose they are, and what is never touched.

use hythe::base::model::{CommandId, Id, WorkloadSpec};
use hythe::machinery::runtime::contract::commands::one_off;
use hythe::machinery::runtime::contract::volumes::{mount, started};
use hythe::machinery::runtime::contract::{until, workload};
use hythe::machinery::runtime::{CommandSpec, Engine, EngineError};

use super::DockerRig;
use super::docker::docker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_volumes_are_neither_used_nor_removed() {
    let rig = DockerRig::new().await;
    let spec = WorkloadSpec { mounts: vec![mount("/data")], ..workload(&rig, &["sleep", "1000"]) };
    let id = &spec.mounts[0].id;
    // In the very place of ours, and beside it.
    let taken = format!("{}-volume-{id}", rig.prefix);
    let similar = format!("{}-volume-store", rig.prefix);
    docker(&["volume", "create", &taken]);
    docker(&["volume", "create", &similar]);
    let refused = rig.docker.ensure(&spec).await;
    assert!(
        matches!(&refused, Err(EngineError::Refused { source, .. }) if source.to_string().contains("not ours")),
        "{refused:?}"
    );
    assert!(rig.docker.remove_volume(id).await.is_err());
    assert!(rig.docker.volumes().await.expect("volumes").is_empty());
    rig.docker.remove_everything().await.expect("ours");
    let left = docker(&["volume", "ls", "-q"]);
    assert!(left.contains(&taken) && left.contains(&similar), "{left}");
    docker(&["volume", "rm", &taken, &similar]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_its_users_from_the_first_mount_and_keeps_what_it_made_of_it() {
    let rig = DockerRig::new().await;
    let first = WorkloadSpec { mounts: vec![mount("/data")], ..workload(&rig, &["sleep", "1000"]) };
    let run = async |replica: &str, words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        rig.docker.exec_in(replica, &words, std::time::Duration::from_secs(20)).await.expect("exec")
    };
    let replica = started(&rig.docker, &first).await;
    let owner = run(&replica.id, &["stat", "-c", "%u:%g %a", "/data"]).await;
    assert_eq!(owner.tail, "1000:1000 755\n");
    assert_eq!(run(&replica.id, &["perl", "-e", "chmod 0700, '/data' or die"]).await.code, Some(0));
    rig.docker.retire(&first.id, first.generation.next()).await.expect("retire");
    let next = WorkloadSpec { generation: first.generation.next(), ..first.clone() };
    let replica = started(&rig.docker, &next).await;
    assert_eq!(run(&replica.id, &["stat", "-c", "%u:%g %a", "/data"]).await.tail, "1000:1000 700\n");

    let volume = format!("{}-volume-{}", rig.prefix, first.mounts[0].id);
    let labels = docker(&["volume", "inspect", "-f", "{{json .Labels}}", &volume]);
    for part in [&rig.prefix, first.mounts[0].id.as_str(), first.space.as_str()] {
        assert!(labels.contains(part), "{part} in {labels}");
    }
    let seen = docker(&["inspect", "-f", "{{json .HostConfig.Binds}} {{json .HostConfig.Mounts}}", &replica.id]);
    assert!(seen.starts_with("null ") && seen.contains("\"Type\":\"volume\""), "no path of the machine: {seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_has_the_volumes_of_its_spec() {
    let rig = DockerRig::new().await;
    let spec = WorkloadSpec { mounts: vec![mount("/data")], ..workload(&rig, &["sleep", "1000"]) };
    let command = CommandSpec { mounts: spec.mounts.clone(), ..one_off(&rig, &["touch", "/data/from-a-command"]) };
    assert!(rig.docker.run(&command).await.expect("run"));
    assert_eq!(rig.docker.command_exit(&command.id).await.expect("exit").code, 0);
    let held = rig.docker.remove_volume(&spec.mounts[0].id).await;
    assert!(held.is_err(), "a command that was not ended has it: {held:?}");
    rig.docker.end_command(&command.id, 0).await.expect("end");
    let look = CommandSpec { id: CommandId::fresh(), ..one_off(&rig, &["cat", "/data/from-a-command"]) };
    let look = CommandSpec { mounts: spec.mounts.clone(), ..look };
    assert!(rig.docker.run(&look).await.expect("run"));
    assert_eq!(rig.docker.command_exit(&look.id).await.expect("exit").code, 0);
    rig.docker.end_command(&look.id, 0).await.expect("end");
    rig.docker.ensure(&spec).await.expect("ensure");
    until(&rig.docker, |all| all.len() == 1).await;
}
