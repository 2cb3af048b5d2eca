//! Which buildpacks an app is to be built with, as people write it: by id, by path in the repository, by image.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

const LONGEST: usize = 1024;
/// Of one choice.
pub const MOST_BUILDPACKS: usize = 50;

/// One buildpack, or one that is made of others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BuildpackRef {
    /// `ID` or `ID@VERSION`: one of the platform's own, or one that came along with another of the choice.
    Known { id: String, version: Option<String> },
    /// `./PATH`: a directory of the repository with a `buildpack.toml`. Clean; empty for its root.
    Path(String),
    /// `docker://HOST/NAME:TAG`: an image that brings buildpacks along. Without the scheme.
    Image(String),
}

/// An entry of a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenBuildpack {
    pub reference: BuildpackRef,
    /// It may decline the tree without that anything fails.
    #[serde(default)]
    pub optional: bool,
}

impl From<BuildpackRef> for ChosenBuildpack {
    fn from(reference: BuildpackRef) -> Self {
        Self { reference, optional: false }
    }
}

impl FromStr for BuildpackRef {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > LONGEST || text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err(NameError::new("must be ID, ID@VERSION, ./PATH or docker://HOST/NAME:TAG"));
        }
        if let Some(image) = text.strip_prefix("docker://").or_else(|| text.strip_prefix("docker:/")) {
            let fits =
                image.contains('/') && image.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_/:@[]".contains(&b));
            return match fits {
                true => Ok(Self::Image(image.to_owned())),
                false => Err(NameError::new("must name an image with its registry: docker://HOST/NAME:TAG")),
            };
        }
        if text == "." || text.starts_with("./") || text.starts_with("../") || text == ".." {
            return path(text);
        }
        let known = text.strip_prefix("urn:cnb:builder:").unwrap_or(text);
        if known.starts_with("urn:") {
            return Err(NameError::new("is of a registry of buildpacks; name its image: docker://HOST/NAME:TAG"));
        }
        if is_git(known) {
            return Err(NameError::new(
                "is a git address, which buildpacks are not fetched from; copy it into the repository (./PATH) or name its \
                 image (docker://HOST/NAME:TAG)",
            ));
        }
        if known.contains("://") {
            return Err(NameError::new("has a scheme that is not known; there are ./PATH and docker://HOST/NAME:TAG"));
        }
        let (id, version) = known.split_once('@').map_or((known, None), |(id, version)| (id, Some(version)));
        if !is_buildpack_id(id) || version.is_some_and(|version| !is_buildpack_version(version)) {
            return Err(NameError::new("must be ID, ID@VERSION, ./PATH or docker://HOST/NAME:TAG"));
        }
        Ok(Self::Known { id: id.to_owned(), version: version.map(str::to_owned) })
    }
}

impl BuildpackRef {
    /// As `uri` of a project.toml has it, where a path needs no `./`.
    pub fn of_uri(text: &str) -> Result<Self, NameError> {
        let plain = !text.contains(':') && !text.starts_with('/') && !text.is_empty();
        if plain && !text.starts_with('.') { format!("./{text}").parse() } else { text.parse() }
    }
}

fn path(text: &str) -> Result<BuildpackRef, NameError> {
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<_> = parts.collect();
    match parts.iter().any(|part| *part == ".." || part.len() > 255) {
        true => Err(NameError::new("leaves the repository; a path is below its root, such as ./buildpacks/mine")),
        false => Ok(BuildpackRef::Path(parts.join("/"))),
    }
}

fn is_git(text: &str) -> bool {
    let address = text.split('#').next().unwrap_or(text);
    text.starts_with("git@")
        || ["git+", "git:", "ssh:"].iter().any(|scheme| text.starts_with(scheme))
        || (text.contains("://") && (address.ends_with(".git") || text.contains('#')))
}

/// Letters, digits, `.`, `/`, `-` (buildpack specification, "buildpack.toml"). No `_`, which stands for `/` in directories.
pub fn is_buildpack_id(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && !["config", "app", "sbom"].contains(&text)
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']))
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-".contains(&b))
}

pub fn is_buildpack_version(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b))
}

impl fmt::Display for BuildpackRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { id, version: None } => f.write_str(id),
            Self::Known { id, version: Some(version) } => write!(f, "{id}@{version}"),
            Self::Path(path) => write!(f, "./{path}"),
            Self::Image(image) => write!(f, "docker://{image}"),
        }
    }
}

impl TryFrom<String> for BuildpackRef {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<BuildpackRef> for String {
    fn from(reference: BuildpackRef) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart() {
        for (text, shown) in [
            ("hythe/nodejs", "hythe/nodejs"),
            ("acme.com/tool@1.2.3", "acme.com/tool@1.2.3"),
            ("urn:cnb:builder:acme/tool@1.0.0", "acme/tool@1.0.0"),
            ("./buildpacks//mine/.", "./buildpacks/mine"),
            (".", "./"),
            ("docker://registry.example/acme/tool:1", "docker://registry.example/acme/tool:1"),
            ("docker:/registry.example/acme/tool", "docker://registry.example/acme/tool"),
        ] {
            let reference: BuildpackRef = text.parse().unwrap();
            assert_eq!(reference.to_string(), shown);
            assert_eq!(shown.parse::<BuildpackRef>().unwrap(), reference);
        }
        assert_eq!(BuildpackRef::of_uri("buildpacks/mine").unwrap(), BuildpackRef::Path("buildpacks/mine".into()));
        assert!(matches!(BuildpackRef::of_uri("docker://a.example/b"), Ok(BuildpackRef::Image(_))));
    }

    #[test]
    fn others_are_refused_with_what_to_write() {
        for (text, says) in [
            ("", "ID@VERSION"),
            ("a b", "ID@VERSION"),
            ("a\nb", "ID@VERSION"),
            ("../mine", "leaves the repository"),
            ("./a/../../b", "leaves the repository"),
            ("/etc", "ID@VERSION"),
            ("docker://tool", "registry"),
            ("docker://a.example/$(id)", "registry"),
            ("urn:cnb:registry:acme/tool", "docker://"),
            ("https://example.com/acme/tool.git#v1", "git address"),
            ("git@example.com:acme/tool", "git address"),
            ("https://example.com/tool.tgz", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("app", "ID@VERSION"),
            ("--upload-pack=id", "ID@VERSION"),
        ] {
            let fault = text.parse::<BuildpackRef>().unwrap_err().to_string();
            assert!(fault.contains(says), "{text:?}: {fault}");
        }
        assert!(BuildpackRef::of_uri("a/../../b").is_err());
    }
}
