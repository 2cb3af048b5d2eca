//! Buildpacks that a choice names and the platform has not: out of the pushed tree, or out of an image. What comes is
//! hostile: descriptors are read as text and checked, files become a layer of the build image that belongs to root, and
//! nothing of them ever runs but in the app's sandbox, as the app's user.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use serde::Deserialize;

use super::builder::Builder;
use super::descriptor::{self, Descriptor, Member};
use super::export::{self, Refused};
use super::members::Pool;
use super::pack::Ingredient;
use super::{BuildFailure, BuildLog, Source, Wishes, messages};
use crate::base::model::{BuildpackRef, MOST_BUILDPACKS};
use crate::machinery::image::{
    BlobStore, Bounds, ImageError, Layer, LayerRules, Owner, inspect, pull_bounded, read_files, write_layer,
};

/// Bytes of a buildpack.toml.
const LONGEST: u64 = 256 << 10;
/// Bytes of all that one reference brings, unpacked.
const MOST_BYTES: u64 = 4 << 30;
const MOST_ENTRIES: u64 = 200_000;
/// Where images have their buildpacks (platform specification, "Buildpackage").
const IN_IMAGES: &str = "cnb/buildpacks";

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    uri: Option<String>,
    image: Option<String>,
}

/// Label `io.buildpacks.buildpackage.metadata`.
#[derive(Deserialize)]
struct About {
    id: String,
    version: String,
}

impl Builder {
    /// The pool that the choice is from, and the group that it is.
    pub(super) async fn acquire(
        &self,
        wishes: &Wishes,
        source: &Source,
        log: &dyn BuildLog,
    ) -> Result<(Pool, Vec<Member>), BuildFailure> {
        let mut acquiring = Acquiring { pool: Pool::embedded(&self.images.buildpacks), seen: BTreeSet::new() };
        let mut group = Vec::new();
        for chosen in &wishes.buildpacks {
            let mut member = self.bring(&mut acquiring, &chosen.reference, source, log).await?;
            member.optional = chosen.optional;
            group.push(member);
        }
        Ok((acquiring.pool, group))
    }

    async fn bring(
        &self,
        acquiring: &mut Acquiring,
        reference: &BuildpackRef,
        source: &Source,
        log: &dyn BuildLog,
    ) -> Result<Member, BuildFailure> {
        let mut todo = vec![reference.clone()];
        let mut first = None;
        while let Some(next) = todo.pop() {
            let member = match &next {
                BuildpackRef::Known { id, version } => {
                    Member { id: id.clone(), version: version.clone(), optional: false }
                }
                _ if !acquiring.seen.insert(next.to_string()) && first.is_some() => continue,
                _ if acquiring.seen.len() > MOST_BUILDPACKS * 2 => return Err(messages::too_many_brought()),
                BuildpackRef::Path(path) => {
                    let (descriptor, needed) = self.bring_tree(acquiring, path, source).await?;
                    todo.extend(needed);
                    descriptor
                }
                BuildpackRef::Image(image) => {
                    log.line(&format!("-----> Fetching the buildpack {next}"));
                    self.bring_image(acquiring, image).await?
                }
            };
            first.get_or_insert(member);
        }
        first.ok_or_else(messages::too_many_brought)
    }

    /// The buildpack in a directory of the tree, and what its `package.toml` says that it needs beside.
    async fn bring_tree(
        &self,
        acquiring: &mut Acquiring,
        path: &str,
        source: &Source,
    ) -> Result<(Member, Vec<BuildpackRef>), BuildFailure> {
        let reference = BuildpackRef::Path(path.to_owned()).to_string();
        let at = |file: &str| if path.is_empty() { file.to_owned() } else { format!("{path}/{file}") };
        let (toml, package) = (at("buildpack.toml"), at("package.toml"));
        let wanted = [toml.clone(), package.clone()];
        let found =
            read_source(source, move |tar| read_files(tar, |path| wanted.iter().any(|w| w == path), LONGEST, 2));
        let found = found.await.map_err(|error| messages::not_brought(&reference, &error))?;
        let text = found.get(&toml).ok_or_else(|| messages::nothing_brought(&reference, &toml))?;
        let descriptor = descriptor::read(text, &self.images.target())
            .map_err(|cause| messages::descriptor_invalid(&reference, &toml, &cause))?;
        let needed = match found.get(&package) {
            Some(text) => {
                dependencies(path, text).map_err(|c| messages::descriptor_invalid(&reference, &package, &c))?
            }
            None => Vec::new(),
        };
        let rules = rules(path, &descriptor);
        let blobs = self.blobs.clone();
        let layer = read_source(source, move |tar| write_layer(&blobs, tar, &rules)).await;
        let layer = layer.map_err(|error| messages::not_brought(&reference, &error))?;
        Ok((acquiring.take(descriptor, layer, reference), needed))
    }

    /// All buildpacks of an image; the member is the one that it is made for.
    async fn bring_image(&self, acquiring: &mut Acquiring, image: &str) -> Result<Member, BuildFailure> {
        let reference = format!("docker://{image}");
        let guard = self.guard;
        let bounds = Bounds { allows: Arc::new(move |address| guard.allows(address)), bytes: MOST_BYTES };
        let pulled = pull_bounded(&self.blobs, image, &bounds).await;
        let pulled = pulled.map_err(|error| messages::not_fetched(&reference, &error))?;
        let (blobs, here) = (self.blobs.clone(), self.images.target());
        let unpacked = tokio::task::spawn_blocking(move || {
            let facts = inspect(&blobs, &pulled)?;
            let about = facts.labels.get("io.buildpacks.buildpackage.metadata");
            let about = about.and_then(|text| serde_json::from_str::<About>(text).ok());
            Ok::<_, ImageError>((about, buildpacks_of(&blobs, &facts.layers)?))
        });
        let unpacked = unpacked.await.map_err(io::Error::other).map_err(ImageError::Stream).flatten();
        let (about, found) = unpacked.map_err(|error| messages::not_fetched(&reference, &error))?;
        let mut members = Vec::new();
        for (place, text, layer) in found {
            let descriptor = descriptor::read(&text, &here);
            let file = format!("{place}/buildpack.toml");
            let descriptor = descriptor.map_err(|cause| messages::descriptor_invalid(&reference, &file, &cause))?;
            let rules = rules(&place, &descriptor);
            let blobs = self.blobs.clone();
            let layer =
                tokio::task::spawn_blocking(move || write_layer(&blobs, blobs.open_blob(&layer.digest)?, &rules));
            let layer = layer.await.map_err(io::Error::other).map_err(ImageError::Stream).flatten();
            let layer = layer.map_err(|error| messages::not_brought(&reference, &Refused::from(error)))?;
            members.push(acquiring.take(descriptor, layer, reference.clone()));
        }
        let named = |about: &About| {
            let fits = |m: &&Member| m.id == about.id && m.version.as_ref() == Some(&about.version);
            members.iter().find(fits).cloned()
        };
        match (about.as_ref().map(named), members.as_slice()) {
            (Some(Some(member)), _) => Ok(member),
            (None, [only]) => Ok(only.clone()),
            _ => Err(messages::nothing_brought(&reference, &format!("{IN_IMAGES}/ID/VERSION/buildpack.toml"))),
        }
    }
}

struct Acquiring {
    pool: Pool,
    seen: BTreeSet<String>,
}

impl Acquiring {
    fn take(&mut self, descriptor: Descriptor, layer: Layer, from: String) -> Member {
        let member = Member { id: descriptor.id.clone(), version: Some(descriptor.version.clone()), optional: false };
        if self.pool.bring(descriptor) {
            let (digest, bytes) = (layer.digest.to_string(), layer.size);
            self.pool.ingredients.insert(Ingredient::Brought { digest, bytes, from });
        }
        member
    }
}

/// Directories with a buildpack.toml, its text, and the layer that they are in; of two of one name the upper one counts.
fn buildpacks_of(blobs: &BlobStore, layers: &[Layer]) -> Result<Vec<(String, Vec<u8>, Layer)>, ImageError> {
    let mut found = std::collections::BTreeMap::new();
    let wanted = |path: &str| {
        let rest = path.strip_prefix(IN_IMAGES).and_then(|rest| rest.strip_suffix("/buildpack.toml"));
        rest.is_some_and(|rest| rest.split('/').filter(|part| !part.is_empty()).count() == 2)
    };
    for layer in layers {
        let files = read_files(blobs.open_blob(&layer.digest)?, wanted, LONGEST, MOST_BUILDPACKS * 4)?;
        for (path, text) in files {
            let place = path.trim_end_matches("/buildpack.toml").to_owned();
            found.insert(place, (text, *layer));
        }
    }
    if found.len() > MOST_BUILDPACKS * 4 {
        return Err(ImageError::TooLarge("an image with too many buildpacks".to_owned()));
    }
    Ok(found.into_iter().map(|(place, (text, layer))| (place, text, layer)).collect())
}

/// The directory becomes one of `/cnb/buildpacks`, root's.
fn rules(from: &str, descriptor: &Descriptor) -> LayerRules {
    LayerRules {
        strip_prefix: from.to_owned(),
        rest_left_out: true,
        prefix: format!("{IN_IMAGES}/{}/{}", descriptor.id.replace('/', "_"), descriptor.version),
        owner: Owner::All(0, 0),
        max_entries: MOST_ENTRIES,
        max_bytes: MOST_BYTES,
        ..LayerRules::default()
    }
}

/// `package.toml`: buildpacks beside, from the directory of the file on.
fn dependencies(path: &str, text: &[u8]) -> Result<Vec<BuildpackRef>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is no UTF-8 text".to_owned())?;
    let package: Package = toml::from_str(text).map_err(|error| format!("cannot be read: {}", error.message()))?;
    let mut found = Vec::new();
    for Dependency { uri, image } in package.dependencies {
        let text = match (uri, image) {
            (Some(uri), _) if !uri.contains(':') => {
                below(path, &uri).ok_or(format!("names {uri}, which is outside of the repository"))?
            }
            (Some(uri), _) => uri,
            (None, Some(image)) => format!("docker://{image}"),
            (None, None) => continue,
        };
        found.push(text.parse().map_err(|error| format!("names {text}, which {error}"))?);
    }
    Ok(found)
}

/// A path from a directory of the repository on.
fn below(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!path.starts_with('/')).then(|| format!("./{}", parts.join("/")))
}

/// Runs `read` over the source's tar stream.
async fn read_source<T: Send + 'static>(
    source: &Source,
    read: impl FnOnce(io::PipeReader) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, Refused> {
    let (output, mut input) = io::pipe()?;
    let source = Arc::clone(source);
    let written = tokio::task::spawn_blocking(move || source(&mut input));
    let found = tokio::task::spawn_blocking(move || read(output)).await.map_err(io::Error::other)?;
    match (found, written.await.map_err(io::Error::other)?) {
        // A reader that has seen enough closes its end; what it says goes before.
        (Err(error), _) => Err(error.into()),
        (Ok(_), Err(error)) => Err(error.into()),
        (Ok(found), Ok(())) => Ok(found),
    }
}

/// In one line, for people.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    export::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_names_what_it_needs_from_where_it_is() {
        let text = "[buildpack]\nuri = \".\"\n[[dependencies]]\nuri = \"../one\"\n[[dependencies]]\nimage = \"a.example/b:1\"\n\
                    [[dependencies]]\nuri = \"docker://a.example/c\"\n[[dependencies]]\nuri = \"hythe\"\n";
        let found = dependencies("packs/all", text.as_bytes()).unwrap();
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["./packs/one", "docker://a.example/b:1", "docker://a.example/c", "./packs/all/hythe"]);
        for bad in ["[[dependencies]]\nuri = \"../../../x\"", "[[dependencies]]\nuri = \"/etc\"", "[[dependencies"] {
            assert!(dependencies("packs/all", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
