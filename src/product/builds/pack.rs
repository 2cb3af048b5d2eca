//! The buildpacks inside this binary, and the layer that brings them and the driver into a build image.

use std::collections::BTreeMap;

use libcnb_data::buildpack::ComponentBuildpackDescriptor;
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::descriptor::Api;
use crate::machinery::image::{BlobStore, ImageError, Layer, LayerWriter};

#[derive(RustEmbed)]
#[folder = "buildpacks/"]
#[include = "driver"]
#[include = "lib/*"]
#[include = "*/buildpack.toml"]
#[include = "*/versions.json"]
#[include = "*/bin/*"]
#[include = "*/lib/*"]
#[exclude = "*/fixtures/*"]
struct Files;

/// Tried one after the other; the first group whose buildpacks all pass builds. `true` marks the optional ones.
/// Trees of the languages before Node.js may have a package.json beside, for their assets. `hythe/assets` builds those; it
/// passes where nothing of Node.js is to run.
pub(super) const ORDER: [&[(&str, bool)]; 11] = [
    &[("hythe/ruby", false), ("hythe/procfile", true)],
    &[("hythe/assets", true), ("hythe/php", false), ("hythe/procfile", true)],
    &[("hythe/assets", true), ("hythe/go", false), ("hythe/procfile", true)],
    &[("hythe/java", false), ("hythe/procfile", true)],
    &[("hythe/rust", false), ("hythe/procfile", true)],
    &[("hythe/assets", false), ("hythe/python", false), ("hythe/procfile", true)],
    &[("hythe/assets", false), ("hythe/static", false)],
    &[("hythe/nodejs", false), ("hythe/procfile", true)],
    &[("hythe/python", false), ("hythe/procfile", true)],
    &[("hythe/static", false)],
    &[("hythe/procfile", false)],
];

/// Debian packages of a build image in which buildpacks of others take part: what build images of the field have, and such
/// buildpacks call without asking.
pub(super) const TOOLS: [&str; 15] = [
    "build-essential",
    "bzip2",
    "curl",
    "file",
    "git",
    "jq",
    "libssl-dev",
    "openssl",
    "pkg-config",
    "rsync",
    "unzip",
    "wget",
    "xz-utils",
    "zip",
    "zlib1g-dev",
];

/// Path of the driver in a build image.
pub(super) const DRIVER: &str = "/cnb/driver";

/// User and group of everything that belongs to an app.
pub(super) const OWNER: (u64, u64) = (1000, 1000);

#[derive(Debug)]
pub(super) struct Buildpack {
    pub id: String,
    pub version: String,
    pub api: Api,
    pub name: String,
    pub needs: Needs,
}

/// `[metadata.hythe]` of a buildpack.toml: Debian packages that the images of this buildpack have.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Needs {
    /// For people: by which files the buildpack knows its apps; nothing where it only joins others.
    pub looks_for: String,
    /// Paths of which one is there in every tree that it passes for: where none is, it is not asked.
    pub detects_by: Vec<String>,
    pub build_packages: Vec<String>,
    /// The buildpack whose `bin/prepare` serves this one.
    pub prepared_by: Option<String>,
    /// `bin/prepare` is run as root when the build image is made, and leaves under /opt/hythe what all apps share.
    pub prepare: bool,
    pub run_packages: Vec<String>,
    /// What a build may add to its image by the label `io.hythe.run-packages`.
    pub run_packages_on_request: Vec<String>,
    /// Further ones, by the entry of the build plan that calls for them.
    pub plan: BTreeMap<String, Needs>,
}

/// What an image gets on top of the base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ingredient {
    Package(String),
    /// The work of `bin/prepare` of the buildpack with this id.
    Prepared(String),
    /// A layer with buildpacks of others, for build images only.
    Brought {
        digest: String,
        bytes: u64,
        /// What all that came together is found again by.
        from: String,
        /// Of those, the one that was asked for.
        #[serde(default)]
        first: bool,
    },
}

impl Ingredient {
    pub fn brought(&self) -> Option<Layer> {
        match self {
            Self::Brought { digest, bytes, .. } => Some(Layer { digest: digest.parse().ok()?, size: *bytes }),
            _ => None,
        }
    }

    /// The layer if it was brought by this name, and whether it is the one that was asked for.
    pub fn brought_by(&self, name: &str) -> Option<(Layer, bool)> {
        match self {
            Self::Brought { from, first, .. } if from == name => Some((self.brought()?, *first)),
            _ => None,
        }
    }

    pub fn package(&self) -> Option<&str> {
        match self {
            Self::Package(name) => Some(name),
            Self::Prepared(_) | Self::Brought { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    hythe: Needs,
}

impl Buildpack {
    /// The id as a directory name (buildpack specification: `/` becomes `_`); the first part of its layers' paths.
    pub fn directory(&self) -> String {
        self.id.replace('/', "_")
    }

    /// What its build image is made of, beyond the base: Debian packages, and itself if it has something to prepare.
    pub fn ingredients(&self) -> impl Iterator<Item = Ingredient> {
        let own = self.needs.prepare.then(|| self.id.clone());
        self.ingredients_below().chain(own.or_else(|| self.needs.prepared_by.clone()).map(Ingredient::Prepared))
    }

    /// What is there when it prepares.
    pub fn ingredients_below(&self) -> impl Iterator<Item = Ingredient> {
        self.needs.build_packages.iter().cloned().map(Ingredient::Package)
    }

    /// Hash of all files that it runs: its own, and what buildpacks have in common.
    pub fn content_hash(&self) -> String {
        let folder = self.id.rsplit('/').next().unwrap_or(&self.id);
        let mut paths: Vec<_> =
            Files::iter().filter(|path| path.starts_with(&format!("{folder}/")) || path.starts_with("lib/")).collect();
        paths.sort();
        let mut hasher = Sha256::new();
        for path in paths {
            hasher.update(path.as_bytes());
            hasher.update([0]);
            hasher.update(Sha256::digest(content(&path)));
        }
        hex::encode(hasher.finalize())
    }

    /// Below `/cnb/buildpacks`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory(), self.version)
    }
}

/// The embedded buildpacks in the order of their ids. They are part of this program: one that does not parse is a bug.
pub(super) fn embedded() -> Vec<Buildpack> {
    let descriptors = Files::iter().filter(|path| path.ends_with("/buildpack.toml"));
    let mut found: Vec<_> = descriptors.map(|path| parse(&path, &content(&path))).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

fn content(path: &str) -> Vec<u8> {
    Files::get(path).map(|file| file.data.into_owned()).expect("a listed file is embedded")
}

fn parse(path: &str, bytes: &[u8]) -> Buildpack {
    let text = std::str::from_utf8(bytes).expect("an embedded buildpack.toml is text");
    let descriptor: ComponentBuildpackDescriptor<Metadata> =
        toml::from_str(text).unwrap_or_else(|error| panic!("buildpacks/{path}: {error}"));
    Buildpack {
        id: descriptor.buildpack.id.to_string(),
        version: descriptor.buildpack.version.to_string(),
        api: Api(u32::try_from(descriptor.api.minor).expect("an embedded buildpack's API is small")),
        name: descriptor.buildpack.name.unwrap_or_else(|| descriptor.buildpack.id.to_string()),
        needs: descriptor.metadata.hythe,
    }
}

/// Equal binaries give equal layers. Blocks.
pub(super) fn layer(blobs: &BlobStore, buildpacks: &[Buildpack]) -> Result<Layer, ImageError> {
    const ROOT: (u64, u64) = (0, 0);
    let mut writer = LayerWriter::new(blobs);
    for owned in ["workspace", "layers", "platform", "home/app"] {
        writer.directory(owned, 0o755, OWNER)?;
    }
    writer.file("cnb/driver", 0o755, ROOT, &content("driver"))?;
    for path in Files::iter().filter(|path| path.contains('/')) {
        if path.starts_with("lib/") {
            writer.file(&format!("cnb/{path}"), 0o644, ROOT, &content(&path))?;
            continue;
        }
        let (folder, rest) = path.split_once('/').expect("filtered for it");
        let Some(buildpack) = buildpacks.iter().find(|b| b.id.ends_with(&format!("/{folder}"))) else { continue };
        let mode = if rest.starts_with("bin/") { 0o755 } else { 0o644 };
        writer.file(&format!("cnb/buildpacks/{}/{rest}", buildpack.path()), mode, ROOT, &content(&path))?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buildpack_parses_and_stands_in_the_order() {
        let embedded = embedded();
        let ids: Vec<_> = embedded.iter().map(|b| b.id.as_str()).collect();
        assert_eq!(
            ids,
            ["assets", "go", "java", "nodejs", "php", "procfile", "python", "ruby", "rust", "static"]
                .map(|id| format!("hythe/{id}"))
        );
        for (id, _) in ORDER.iter().copied().flatten() {
            assert!(ids.contains(id), "{id}");
        }
        for id in ids {
            assert!(ORDER.iter().copied().flatten().any(|(ordered, _)| *ordered == id), "{id}");
        }
    }

    /// One that passes for a tree without any of its files would never be asked.
    #[test]
    fn each_is_asked_wherever_it_may_pass() {
        for buildpack in embedded() {
            let folder = buildpack.id.rsplit('/').next().unwrap();
            let program = String::from_utf8(content(&format!("{folder}/bin/detect"))).unwrap();
            assert!(!buildpack.needs.detects_by.is_empty(), "{folder}");
            if let Some(line) = program.lines().find_map(|line| line.strip_prefix("for file in ")) {
                let files: Vec<_> = line.trim_end_matches("; do").split(' ').collect();
                assert_eq!(buildpack.needs.detects_by, files, "{folder}");
            }
        }
    }

    #[test]
    fn programs_and_driver_are_embedded() {
        for name in ["assets", "go", "java", "nodejs", "php", "python", "ruby", "rust", "static", "procfile"] {
            for program in ["detect", "build"] {
                assert!(Files::get(&format!("{name}/bin/{program}")).is_some(), "{name}/{program}");
            }
        }
        assert!(content("driver").starts_with(b"#!/bin/bash"));
        assert!(Files::iter().all(|path| !path.contains("fixtures")));
    }
}
