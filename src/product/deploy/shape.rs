//! What a release says of its processes beside what they run: numbers, checks, sizes, mounts and who counts. It comes from the spec, or
//! from an earlier release, with changes; and goes back into the spec when the release is rolled out.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::model::{
    Checks, EnvironmentId, EnvironmentSpec, Formation, Manifest, Mount, MountPath, Mounts, ProcessName, Release,
    Scalings, SizeName, Sizes, VolumeName,
};
use crate::state::store::{self, Tx};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    pub formation: Formation,
    pub scaling: Scalings,
    pub checks: Checks,
    pub sizes: Sizes,
    pub mounts: Mounts,
}

/// One difference that a person asked for; the order of a deployment holds some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShapeChange {
    Number {
        process: ProcessName,
        count: u32,
    },
    /// None: the usual one.
    Size {
        process: ProcessName,
        size: Option<SizeName>,
    },
    Mount {
        process: ProcessName,
        mount: Mount,
    },
    Unmount {
        process: ProcessName,
        volume: VolumeName,
    },
}

impl Shape {
    pub fn of_spec(spec: &EnvironmentSpec) -> Self {
        Self {
            formation: spec.formation.clone(),
            scaling: spec.scaling.clone(),
            checks: spec.checks.clone(),
            sizes: spec.sizes.clone(),
            mounts: spec.mounts.clone(),
        }
    }

    pub fn of_release(release: &Release) -> Self {
        Self {
            formation: release.formation.clone(),
            scaling: release.scaling.clone(),
            checks: release.checks.clone(),
            sizes: release.sizes.clone(),
            mounts: release.mounts.clone(),
        }
    }

    pub fn put_into(self, spec: &mut EnvironmentSpec) {
        let Self { formation, scaling, checks, sizes, mounts } = self;
        (spec.formation, spec.scaling, spec.checks) = (formation, scaling, checks);
        (spec.sizes, spec.mounts) = (sizes, mounts);
    }

    /// What `app.json` says where nobody said anything.
    pub fn with_wishes(mut self, manifest: &Manifest) -> Self {
        for (process, count) in &manifest.formation {
            self.formation.entry(process.clone()).or_insert(*count);
        }
        for (process, size) in &manifest.sizes {
            self.sizes.entry(process.clone()).or_insert_with(|| size.clone());
        }
        self
    }

    pub fn changed(mut self, changes: &[ShapeChange]) -> Self {
        for change in changes {
            match change.clone() {
                ShapeChange::Number { process, count } => drop(self.formation.insert(process, count)),
                ShapeChange::Size { process, size: Some(size) } => drop(self.sizes.insert(process, size)),
                ShapeChange::Size { process, size: None } => drop(self.sizes.remove(&process)),
                ShapeChange::Mount { process, mount } => {
                    let here = self.mounts.entry(process).or_default();
                    here.retain(|known| known.volume != mount.volume);
                    here.push(mount);
                    here.sort_by(|a, b| a.path.cmp(&b.path));
                }
                ShapeChange::Unmount { process, volume } => {
                    if let Some(here) = self.mounts.get_mut(&process) {
                        here.retain(|known| known.volume != volume);
                    }
                    self.mounts.retain(|_, here| !here.is_empty());
                }
            }
        }
        self
    }

    /// With the volumes that bear the names now. A volume that is gone, or of which too many would make use, is refused.
    pub async fn resolved(mut self, tx: &mut Tx, environment: &EnvironmentId) -> Result<Self> {
        for mount in self.mounts.values_mut().flatten() {
            let name = &mount.volume;
            let volume = store::volumes::find_live(tx, environment, name).await?.ok_or_else(|| {
                Error::conflict(format!(
                    "the volume {name}, which it mounts at {}, was destroyed; see hythe volumes, and bring it back with: hythe volumes:restore {name}",
                    mount.path
                ))
            })?;
            (mount.id, mount.shared) = (volume.id, volume.shared);
        }
        if let Some((_, text)) = mount_faults(&self.mounts).into_iter().next() {
            return Err(Error::conflict(text));
        }
        let most = self.scaling.iter().map(|(process, scaling)| (process, &scaling.max));
        for (process, count) in self.formation.iter().chain(most) {
            if let Some(text) = crowd_fault(&self.mounts, process, *count) {
                return Err(Error::conflict(format!("{process} {text}")));
            }
        }
        Ok(self)
    }
}

/// Why that many replicas cannot use the volumes of the process type; completes a sentence that begins with its name.
pub(super) fn crowd_fault(mounts: &Mounts, process: &ProcessName, count: u32) -> Option<String> {
    let alone = mounts.get(process)?.iter().find(|mount| !mount.shared).filter(|_| count > 1)?;
    Some(format!(
        "has the volume {}, which one replica at a time may use, so it has one replica at most; a volume for several is made with: hythe volumes:create NAME --shared",
        alone.volume
    ))
}

/// Mounts that cannot be together: field and text.
pub(super) fn mount_faults(mounts: &Mounts) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let all: Vec<(&ProcessName, &Mount)> =
        mounts.iter().flat_map(|(process, here)| here.iter().map(move |mount| (process, mount))).collect();
    for (index, (process, mount)) in all.iter().enumerate() {
        for (other_process, other) in &all[..index] {
            if process == other_process && touches(&mount.path, &other.path) {
                let text = format!(
                    "{} and {} would lie in one another; {process} has {} there",
                    mount.path, other.path, other.volume
                );
                faults.push(("path".to_owned(), text));
            }
            if process != other_process && mount.id == other.id && !mount.shared {
                let text = format!(
                    "{} is mounted by {other_process} already, and one replica at a time may use it; a volume for several is made with: hythe volumes:create NAME --shared",
                    mount.volume
                );
                faults.push(("process".to_owned(), text));
            }
        }
    }
    faults
}

fn touches(a: &MountPath, b: &MountPath) -> bool {
    a.covers(b.as_str()) || b.covers(a.as_str())
}
