//! Which buildpacks an app is to be built with, as people write it: by id, by path in the repository, by image, by git address,
//! by the address of a packed one. Credentials never stand in it, but the names of the variables that hold them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NameError, VariableName};

const LONGEST: usize = 1024;
/// Of one choice.
pub const MOST_BUILDPACKS: usize = 50;

/// One buildpack, or one that is made of others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BuildpackRef {
    /// `ID` or `ID@VERSION`: one of the platform's own, or one that came along with another of the choice.
    Known { id: String, version: Option<String> },
    /// `./PATH`: a directory of the repository with a `buildpack.toml`, or a packed buildpack. Clean; empty for its root.
    Path(String),
    /// `docker://HOST/NAME:TAG`: an image that brings buildpacks along. Without the scheme.
    Image { name: String, login: Option<NamedLogin> },
    /// `https://HOST/PATH#REF:DIRECTORY`: a directory of another repository; without `REF` as its server has it.
    Git { at: Address, reference: Option<String>, directory: String },
    /// `https://HOST/PATH.tgz#sha256:HEX`: a packed buildpack.
    Archive { at: Address, sha256: Option<String> },
}

/// `$USER:$PASSWORD@` or `$TOKEN@` before a host: variables of the app with the credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedLogin {
    pub user: Option<VariableName>,
    pub password: VariableName,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// `http` or `https`, host and path; nothing else.
    pub url: String,
    pub login: Option<NamedLogin>,
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

const FORMS: &str =
    "must be ID, ID@VERSION, ./PATH, docker://HOST/NAME:TAG, https://HOST/REPOSITORY.git#REF or https://HOST/FILE.tgz";
/// What a packed buildpack is called.
const PACKED: [&str; 5] = [".tgz", ".tar.gz", ".tar", ".cnb", ".zip"];

impl FromStr for BuildpackRef {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > LONGEST || text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err(NameError::new(FORMS));
        }
        if let Some(image) = text.strip_prefix("docker://").or_else(|| text.strip_prefix("docker:/")) {
            let (login, name) = login(image)?;
            let fits =
                name.contains('/') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_/:@[]".contains(&b));
            return match fits {
                true => Ok(Self::Image { name: name.to_owned(), login }),
                false => Err(NameError::new("must name an image with its registry: docker://HOST/NAME:TAG")),
            };
        }
        if text == "." || text.starts_with("./") || text.starts_with("../") || text == ".." {
            return path(text).map(Self::Path);
        }
        let known = text.strip_prefix("urn:cnb:builder:").unwrap_or(text);
        if known.starts_with("urn:") {
            return Err(NameError::new("is of a registry of buildpacks; name its image: docker://HOST/NAME:TAG"));
        }
        if let Some(rest) = known.strip_prefix("git+") {
            return address(rest, true);
        }
        if known.starts_with("git@") || ["git:", "ssh:"].iter().any(|scheme| known.starts_with(scheme)) {
            return Err(NameError::new(
                "is a git address that buildpacks are not fetched by; write https://HOST/REPOSITORY.git#REF",
            ));
        }
        if known.contains("://") {
            return address(known, false);
        }
        let (id, version) = known.split_once('@').map_or((known, None), |(id, version)| (id, Some(version)));
        if !is_buildpack_id(id) || version.is_some_and(|version| !is_buildpack_version(version)) {
            return Err(NameError::new(FORMS));
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

    /// Whether a path or an address is of a packed buildpack.
    pub fn is_packed(path: &str) -> bool {
        PACKED.iter().any(|ending| path.len() > ending.len() && path.ends_with(ending))
    }
}

fn path(text: &str) -> Result<String, NameError> {
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<_> = parts.collect();
    match parts.iter().any(|part| *part == ".." || part.len() > 255) {
        true => Err(NameError::new("leaves the repository; a path is below its root, such as ./buildpacks/mine")),
        false => Ok(parts.join("/")),
    }
}

/// What stands before the host, and all from the host on.
fn login(text: &str) -> Result<(Option<NamedLogin>, &str), NameError> {
    let host = text.split('/').next().unwrap_or(text);
    let Some((before, _)) = host.split_once('@') else { return Ok((None, text)) };
    let variable = |word: &str| {
        let name = word.strip_prefix('$').and_then(|name| name.parse::<VariableName>().ok());
        name.ok_or_else(|| {
            NameError::new(
                "must have no credentials in it: keep them in variables and name those, $USER:$PASSWORD@HOST or $TOKEN@HOST",
            )
        })
    };
    let login = match before.split_once(':') {
        Some((user, password)) => NamedLogin { user: Some(variable(user)?), password: variable(password)? },
        None => NamedLogin { user: None, password: variable(before)? },
    };
    Ok((Some(login), &text[before.len() + 1..]))
}

/// By http or https: a packed buildpack if it is called like one, else a repository.
fn address(text: &str, is_git: bool) -> Result<BuildpackRef, NameError> {
    let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
    if !matches!(scheme, "https" | "http") {
        return Err(NameError::new("has a scheme that is not known; there are ./PATH, docker:// and https://"));
    }
    let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (login, place) = login(rest)?;
    let (host, file) = place.split_once('/').unwrap_or((place, ""));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&b);
    if !host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
        || file.is_empty()
        || !file.bytes().all(plain)
    {
        return Err(NameError::new(
            "is no address of a buildpack; write https://HOST/REPOSITORY.git#REF or https://HOST/FILE.tgz",
        ));
    }
    let at = Address { url: format!("{scheme}://{place}"), login };
    if BuildpackRef::is_packed(file) && !is_git {
        let hex =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let sha256 = match fragment.map(|fragment| fragment.strip_prefix("sha256:").filter(|digest| hex(digest))) {
            None => None,
            Some(Some(digest)) => Some(digest.to_owned()),
            Some(None) => return Err(NameError::new("may end with the digest of the file only: #sha256:HEX")),
        };
        return Ok(BuildpackRef::Archive { at, sha256 });
    }
    let (reference, directory) = fragment.unwrap_or("").split_once(':').unwrap_or((fragment.unwrap_or(""), ""));
    let word = |b: u8| b.is_ascii_alphanumeric() || b"._-/+@".contains(&b);
    if !reference.bytes().all(word) || reference.starts_with(['-', '/', '.']) || reference.contains("..") {
        return Err(NameError::new("names no branch, tag or commit behind the #"));
    }
    let reference = (!reference.is_empty()).then(|| reference.to_owned());
    Ok(BuildpackRef::Git { at, reference, directory: path(directory)? })
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
            Self::Image { name, login: None } => write!(f, "docker://{name}"),
            Self::Image { name, login: Some(login) } => write!(f, "docker://{login}{name}"),
            Self::Archive { at, sha256: None } => write!(f, "{at}"),
            Self::Archive { at, sha256: Some(digest) } => write!(f, "{at}#sha256:{digest}"),
            Self::Git { at, reference, directory } => {
                // Without this it would be taken for a packed one.
                let git = if Self::is_packed(&at.url) { "git+" } else { "" };
                let reference = reference.as_deref().unwrap_or("");
                match (reference, directory.as_str()) {
                    ("", "") => write!(f, "{git}{at}"),
                    (reference, "") => write!(f, "{git}{at}#{reference}"),
                    (reference, directory) => write!(f, "{git}{at}#{reference}:{directory}"),
                }
            }
        }
    }
}

impl fmt::Display for NamedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "${user}:${}@", self.password),
            None => write!(f, "${}@", self.password),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.login, self.url.split_once("://")) {
            (Some(login), Some((scheme, rest))) => write!(f, "{scheme}://{login}{rest}"),
            _ => f.write_str(&self.url),
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
            ("docker://$WHO:$WORD@registry.example/acme/tool:1", "docker://$WHO:$WORD@registry.example/acme/tool:1"),
            ("docker://a.example/b@sha256:00", "docker://a.example/b@sha256:00"),
            ("https://example.com/acme/tool.git#v1", "https://example.com/acme/tool.git#v1"),
            ("https://example.com/acme/tool#main:packs//one/", "https://example.com/acme/tool#main:packs/one"),
            ("https://$TOKEN@example.com:8443/acme/tool.git", "https://$TOKEN@example.com:8443/acme/tool.git"),
            ("git+http://[::1]/tool.tgz#:packs", "git+http://[::1]/tool.tgz#:packs"),
            ("https://example.com/v1.2/tool.tgz", "https://example.com/v1.2/tool.tgz"),
            ("./packs/tool.cnb", "./packs/tool.cnb"),
        ] {
            let reference: BuildpackRef = text.parse().unwrap();
            assert_eq!(reference.to_string(), shown);
            assert_eq!(shown.parse::<BuildpackRef>().unwrap(), reference);
        }
        assert_eq!(BuildpackRef::of_uri("buildpacks/mine").unwrap(), BuildpackRef::Path("buildpacks/mine".into()));
        assert!(matches!(BuildpackRef::of_uri("docker://a.example/b"), Ok(BuildpackRef::Image { .. })));
        let digest = "0f".repeat(32);
        let pinned: BuildpackRef = format!("https://example.com/tool.tgz#sha256:{digest}").parse().unwrap();
        assert!(matches!(&pinned, BuildpackRef::Archive { sha256: Some(found), .. } if *found == digest));
        assert_eq!(pinned.to_string().parse::<BuildpackRef>().unwrap(), pinned);
        let git = "https://example.com/acme/tool".parse().unwrap();
        assert!(matches!(git, BuildpackRef::Git { reference: None, .. }));
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
            ("git@example.com:acme/tool", "https://HOST/REPOSITORY.git"),
            ("git://example.com/acme/tool.git", "https://HOST/REPOSITORY.git"),
            ("ssh://git@example.com/acme/tool", "https://HOST/REPOSITORY.git"),
            ("git+ssh://git@example.com/acme/tool", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("ext::sh -c id", "ID@VERSION"),
            ("https://user:secret@example.com/x.git", "no credentials"),
            ("docker://user:secret@example.com/x", "no credentials"),
            ("https://$PORT@example.com/x.git", "no credentials"),
            ("https://example.com", "no address"),
            ("https:///x.git", "no address"),
            ("https://-o.example/x.git", "no address"),
            ("https://example.com/x.git?a=b", "no address"),
            ("https://example.com/x.git#--upload-pack=id", "behind the #"),
            ("https://example.com/x.git#a..b", "behind the #"),
            ("https://example.com/x.git#v1:../../etc", "leaves"),
            ("https://example.com/x.tgz#v1", "sha256"),
            ("app", "ID@VERSION"),
            ("--upload-pack=id", "ID@VERSION"),
        ] {
            let fault = text.parse::<BuildpackRef>().unwrap_err().to_string();
            assert!(fault.contains(says), "{text:?}: {fault}");
        }
        assert!(BuildpackRef::of_uri("a/../../b").is_err());
    }
}
