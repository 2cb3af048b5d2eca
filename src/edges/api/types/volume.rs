//! Volumes and sizes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{DeploymentView, ProcessItem};
use crate::base::config::Size;
use crate::base::model::{Volume, VolumeState};
use crate::product::deploy;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVolumeBody {
    /// Unique in its environment: a-z, 0-9 and -.
    pub name: String,
    /// Several replicas may use it at once: their program has to bear that. Else one at a time, and a deployment stops the
    /// one before it starts the next.
    #[serde(default)]
    pub shared: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    pub id: String,
    pub name: String,
    pub shared: bool,
    /// `live` or `destroyed`.
    pub state: String,
    /// App and environment that it belongs or belonged to.
    pub origin: String,
    /// Process type to the path where it has the volume.
    pub mounts: BTreeMap<String, String>,
    /// Null: not known, or never mounted.
    pub used_bytes: Option<u64>,
    pub created_at: String,
    pub destroyed_at: Option<String>,
    /// Until then it can be restored; its data is removed afterwards.
    pub kept_until: Option<String>,
}

impl From<&Volume> for VolumeView {
    fn from(volume: &Volume) -> Self {
        Self {
            id: volume.id.to_string(),
            name: volume.name.to_string(),
            shared: volume.shared,
            state: match volume.state {
                VolumeState::Live => "live",
                VolumeState::Destroyed | VolumeState::Purging => "destroyed",
            }
            .to_owned(),
            origin: volume.origin.clone(),
            mounts: BTreeMap::new(),
            used_bytes: None,
            created_at: volume.created_at.to_string(),
            destroyed_at: volume.destroyed_at.map(|at| at.to_string()),
            kept_until: volume.kept_until.map(|at| at.to_string()),
        }
    }
}

impl From<&deploy::VolumeView> for VolumeView {
    fn from(view: &deploy::VolumeView) -> Self {
        let mounts = view.mounts.iter().map(|(process, path)| (process.to_string(), path.to_string())).collect();
        Self { mounts, used_bytes: view.bytes, ..Self::from(&view.volume) }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MountBody {
    /// Absolute, inside the replicas: `/data`.
    pub path: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBody {
    /// Another name than it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What mounting or unmounting brought about.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MountsChanged {
    pub volume: VolumeView,
    /// Brings it to what runs; null where nothing runs yet, or nothing changed.
    pub deployment: Option<DeploymentView>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SizeView {
    pub name: String,
    pub memory_bytes: i64,
    /// Thousandths of one processor.
    pub cpu_millis: i64,
    pub pids: i64,
    /// What a replica may write to its own file system before it is replaced.
    #[serde(default)]
    pub disk_bytes: i64,
}

impl From<&Size> for SizeView {
    fn from(size: &Size) -> Self {
        let (memory_bytes, cpu_millis, pids) = (size.memory_bytes, size.cpu_millis, size.pids);
        Self { name: size.name.to_string(), memory_bytes, cpu_millis, pids, disk_bytes: size.disk_bytes }
    }
}

/// What is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FormationBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    /// Name of a size; null or `default`: the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub size: Option<Option<String>>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FormationChanged {
    pub processes: Vec<ProcessItem>,
    /// Brings another size to what runs; null where no size changed, or nothing runs yet.
    pub deployment: Option<DeploymentView>,
}
