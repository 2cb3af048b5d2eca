//! `buildpack.toml` of any buildpack (buildpack specification, "buildpack.toml"): hostile text in, a checked descriptor
//! out; pure. What it does not know it leaves alone, as the format grows by additions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::model::{is_buildpack_id, is_buildpack_version};

/// Minor versions of Buildpack API 0 that are served.
const OLDEST: u32 = 8;
const NEWEST: u32 = 12;

/// A version of the Buildpack API, `0.N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Api(pub u32);

impl Api {
    /// The first whose process commands are lists, without shells and profiles.
    pub const LISTS: Self = Self(9);
    /// The first with targets.
    pub const TARGETS: Self = Self(10);
    /// The first without stacks, and with execution environments.
    pub const WITHOUT_STACKS: Self = Self(12);
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0.{}", self.0)
    }
}

/// What an image is built and run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub arch: String,
    pub distro: String,
    pub distro_version: String,
    /// For buildpacks that know stacks only.
    pub stack: String,
}

impl Target {
    /// The Debian suite of a bootstrapped base.
    pub fn debian(suite: &str) -> Self {
        let version = match suite {
            "bullseye" => "11",
            "bookworm" => "12",
            "trixie" => "13",
            "forky" => "14",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            arch: arch.to_owned(),
            distro: "debian".to_owned(),
            distro_version: version.to_owned(),
            stack: format!("io.hythe.stacks.{suite}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{} {} {}", self.arch, self.distro, self.distro_version)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Descriptor {
    pub api: Api,
    pub id: String,
    pub version: String,
    pub name: String,
    /// Variables of people reach it as files only.
    pub clear_env: bool,
    /// Groups of others; none for one that has programs of its own.
    pub order: Option<Vec<Vec<Member>>>,
}

/// An entry of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub id: String,
    /// None: whichever there is.
    pub version: Option<String>,
    pub optional: bool,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

#[derive(Deserialize)]
struct Document {
    api: Option<String>,
    buildpack: Option<About>,
    #[serde(default)]
    order: Option<Vec<Group>>,
    #[serde(default)]
    stacks: Vec<Stack>,
    #[serde(default)]
    targets: Vec<Wanted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct About {
    id: String,
    version: Option<String>,
    name: Option<String>,
    #[serde(default)]
    clear_env: bool,
    #[serde(default)]
    exec_env: Vec<String>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    group: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    id: String,
    version: Option<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    exec_env: Vec<String>,
}

#[derive(Deserialize)]
struct Stack {
    id: String,
}

#[derive(Deserialize)]
struct Wanted {
    os: Option<String>,
    arch: Option<String>,
    #[serde(default)]
    distros: Vec<Distro>,
}

#[derive(Deserialize)]
struct Distro {
    name: Option<String>,
    version: Option<String>,
}

/// What is wrong with the file, after "buildpack.toml …".
pub(super) fn read(text: &[u8], here: &Target) -> Result<Descriptor, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is no UTF-8 text".to_owned())?;
    let file: Document = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("cannot be read, line {line}: {}", error.message())
    })?;
    let api = api(file.api.as_deref().ok_or("says nothing of its API: it needs api = \"0.10\" or another version")?)?;
    let about = file.buildpack.ok_or("has no table [buildpack]")?;
    let id = about.id;
    if !is_buildpack_id(&id) {
        return Err(format!("has the id \"{id}\"; an id is of letters, digits, ., / and -"));
    }
    let version = about.version.ok_or("has no version")?;
    if !is_buildpack_version(&version) {
        return Err(format!("has the version \"{version}\"; a version is such as 1.2.3"));
    }
    if !for_production(&about.exec_env) {
        return Err("is not for production (exec-env)".to_owned());
    }
    let order = match file.order {
        Some(order) => {
            if !file.stacks.is_empty() || !file.targets.is_empty() {
                return Err("has an order, and stacks or targets as well; it can have one of them".to_owned());
            }
            Some(order.into_iter().map(|group| members(group.group)).collect::<Result<_, _>>()?)
        }
        None => {
            check_target(api, &file.targets, &file.stacks, here)?;
            None
        }
    };
    let name = about.name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| id.clone());
    Ok(Descriptor { api, id, version, name, clear_env: about.clear_env, order })
}

/// `0.N`; a minor version adds to those before it from API 1 on only, so each is looked at by itself.
fn api(text: &str) -> Result<Api, String> {
    let minor = text.strip_prefix("0.").and_then(|minor| minor.parse().ok());
    match minor {
        Some(minor) if (OLDEST..=NEWEST).contains(&minor) => Ok(Api(minor)),
        _ => Err(format!("asks for Buildpack API {text}; this platform has 0.{OLDEST} to 0.{NEWEST}")),
    }
}

fn members(entries: Vec<Entry>) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    for entry in entries.into_iter().filter(|entry| for_production(&entry.exec_env)) {
        let Entry { id, version, optional, .. } = entry;
        if !is_buildpack_id(&id) || version.as_deref().is_some_and(|version| !is_buildpack_version(version)) {
            return Err(format!(
                "names \"{id}\" in its order, which is no buildpack's id, or with a version that is none"
            ));
        }
        members.push(Member { id, version, optional });
    }
    Ok(members)
}

/// "Execution environments": none named is all.
fn for_production(environments: &[String]) -> bool {
    environments.is_empty() || environments.iter().any(|e| e == "production" || e == "*")
}

/// One of the targets fits; without any, one of the stacks (before API 0.12); without both, it is for Linux.
fn check_target(api: Api, targets: &[Wanted], stacks: &[Stack], here: &Target) -> Result<(), String> {
    let fits = |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|w| w.is_empty() || w == have);
    if api >= Api::TARGETS && !targets.is_empty() {
        let any = targets.iter().any(|target| {
            let distro = |d: &Distro| fits(&d.name, &here.distro) && fits(&d.version, &here.distro_version);
            fits(&target.os, "linux")
                && fits(&target.arch, &here.arch)
                && (target.distros.is_empty() || target.distros.iter().any(distro))
        });
        return if any { Ok(()) } else { Err(format!("is for other targets than this platform, which is {here}")) };
    }
    if api < Api::WITHOUT_STACKS && !stacks.is_empty() {
        let any = stacks.iter().any(|stack| stack.id == "*" || stack.id == here.stack);
        let names: Vec<_> = stacks.iter().map(|stack| stack.id.as_str()).collect();
        let (names, own) = (names.join(", "), &here.stack);
        return if any { Ok(()) } else { Err(format!("is for the stacks {names}; this platform is {own} ({here})")) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Target {
        Target { arch: "amd64".into(), ..Target::debian("bookworm") }
    }

    fn fault(text: &str) -> String {
        read(text.as_bytes(), &here()).unwrap_err()
    }

    const ABOUT: &str = "[buildpack]\nid = \"acme/tool\"\nversion = \"1.2.3\"\n";

    #[test]
    fn components_and_composites() {
        let text = format!("api = \"0.10\"\n{ABOUT}clear-env = true\n[[stacks]]\nid = \"*\"\n[metadata]\nx = 1\n");
        let found = read(text.as_bytes(), &here()).unwrap();
        assert_eq!(
            (found.id.as_str(), found.version.as_str(), found.name.as_str()),
            ("acme/tool", "1.2.3", "acme/tool")
        );
        assert!(found.clear_env && found.order.is_none() && found.api == Api(10));

        let text = format!(
            "api = \"0.12\"\n{ABOUT}[[order]]\n[[order.group]]\nid = \"a\"\nversion = \"1.0.0\"\n[[order.group]]\nid = \"b\"\n\
             optional = true\n[[order.group]]\nid = \"t\"\nexec-env = [\"test\"]\n[[order]]\n"
        );
        let order = read(text.as_bytes(), &here()).unwrap().order.unwrap();
        let names: Vec<Vec<_>> = order.iter().map(|g| g.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(names, [vec!["a@1.0.0", "b"], vec![]]);
        assert!(order[0][1].optional);
    }

    #[test]
    fn each_api_that_is_not_served_is_named() {
        for (api, served) in
            [("0.7", false), ("0.8", true), ("0.12", true), ("0.13", false), ("1", false), ("x", false)]
        {
            let text = format!("api = \"{api}\"\n{ABOUT}");
            match read(text.as_bytes(), &here()) {
                Ok(_) => assert!(served, "{api}"),
                Err(said) => assert!(!served && said.contains(&format!("API {api}")) && said.contains("0.8 to 0.12")),
            }
        }
        assert!(fault(ABOUT).contains("API"));
    }

    #[test]
    fn targets_and_stacks() {
        for (api, rest, fits) in [
            ("0.10", "[[targets]]\nos = \"linux\"\n", true),
            ("0.10", "[[targets]]\nos = \"windows\"\n", false),
            ("0.10", "[[targets]]\nos = \"linux\"\narch = \"s390x\"\n", false),
            ("0.10", "[[targets]]\nos = \"windows\"\n[[targets]]\narch = \"amd64\"\n", true),
            ("0.10", "[[targets]]\n[[targets.distros]]\nname = \"debian\"\nversion = \"12\"\n", true),
            ("0.10", "[[targets]]\n[[targets.distros]]\nname = \"debian\"\nversion = \"11\"\n", false),
            ("0.10", "[[targets]]\n[[targets.distros]]\nname = \"ubuntu\"\n", false),
            ("0.8", "[[stacks]]\nid = \"*\"\n", true),
            ("0.8", "[[stacks]]\nid = \"io.hythe.stacks.bookworm\"\n", true),
            ("0.11", "[[stacks]]\nid = \"heroku-24\"\n", false),
            ("0.12", "[[stacks]]\nid = \"heroku-24\"\n", true),
            ("0.10", "[[stacks]]\nid = \"heroku-24\"\n[[targets]]\nos = \"linux\"\n", true),
            ("0.9", "", true),
        ] {
            let text = format!("api = \"{api}\"\n{ABOUT}{rest}");
            assert_eq!(read(text.as_bytes(), &here()).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn faults_say_what_to_mend() {
        for (text, says) in [
            ("api = \"0.10\"\n[buildpack", "line 2"),
            ("api = \"0.10\"\n", "[buildpack]"),
            ("api = \"0.10\"\n[buildpack]\nid = \"../x\"\nversion = \"1\"\n", "../x"),
            ("api = \"0.10\"\n[buildpack]\nid = \"$(id)\"\nversion = \"1\"\n", "letters"),
            ("api = \"0.10\"\n[buildpack]\nid = \"x\"\n", "no version"),
            ("api = \"0.10\"\n[buildpack]\nid = \"x\"\nversion = \"../1\"\n", "version"),
            (
                "api = \"0.10\"\n[buildpack]\nid = \"x\"\nversion = \"1\"\n[[order]]\n[[order.group]]\nid = \"a b\"\n",
                "a b",
            ),
            (
                "api = \"0.10\"\n[buildpack]\nid = \"x\"\nversion = \"1\"\n[[order]]\n[[stacks]]\nid = \"*\"\n",
                "one of them",
            ),
            ("api = \"0.12\"\n[buildpack]\nid = \"x\"\nversion = \"1\"\nexec-env = [\"test\"]\n", "production"),
        ] {
            assert!(fault(text).contains(says), "{text}: {}", fault(text));
        }
        assert!(read(b"\xff", &here()).unwrap_err().contains("UTF-8"));
    }
}
