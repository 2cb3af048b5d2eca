//! The buildpacks that a build may know: the platform's own, and those that a choice brings along.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::descriptor::{Api, Descriptor, Member, Target};
use super::order::Slot;
use super::pack::{self, Buildpack, Ingredient};

/// One that takes part in a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub id: String,
    pub version: String,
    pub name: String,
    pub api: Api,
    #[serde(default)]
    pub clear_env: bool,
    /// Not the platform's own: nothing that it says is taken on trust.
    #[serde(default)]
    pub foreign: bool,
}

impl Part {
    pub fn of(buildpack: &Buildpack) -> Self {
        Self {
            id: buildpack.id.clone(),
            version: buildpack.version.clone(),
            name: buildpack.name.clone(),
            api: buildpack.api,
            clear_env: false,
            foreign: false,
        }
    }

    /// The id as a directory name (buildpack specification: `/` becomes `_`); the first part of its layers' paths.
    pub fn directory(&self) -> String {
        self.id.replace('/', "_")
    }

    /// Below `/cnb/buildpacks`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory(), self.version)
    }

    /// Variables that say what is built for ("Targets", "Provided by the platform").
    pub fn target_variables(&self, here: &Target) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.api < Api::WITHOUT_STACKS {
            found.push(("CNB_STACK_ID", here.stack.clone()));
        } else {
            found.push(("CNB_EXEC_ENV", "production".to_owned()));
        }
        if self.api >= Api::TARGETS {
            found.extend([
                ("CNB_TARGET_OS", "linux".to_owned()),
                ("CNB_TARGET_ARCH", here.arch.clone()),
                ("CNB_TARGET_DISTRO_NAME", here.distro.clone()),
                ("CNB_TARGET_DISTRO_VERSION", here.distro_version.clone()),
            ]);
        }
        found
    }
}

/// All that a group may name.
#[derive(Debug, Default)]
pub(super) struct Pool {
    known: BTreeMap<String, (Descriptor, bool)>,
    /// Layers that the build image needs for it.
    pub ingredients: BTreeSet<Ingredient>,
}

impl Pool {
    pub fn embedded(buildpacks: &[Buildpack]) -> Self {
        let mut pool = Self::default();
        for buildpack in buildpacks {
            let descriptor = Descriptor {
                api: buildpack.api,
                id: buildpack.id.clone(),
                version: buildpack.version.clone(),
                name: buildpack.name.clone(),
                clear_env: false,
                order: None,
            };
            pool.known.insert(key(&descriptor), (descriptor, false));
        }
        pool
    }

    /// The first one of an id and version stays, so that nobody takes the place of the platform's own. Whether it is new.
    pub fn bring(&mut self, descriptor: Descriptor) -> bool {
        match self.known.entry(key(&descriptor)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert((descriptor, true));
                true
            }
        }
    }

    pub fn find(&self, member: &Member) -> Option<(String, &Descriptor)> {
        let id = alias(&member.id);
        let fits = |(found, _): &&(Descriptor, bool)| {
            found.id == id && member.version.as_ref().is_none_or(|version| *version == found.version)
        };
        let newest = self.known.values().filter(fits).max_by_key(|(found, _)| order_of(&found.version));
        newest.map(|(found, _)| (key(found), found))
    }

    pub fn part(&self, key: &str) -> Option<Part> {
        let (found, foreign) = self.known.get(key)?;
        Some(Part {
            id: found.id.clone(),
            version: found.version.clone(),
            name: found.name.clone(),
            api: found.api,
            clear_env: found.clear_env,
            foreign: *foreign,
        })
    }

    pub fn has_foreign(&self) -> bool {
        self.known.values().any(|(_, foreign)| *foreign)
    }

    pub fn ids(&self) -> BTreeSet<&str> {
        self.known.values().map(|(found, _)| found.id.as_str()).collect()
    }
}

/// The platform's order, as groups of keys.
pub(super) fn own_groups(buildpacks: &[Buildpack]) -> Vec<Vec<Slot>> {
    let slot = |&(id, optional): &(&str, bool)| {
        let buildpack = buildpacks.iter().find(|buildpack| buildpack.id == id)?;
        Some(Slot::new(id, Part::of(buildpack).path(), optional))
    };
    pack::ORDER.iter().map(|group| group.iter().filter_map(slot).collect()).collect()
}

fn key(descriptor: &Descriptor) -> String {
    format!("{}/{}", descriptor.id.replace('/', "_"), descriptor.version)
}

/// What an `app.json` that was written for another platform names, and has its like here.
fn alias(id: &str) -> &str {
    match id {
        "heroku/nodejs" => "hythe/nodejs",
        "heroku/python" => "hythe/python",
        "heroku/go" => "hythe/go",
        "heroku/ruby" => "hythe/ruby",
        "heroku/php" => "hythe/php",
        "heroku/java" | "heroku/gradle" | "heroku/jvm" => "hythe/java",
        "heroku/procfile" => "hythe/procfile",
        other => other,
    }
}

/// Numbers by their value.
fn order_of(version: &str) -> Vec<(u64, String)> {
    version.split(['.', '-', '+']).map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(id: &str, version: &str) -> Descriptor {
        let name = id.to_owned();
        Descriptor { api: Api(10), id: id.into(), version: version.into(), name, clear_env: false, order: None }
    }

    fn found(pool: &Pool, id: &str, version: Option<&str>) -> Option<String> {
        pool.find(&Member { id: id.into(), version: version.map(str::to_owned), optional: false }).map(|(key, _)| key)
    }

    #[test]
    fn the_newest_unless_one_is_named() {
        let mut pool = Pool::default();
        for version in ["1.9.0", "1.10.0", "0.99.0"] {
            pool.bring(descriptor("acme/tool", version));
        }
        assert_eq!(found(&pool, "acme/tool", None).as_deref(), Some("acme_tool/1.10.0"));
        assert_eq!(found(&pool, "acme/tool", Some("1.9.0")).as_deref(), Some("acme_tool/1.9.0"));
        assert_eq!(found(&pool, "acme/tool", Some("2.0.0")), None);
    }

    #[test]
    fn nobody_takes_the_place_of_the_platform_s_own() {
        let own = pack::embedded();
        let mut pool = Pool::embedded(&own);
        let version = own[0].version.clone();
        pool.bring(Descriptor { name: "evil".into(), ..descriptor(&own[0].id, &version) });
        let part = pool.part(&Part::of(&own[0]).path()).unwrap();
        assert!(!part.foreign && part.name != "evil");
        assert_eq!(found(&pool, "heroku/nodejs", None), found(&pool, "hythe/nodejs", None));
    }

    #[test]
    fn each_api_has_its_variables() {
        let here = Target::debian("bookworm");
        let names = |api| {
            let part = Part { api: Api(api), ..Part::of(&pack::embedded()[0]) };
            part.target_variables(&here).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(9), ["CNB_STACK_ID"]);
        assert!(names(11).contains(&"CNB_STACK_ID") && names(11).contains(&"CNB_TARGET_DISTRO_VERSION"));
        assert!(!names(12).contains(&"CNB_STACK_ID") && names(12).contains(&"CNB_EXEC_ENV"));
    }
}
