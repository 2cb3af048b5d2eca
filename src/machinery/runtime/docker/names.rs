//! Names and labels of what is made in the engine, and the way back from labels to the model.

use std::collections::HashMap;

use super::super::{CommandSpec, Result};
use super::faults::refused;
use crate::base::model::{
    AppId, CommandId, EnvironmentId, Generation, Id, ImageDigest, ProcessName, ReleaseId, SpaceId, VolumeId,
    WorkloadId, WorkloadSpec,
};

pub(super) const PREFIX: &str = "hythe.prefix";
pub(super) const ENVIRONMENT: &str = "hythe.environment";
pub(super) const PROCESS: &str = "hythe.process";
pub(super) const GENERATION: &str = "hythe.generation";
pub(super) const RELEASE: &str = "hythe.release";
pub(super) const ORDINAL: &str = "hythe.ordinal";
pub(super) const SPACE: &str = "hythe.space";
pub(super) const APP: &str = "hythe.app";
/// Where it listens; absent for processes without traffic.
pub(super) const PORT: &str = "hythe.port";
/// Seconds from SIGTERM to SIGKILL.
pub(super) const GRACE: &str = "hythe.grace";
/// Id of a volume, at the volume.
pub(super) const VOLUME: &str = "hythe.volume";
/// Ids of the volumes that a replica has mounted, with commas between; absent where there are none.
pub(super) const VOLUMES: &str = "hythe.volumes";
/// Id of a command; what carries it is no replica.
pub(super) const COMMAND: &str = "hythe.command";
/// The environment of a command: another key than a replica's, so that no listing of replicas shows it.
pub(super) const COMMAND_OF: &str = "hythe.command.environment";
pub(super) const SANDBOX: &str = "hythe.sandbox";
pub(super) const IMAGE: &str = "hythe.image";
pub(super) const PRIVILEGES: &str = "hythe.privileges";
/// Limits and weight that a sandbox was made with.
pub(super) const BOUNDS: &str = "hythe.bounds";
/// Id of the app whose Dockerfile a container or an image of a build comes from.
pub(super) const RECIPE: &str = "hythe.recipe";

/// Id of the app one of whose commands of a Dockerfile a container or a volume is for, and no longer.
pub(super) const RECIPE_RUN: &str = "hythe.recipe.run";
/// Id of the app whose builds a volume is kept for.
pub(super) const RECIPE_CACHE: &str = "hythe.recipe.cache";
/// What decided on an image that a command of a Dockerfile made.
pub(super) const RECIPE_KEY: &str = "hythe.recipe.key";

pub(super) type Labels = HashMap<String, String>;

pub(super) fn of_replica(prefix: &str, spec: &WorkloadSpec, ordinal: u32) -> Labels {
    let mut labels = Labels::from([
        (PREFIX.into(), prefix.to_owned()),
        (ENVIRONMENT.into(), spec.id.environment.to_string()),
        (PROCESS.into(), spec.id.process.to_string()),
        (GENERATION.into(), spec.generation.to_string()),
        (RELEASE.into(), spec.release.to_string()),
        (ORDINAL.into(), ordinal.to_string()),
        (SPACE.into(), spec.space.to_string()),
        (APP.into(), spec.app.to_string()),
        (GRACE.into(), spec.grace_seconds.to_string()),
    ]);
    if let Some(port) = spec.port {
        labels.insert(PORT.into(), port.to_string());
    }
    if !spec.mounts.is_empty() {
        let ids: Vec<_> = spec.mounts.iter().map(|mount| mount.id.as_str()).collect();
        labels.insert(VOLUMES.into(), ids.join(","));
    }
    labels
}

pub(super) fn of_command(prefix: &str, spec: &CommandSpec) -> Labels {
    Labels::from([
        (PREFIX.into(), prefix.to_owned()),
        (COMMAND.into(), spec.id.to_string()),
        (COMMAND_OF.into(), spec.environment.to_string()),
        (RELEASE.into(), spec.release.to_string()),
        (SPACE.into(), spec.space.to_string()),
    ])
}

/// Of the id alone: what people call it may change.
pub(super) fn volume(prefix: &str, id: &VolumeId) -> String {
    format!("{}{id}", volume_start(prefix))
}

pub(super) fn volume_start(prefix: &str) -> String {
    format!("{prefix}-volume-")
}

/// One name per command, ever: the engine itself keeps a second from being made.
pub(super) fn command(prefix: &str, id: &CommandId) -> String {
    format!("{prefix}-command-{id}")
}

/// What the labels of one of our replicas say.
pub(super) struct Labelled {
    pub(super) workload: WorkloadId,
    pub(super) generation: Generation,
    pub(super) release: ReleaseId,
    pub(super) ordinal: u32,
    pub(super) space: SpaceId,
    pub(super) port: Option<u16>,
    pub(super) volumes: Vec<VolumeId>,
    pub(super) grace_seconds: u32,
}

/// `None` when a label is missing or holds something else: then it is not ours to handle.
pub(super) fn read(labels: &Labels) -> Option<Labelled> {
    Some(Labelled {
        workload: WorkloadId {
            environment: labels.get(ENVIRONMENT)?.parse::<EnvironmentId>().ok()?,
            process: labels.get(PROCESS)?.parse::<ProcessName>().ok()?,
        },
        generation: Generation(labels.get(GENERATION)?.parse().ok()?),
        release: labels.get(RELEASE)?.parse().ok()?,
        ordinal: labels.get(ORDINAL)?.parse().ok()?,
        space: labels.get(SPACE)?.parse().ok()?,
        port: match labels.get(PORT) {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        },
        volumes: match labels.get(VOLUMES) {
            Some(ids) => ids.split(',').map(str::parse).collect::<std::result::Result<_, _>>().ok()?,
            None => Vec::new(),
        },
        grace_seconds: labels.get(GRACE)?.parse().ok()?,
    })
}

/// Readable in `docker ps`; unique by environment, process, generation and ordinal.
pub(super) fn replica(prefix: &str, spec: &WorkloadSpec, ordinal: u32) -> String {
    let environment = spec.id.environment.as_str();
    // The random end of the id: its start is a time, which two environments may share.
    let short = &environment[environment.len() - 12..];
    format!("{prefix}-{}-{}-{}-{ordinal}-{short}", spec.app, spec.id.process, spec.generation)
}

pub(super) fn space_network(prefix: &str, space: &SpaceId) -> String {
    format!("{prefix}-{space}")
}

pub(super) fn build_network(prefix: &str) -> String {
    format!("{prefix}-build")
}

/// The image's digest as a tag: a loaded image has no digest of its own in the engine.
pub(super) fn image(prefix: &str, image: &ImageDigest) -> String {
    format!("{}:{}", image_repository(prefix), &image.as_str()["sha256:".len()..])
}

pub(super) fn image_repository(prefix: &str) -> String {
    format!("{prefix}/image")
}

pub(super) fn changes_repository(prefix: &str) -> String {
    format!("{prefix}/changes")
}

/// Results of Dockerfiles, each under its app's id.
pub(super) fn recipe_repository(prefix: &str) -> String {
    format!("{prefix}/recipe")
}

pub(super) fn recipe(prefix: &str, app: &AppId) -> String {
    format!("{}:{app}", recipe_repository(prefix))
}

/// What is there for one command of the app's Dockerfile: its container, one to read from, volumes.
pub(super) fn recipe_part(prefix: &str, app: &AppId, part: &str) -> String {
    format!("{prefix}-recipe-{app}-{part}")
}

pub(super) fn recipe_cache(prefix: &str, app: &AppId, name: &str) -> String {
    format!("{prefix}-cache-{app}-{name}")
}

/// The app whose cache a volume of this name is.
pub(super) fn of_recipe_cache(prefix: &str, volume: &str) -> Option<AppId> {
    volume.strip_prefix(prefix)?.strip_prefix("-cache-")?.rsplit_once('-')?.0.parse().ok()
}

/// The container's name, once `name` is seen to be harmless in a path.
pub(super) fn sandbox(prefix: &str, name: &str) -> Result<String> {
    let well = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if name.is_empty() || name.len() > 80 || !name.bytes().all(well) {
        return Err(refused(
            "name a sandbox",
            format!("{name:?}"),
            "a name is 1 to 80 characters of a-z, 0-9, - and _",
        ));
    }
    Ok(format!("{prefix}-sandbox-{name}"))
}

/// Ids of the engine are 64 hexadecimal digits: nothing else reaches a path.
pub(super) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_sandbox_names_reach_no_path() {
        for name in ["", "../x", "a/b", "a b", "A", "a?b", "a%2f", &"x".repeat(81)] {
            assert!(sandbox("hythe", name).is_err(), "{name:?}");
        }
        assert_eq!(sandbox("hythe", "app_1-b").expect("good"), "hythe-sandbox-app_1-b");
    }

    #[test]
    fn labels_that_are_not_ours_say_nothing() {
        assert!(read(&Labels::from([(PREFIX.into(), "hythe".into()), (ENVIRONMENT.into(), "x".into())])).is_none());
    }
}
