//! What is said of images that get another base.

use super::{BuildFailure, clean, copy};
use crate::machinery::image::ImageError;
use crate::product::builds::Changed;

pub(in crate::product::builds) const NOT_BUILT_HERE: &str = "no buildpack made its image (a Dockerfile did, or it was \
     pushed or fetched), so where its base ends is not known: build it anew on a patched base";
pub(in crate::product::builds) const NO_SEAM: &str =
    "its image does not say where its base ends, as those of today's builds do: push it once more";
pub(in crate::product::builds) const FOREIGN_LAYERS: &str =
    "its image has layers that no buildpack made, which may depend on the base: build it anew";
pub(in crate::product::builds) const ARCHITECTURE: &str = "its image is for another architecture than the base";

/// Packages of one list that are named one by one.
const MOST_NAMED: usize = 12;

pub(in crate::product::builds) fn unread(error: &ImageError) -> String {
    match error {
        ImageError::Missing(_) => "its image is not in this server's store any more: push it once more".to_owned(),
        other => format!("its image cannot be read ({other})"),
    }
}

pub(in crate::product::builds) fn unknown_package(name: &str) -> String {
    format!(
        "its image names the package {}, which no buildpack of today asks for: push it once more",
        clean(name.as_bytes())
    )
}

pub(in crate::product::builds) fn distro(had: &[String; 2], has: &[String; 2]) -> String {
    let text = |distro: &[String; 2]| clean(distro.join(" ").trim().as_bytes());
    format!(
        "it was built for {}, and the base is {} now: push it once more, so that it is built for that",
        text(had),
        text(has)
    )
}

pub(in crate::product::builds) fn lost(name: &str, had: &str) -> String {
    format!("the new base has no {name} ({had} was there), which the app may be linked with: push it once more")
}

pub(in crate::product::builds) fn other_major(name: &str, had: &str, has: &str) -> String {
    format!("{name} would go from {had} to {has}, and the app was built for the former: push it once more")
}

/// `why`: cause and remedy.
pub(in crate::product::builds) fn unfit(why: &str) -> BuildFailure {
    let failure: BuildFailure = copy("", format!("It cannot be put on another base: {why}.")).into();
    BuildFailure { reason: format!("not rebased: {why}"), ..failure }
}

pub(in crate::product::builds) fn unreadable(error: &ImageError) -> BuildFailure {
    super::platform("reading what is installed", &super::export::chain(error))
}

/// Lines of the log.
pub(in crate::product::builds) fn packages(changes: &[Changed]) -> Vec<String> {
    let mut lines = vec![match changes.len() {
        0 => "       the same packages as before".to_owned(),
        1 => "       1 package of the base is not as it was:".to_owned(),
        n => format!("       {n} packages of the base are not as they were:"),
    }];
    lines.extend(changes.iter().take(MOST_NAMED).map(|change| {
        let or_none = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".into());
        format!("       {} {} → {}", change.name, or_none(&change.from), or_none(&change.to))
    }));
    if let Some(more) = changes.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        lines.push(format!("       and {more} more"));
    }
    lines
}
