//! Buildpacks that a choice names and the platform has not: out of the pushed tree, of another repository, of a packed file, or
//! of an image. What comes is hostile: descriptors are read as text and checked, files become a layer of the build image that
//! belongs to root, and nothing of them ever runs but in the app's sandbox, as the app's user.
//!
//! What was fetched is known by what its content is called (commit, digest), and taken from the last build where it has that.

mod packed;
mod remote;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::builder::Builder;
use super::cache::Cache;
use super::descriptor::{self, Descriptor, Member};
use super::export::Refused;
use super::members::Pool;
use super::pack::{Ingredient, TOOLS};
use super::{BuildFailure, BuildLog, BuildRequest, Source, messages};
use crate::base::model::{BuildpackRef, ImageDigest, MOST_BUILDPACKS};
use crate::machinery::image::{
    BlobStore, ImageError, Layer, LayerRules, Owner, inspect, read_files, unpack, write_layer,
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

/// The files that paths of a `package.toml` are among.
#[derive(Clone)]
struct Ground {
    source: Source,
    /// None: the pushed tree.
    name: Option<String>,
}

impl Ground {
    /// A directory or file in it, for people.
    fn shown(&self, path: &str) -> String {
        match &self.name {
            None => format!("./{path}"),
            Some(name) if path.is_empty() => name.clone(),
            Some(name) => format!("{name}:{path}"),
        }
    }
}

/// A buildpack and the layer that it is in.
type Found = (Descriptor, Layer);

impl Builder {
    /// The pool that the choice is from, and the group that it is.
    pub(super) async fn acquire(
        &self,
        request: &BuildRequest,
        source: &Source,
        cache: &Cache,
        log: &dyn BuildLog,
    ) -> Result<(Pool, Vec<Member>), BuildFailure> {
        let pool = Pool::embedded(&self.images.buildpacks);
        let known = cache.build_ingredients.iter().cloned().collect();
        let mut acquiring = Acquiring { pool, seen: BTreeSet::new(), known };
        let within = Duration::from_secs(self.bounds.seconds);
        let work = async {
            let mut group = Vec::new();
            for chosen in &request.wishes.buildpacks {
                let mut member = self.bring(&mut acquiring, &chosen.reference, (request, source), log).await?;
                member.optional = chosen.optional;
                group.push(member);
            }
            Ok::<_, BuildFailure>(group)
        };
        let group = tokio::time::timeout(within, work).await.map_err(|_| messages::timed_out(within.as_secs()))??;
        if acquiring.pool.has_foreign() {
            let tools = TOOLS.iter().map(|name| Ingredient::Package((*name).to_owned()));
            acquiring.pool.ingredients.extend(tools);
        }
        Ok((acquiring.pool, group))
    }

    async fn bring(
        &self,
        acquiring: &mut Acquiring,
        reference: &BuildpackRef,
        (request, source): (&BuildRequest, &Source),
        log: &dyn BuildLog,
    ) -> Result<Member, BuildFailure> {
        let mut todo = vec![(reference.clone(), Ground { source: Arc::clone(source), name: None })];
        let mut first = None;
        while let Some((next, ground)) = todo.pop() {
            let key = match &next {
                BuildpackRef::Path(path) => ground.shown(path),
                other => other.to_string(),
            };
            let member = match &next {
                BuildpackRef::Known { id, version } => {
                    Member { id: id.clone(), version: version.clone(), optional: false }
                }
                _ if !acquiring.seen.insert(key.clone()) && first.is_some() => continue,
                _ if acquiring.seen.len() > MOST_BUILDPACKS * 2 => return Err(messages::too_many_brought()),
                BuildpackRef::Path(path) if BuildpackRef::is_packed(path) => {
                    let packed = self.packed_in(&ground, path).await?;
                    self.bring_packed(acquiring, (&key, None), &packed, &mut todo).await?
                }
                BuildpackRef::Path(path) => self.bring_tree(acquiring, path, &ground, None, &mut todo).await?,
                BuildpackRef::Git { at, reference, directory } => {
                    log.line(&messages::fetching(&key));
                    let login = self.login(request, &key, at.login.as_ref(), &at.url)?;
                    let fault = |fault: remote::Fault| fault.told(&key);
                    let remote = remote::Repository::open(self.guard, at, login).await.map_err(fault)?;
                    let commit = remote.find(reference.as_deref()).await.map_err(fault)?;
                    let pin = format!("{}#{commit}:{directory}", at.url);
                    if let Some(member) = self.recalled(acquiring, &pin).await {
                        log.line(&messages::pinned(&format!("commit {commit}"), true));
                        member
                    } else {
                        let fetched = remote.tree(commit, &self.scratch, self.bounds.seconds).await.map_err(fault)?;
                        log.line(&messages::pinned(&format!("commit {commit}"), false));
                        let ground = Ground { source: fetched, name: Some(format!("{}#{commit}", at.url)) };
                        self.bring_tree(acquiring, directory, &ground, Some(&pin), &mut todo).await?
                    }
                }
                BuildpackRef::Archive { at, sha256 } => {
                    log.line(&messages::fetching(&key));
                    let login = self.login(request, &key, at.login.as_ref(), &at.url)?;
                    let pin = |digest: &str| format!("{}#{digest}", at.url);
                    let known = match sha256 {
                        Some(hex) => self.recalled(acquiring, &pin(&format!("sha256:{hex}"))).await,
                        None => None,
                    };
                    match known {
                        Some(member) => member,
                        None => {
                            let fetched = remote::archive(&self.blobs, self.guard, at, login, self.bounds.seconds);
                            let digest = fetched.await.map_err(|fault| fault.told(&key))?;
                            log.line(&messages::pinned(&digest.to_string(), false));
                            if sha256.as_ref().is_some_and(|hex| *hex != digest.hex()) {
                                return Err(messages::other_content(&key, &digest.to_string()));
                            }
                            let pin = pin(&digest.to_string());
                            self.bring_packed(acquiring, (&key, Some(&pin)), &digest, &mut todo).await?
                        }
                    }
                }
                BuildpackRef::Image { name, login } => {
                    log.line(&messages::fetching(&key));
                    let login = self.login(request, &key, login.as_ref(), "")?;
                    let fault = |error: ImageError| messages::not_fetched(&key, &error);
                    let route = remote::route(self.guard, self.bounds.seconds).map_err(|fault| fault.told(&key))?;
                    let digest = remote::resolved(name, login.clone(), route.clone()).await.map_err(fault)?;
                    let pin = format!("docker://{}@{digest}", name.split('@').next().unwrap_or(name));
                    if let Some(member) = self.recalled(acquiring, &pin).await {
                        log.line(&messages::pinned(&digest.to_string(), true));
                        member
                    } else {
                        let image = self.pulled(name, &digest, login, route).await.map_err(fault)?;
                        log.line(&messages::pinned(&digest.to_string(), false));
                        self.bring_image(acquiring, (&key, Some(&pin)), image).await?
                    }
                }
            };
            first.get_or_insert(member);
        }
        first.ok_or_else(messages::too_many_brought)
    }

    /// What the last build had under this name, if the store has all of it; its first, and the others beside.
    async fn recalled(&self, acquiring: &mut Acquiring, pin: &str) -> Option<Member> {
        let mut layers: Vec<_> = acquiring.known.iter().filter_map(|known| known.brought_by(pin)).collect();
        layers.sort_by_key(|(_, first)| !first);
        let blobs = self.blobs.clone();
        let here = self.images.target();
        let read = tokio::task::spawn_blocking(move || -> Option<Vec<Found>> {
            let mut found = Vec::new();
            for (layer, _) in layers {
                let (_, text, layer) = buildpacks_of(&blobs, &[layer]).ok()?.pop()?;
                found.push((descriptor::read(&text, &here).ok()?, layer));
            }
            Some(found)
        });
        let found = read.await.ok().flatten()?;
        acquiring.take(found, Some(pin)).into_iter().next()
    }

    /// The buildpack in a directory of `ground`; what its `package.toml` says that it needs beside comes to `todo`.
    async fn bring_tree(
        &self,
        acquiring: &mut Acquiring,
        path: &str,
        ground: &Ground,
        pin: Option<&str>,
        todo: &mut Vec<(BuildpackRef, Ground)>,
    ) -> Result<Member, BuildFailure> {
        let reference = ground.shown(path);
        let at = |file: &str| if path.is_empty() { file.to_owned() } else { format!("{path}/{file}") };
        let (toml, package, extension) = (at("buildpack.toml"), at("package.toml"), at("extension.toml"));
        let wanted = [toml.clone(), package.clone(), extension.clone()];
        let found = read_source(&ground.source, move |tar| {
            read_files(tar, |path| wanted.iter().any(|w| w == path), LONGEST, 3)
        });
        let found = found.await.map_err(|error| messages::not_brought(&reference, &error))?;
        let Some(text) = found.get(&toml) else {
            return Err(match found.contains_key(&extension) {
                true => messages::descriptor_invalid(
                    &reference,
                    &extension,
                    "makes it an image extension, and images are not extended here",
                ),
                false => messages::nothing_brought(&reference, &toml),
            });
        };
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
        let layer = read_source(&ground.source, move |tar| write_layer(&blobs, tar, &rules)).await;
        let layer = layer.map_err(|error| messages::not_brought(&reference, &error))?;
        // One that needs others is not found again by its name: they are to be brought the next time as well.
        let from = needed.is_empty().then(|| pin.unwrap_or(&reference));
        todo.extend(needed.into_iter().map(|needed| (needed, ground.clone())));
        let member = acquiring.take(vec![(descriptor, layer)], from).pop();
        member.ok_or_else(|| messages::nothing_brought(&reference, &toml))
    }

    /// All buildpacks of an image; the member is the one that it is made for.
    async fn bring_image(
        &self,
        acquiring: &mut Acquiring,
        (reference, pin): (&str, Option<&str>),
        image: ImageDigest,
    ) -> Result<Member, BuildFailure> {
        let (blobs, here) = (self.blobs.clone(), self.images.target());
        let unpacked = tokio::task::spawn_blocking(move || {
            let facts = inspect(&blobs, &image)?;
            let about = facts.labels.get("io.buildpacks.buildpackage.metadata");
            let about = about.and_then(|text| serde_json::from_str::<About>(text).ok());
            Ok::<_, ImageError>((about, buildpacks_of(&blobs, &facts.layers)?))
        });
        let unpacked = unpacked.await.map_err(io::Error::other).map_err(ImageError::Stream).flatten();
        let (about, places) = unpacked.map_err(|error| messages::not_fetched(reference, &error))?;
        let mut found: Vec<Found> = Vec::new();
        for (place, text, layer) in places {
            let descriptor = descriptor::read(&text, &here);
            let file = format!("{place}/buildpack.toml");
            let descriptor = descriptor.map_err(|cause| messages::descriptor_invalid(reference, &file, &cause))?;
            let rules = rules(&place, &descriptor);
            let blobs = self.blobs.clone();
            let layer =
                tokio::task::spawn_blocking(move || write_layer(&blobs, blobs.open_blob(&layer.digest)?, &rules));
            let layer = layer.await.map_err(io::Error::other).map_err(ImageError::Stream).flatten();
            let layer = layer.map_err(|error| messages::not_brought(reference, &Refused::from(error)))?;
            found.push((descriptor, layer));
        }
        let is_meant = |(descriptor, _): &Found| match &about {
            Some(about) => descriptor.id == about.id && descriptor.version == about.version,
            None => found.len() == 1,
        };
        let Some(meant) = found.iter().position(is_meant) else {
            return Err(messages::nothing_brought(reference, &format!("{IN_IMAGES}/ID/VERSION/buildpack.toml")));
        };
        found.swap(0, meant);
        let member = acquiring.take(found, pin.or(Some(reference))).into_iter().next();
        member.ok_or_else(|| messages::nothing_brought(reference, "buildpack.toml"))
    }
}

struct Acquiring {
    pool: Pool,
    seen: BTreeSet<String>,
    /// What the build image of the last build was made of.
    known: Vec<Ingredient>,
}

impl Acquiring {
    /// The first of them is the one that was meant. `from`: by what name they are found again, all of them together.
    fn take(&mut self, found: Vec<Found>, from: Option<&str>) -> Vec<Member> {
        let mut members = Vec::new();
        let mut new = Vec::new();
        for (descriptor, layer) in found {
            let version = Some(descriptor.version.clone());
            members.push(Member { id: descriptor.id.clone(), version, optional: false });
            new.push((self.pool.bring(descriptor), layer));
        }
        let is_whole = new.iter().all(|(is_new, _)| *is_new);
        for (number, (_, layer)) in new.into_iter().enumerate().filter(|(_, (is_new, _))| *is_new) {
            let from = from.filter(|_| is_whole).unwrap_or_default().to_owned();
            let (digest, bytes) = (layer.digest.to_string(), layer.size);
            self.pool.ingredients.insert(Ingredient::Brought { digest, bytes, from, first: number == 0 });
        }
        members
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
