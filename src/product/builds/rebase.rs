//! Another base under an image, without a build.
//!
//! The packages that a build had installed beneath its app are installed anew on the newest base; the layers of the app stay
//! as they are. That is safe while the base keeps its promises to what was built upon it: the same distribution and version,
//! the same architecture, every library that was there, by the name that says which programs it fits (`libssl3`), and what
//! the build had asked for in the same major version. What a buildpack put into layers of its own, a runtime from its makers
//! say, is the app's and changes with a build only.

use std::collections::{BTreeMap, BTreeSet};

use super::assembly;
use super::builder::{Builder, Silent, refused};
use super::export::Refused;
use super::messages::rebase as messages;
use super::pack::Ingredient;
use super::seam::{Ground, Seam};
use super::{BuildFailure, BuildLog, Imaged};
use crate::base::clock::Timestamp;
use crate::base::model::{ImageDigest, Processes};
use crate::machinery::image::{BlobStore, Ecosystem, ImageError, Package, inspect, joined_packages, stacked};

/// An image and the newest base, as far as can be told without making anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Newest,
    /// The base was made anew since, or what is installed on it is yet to be.
    Older,
    /// Why it cannot be put on another base, and what to do instead.
    Unfit(String),
}

#[derive(Debug, Clone)]
pub enum Rebased {
    /// It lay on the newest base already.
    Same,
    Onto {
        base: ImageDigest,
        imaged: Box<Imaged>,
    },
}

/// The base that builds begin with.
#[derive(Debug, Clone)]
pub struct BaseFacts {
    pub image: ImageDigest,
    /// For people.
    pub source: String,
    /// None where that is not known.
    pub made: Option<Timestamp>,
}

/// A package of a base that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub name: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl Builder {
    /// None before the first one is made.
    pub fn base(&self) -> Option<BaseFacts> {
        let base = self.images.known_base()?;
        Some(BaseFacts { image: base.image, source: self.images.source(), made: base.made })
    }

    /// Makes the base anew, and says what is different in it. Builds and rebases from now on are upon the new one.
    pub async fn refresh(&self) -> Result<(BaseFacts, Vec<Changed>), BuildFailure> {
        let _pin = self.blobs.pin();
        let before = self.images.known_base();
        let before = match &before {
            Some(base) => self.debian(&base.image).await?,
            None => BTreeMap::new(),
        };
        let base = self.images.refresh(&Silent).await?;
        let after = self.debian(&base.image).await?;
        let image = self.images.build_image(&BTreeSet::new(), &Silent).await?;
        self.images.load(&image).await?;
        let view = BaseFacts { image: base.image, source: self.images.source(), made: base.made };
        Ok((view, changes(&before, &after)))
    }

    /// Blocks for some reads of files.
    pub fn standing(&self, image: &ImageDigest) -> Standing {
        let facts = match inspect(&self.blobs, image) {
            Ok(facts) => facts,
            Err(error) => return Standing::Unfit(messages::unread(&error)),
        };
        match Seam::read(&facts).and_then(|seam| self.fits(seam)) {
            Err(why) => Standing::Unfit(why),
            Ok(seam) => match self.images.known_with(&seam.packages()) {
                Some(ground) if ground.as_str() == seam.reference => Standing::Newest,
                _ => Standing::Older,
            },
        }
    }

    /// Puts the newest base under an image and gives what comes of it to the engine. A failure says what keeps the app from it.
    pub async fn rebase(
        &self,
        image: &ImageDigest,
        processes: &Processes,
        log: &dyn BuildLog,
    ) -> Result<Rebased, BuildFailure> {
        let _pin = self.blobs.pin();
        let facts = inspect(&self.blobs, image).map_err(|error| messages::unfit(&messages::unread(&error)))?;
        let seam = Seam::read(&facts).and_then(|seam| self.fits(seam)).map_err(|why| messages::unfit(&why))?;
        let ground = self.ground(&seam.packages(), log).await?;
        let (before, after) = (self.beneath(image, seam.beneath).await?, self.debian(&ground.image).await?);
        let seam = self.fits(seam).map_err(|why| messages::unfit(&why))?;
        unbroken(&before, &after, &seam).map_err(|why| messages::unfit(&why))?;

        let (blobs, old, processes, base) =
            (self.blobs.clone(), image.clone(), processes.clone(), ground.image.clone());
        let put = tokio::task::spawn_blocking(move || {
            let new = assembly::rebased(&blobs, &old, &ground)?;
            if inspect(&blobs, &new)?.architecture != inspect(&blobs, &old)?.architecture {
                return Err(ImageError::Unfit(messages::ARCHITECTURE.to_owned()).into());
            }
            assembly::imaged(&blobs, new, Some(&old), &processes)
        });
        let imaged = put.await.map_err(std::io::Error::other).map_err(Refused::from).flatten();
        let imaged = imaged.map_err(|error| refused("the image", &error))?;
        if imaged.image == *image {
            return Ok(Rebased::Same);
        }
        for line in messages::packages(&changes(&before, &after)) {
            log.line(&line);
        }
        self.images.load(&imaged.image).await?;
        Ok(Rebased::Onto { base, imaged: Box::new(imaged) })
    }

    pub(super) async fn ground(
        &self,
        packages: &BTreeSet<Ingredient>,
        log: &dyn BuildLog,
    ) -> Result<Ground, BuildFailure> {
        let image = self.images.with(packages, log).await?;
        Ok(Ground { image, target: self.images.target(), packages: packages.clone() })
    }

    /// The image was built for what bases are of now, and no more is to be installed than buildpacks may ask for: whoever
    /// pushed the image wrote its labels.
    fn fits(&self, seam: Seam) -> Result<Seam, String> {
        let needs = |b: &super::pack::Buildpack| {
            let all = std::iter::once(&b.needs).chain(b.needs.plan.values());
            all.flat_map(|n| n.run_packages.iter().chain(&n.run_packages_on_request)).cloned().collect::<Vec<_>>()
        };
        let known: BTreeSet<_> = self.images.buildpacks.iter().flat_map(needs).collect();
        if let Some(unknown) = seam.own.packages.iter().find(|package| !known.contains(*package)) {
            return Err(messages::unknown_package(unknown));
        }
        let target = self.images.target();
        let here = [target.distro, target.distro_version];
        if seam.distro != here { Err(messages::distro(&seam.distro, &here)) } else { Ok(seam) }
    }

    /// Debian's packages of an image, by name.
    async fn debian(&self, image: &ImageDigest) -> Result<BTreeMap<String, String>, BuildFailure> {
        let found = self.packages(image).await.map_err(|error| messages::unreadable(&error))?;
        Ok(by_name(found))
    }

    /// Those of the lowest layers of an image.
    async fn beneath(&self, image: &ImageDigest, count: usize) -> Result<BTreeMap<String, String>, BuildFailure> {
        let (blobs, dir, image) = (self.blobs.clone(), self.packages_dir(), image.clone());
        let read = tokio::task::spawn_blocking(move || lowest(&blobs, &dir, &image, count));
        let read = read.await.unwrap_or_else(|error| Err(ImageError::Stream(std::io::Error::other(error))));
        read.map(by_name).map_err(|error| messages::unreadable(&error))
    }
}

fn lowest(
    blobs: &BlobStore,
    dir: &std::path::Path,
    image: &ImageDigest,
    count: usize,
) -> Result<BTreeSet<Package>, ImageError> {
    let layers = stacked(blobs, image)?;
    let read: Result<Vec<_>, _> =
        layers.iter().take(count).map(|added| super::sbom::remembered(blobs, dir, &added.layer.digest)).collect();
    Ok(joined_packages(&read?))
}

fn by_name(packages: BTreeSet<Package>) -> BTreeMap<String, String> {
    let debian = packages.into_iter().filter(|package| package.ecosystem == Ecosystem::Deb);
    debian.map(|package| (package.name, package.version)).collect()
}

/// Whether what was built on `before` finds on `after` what it was linked with.
fn unbroken(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, seam: &Seam) -> Result<(), String> {
    let matters = |name: &str| name.starts_with("lib") || seam.own.packages.contains(name);
    for (name, had) in before.iter().filter(|(name, _)| matters(name)) {
        match after.get(name) {
            None => return Err(messages::lost(name, had)),
            Some(has) if major(had) != major(has) && seam.own.packages.contains(name) => {
                return Err(messages::other_major(name, had, has));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// `18` of `18.19.0+dfsg-6~deb12u2`, `1:9` of `1:9.2`.
fn major(version: &str) -> &str {
    let upstream = version.rfind('-').map_or(version, |at| &version[..at]);
    upstream.split(['.', '+', '~']).next().unwrap_or(upstream)
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Changed> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let of =
        |name: &String| Changed { name: name.clone(), from: before.get(name).cloned(), to: after.get(name).cloned() };
    changed.map(of).collect()
}

#[cfg(test)]
mod tests;
