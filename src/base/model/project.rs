//! `project.toml` of a pushed tree (project descriptor extension of the buildpack specification): which buildpacks, which
//! variables at build, which files. Pure: text in, project or fault out. Schemas 0.1 and 0.2; tables of others are left alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BuildpackRef, ChosenBuildpack, MOST_BUILDPACKS};

const MOST_PATTERNS: usize = 500;
const LONGEST_PATTERN: usize = 1024;

/// Every part may be missing; none at all is a tree without the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// One group, in the order of building. None: whichever of the platform's own know the tree.
    pub buildpacks: Vec<ChosenBuildpack>,
    /// Variables of the build; those of the environment go before.
    pub variables: BTreeMap<String, String>,
    pub files: Files,
}

/// Which files of the tree a build sees, by patterns of a `.gitignore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Files {
    #[default]
    All,
    Only(Vec<String>),
    Without(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("project.toml: {0}")]
pub struct ProjectFault(String);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    #[serde(rename = "_")]
    meta: Meta,
    io: Io,
    /// Schema 0.1.
    build: Old,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Meta {
    schema_version: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Io {
    buildpacks: Buildpacks,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Buildpacks {
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    group: Vec<Member>,
    pre: Side,
    post: Side,
    build: Build,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Side {
    group: Vec<Member>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Build {
    env: Vec<Variable>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Old {
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    buildpacks: Vec<Member>,
    env: Vec<Variable>,
}

#[derive(Deserialize)]
struct Member {
    id: Option<String>,
    version: Option<String>,
    uri: Option<String>,
    #[serde(default)]
    optional: bool,
    /// Present or not is all that matters.
    script: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl Project {
    /// Faults name the place.
    pub fn parse(text: &[u8]) -> Result<Self, ProjectFault> {
        let text = std::str::from_utf8(text).map_err(|_| ProjectFault("is no UTF-8 text".into()))?;
        let file: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ProjectFault(format!("line {line}: {}", error.message()))
        })?;
        match file.meta.schema_version.as_deref() {
            None | Some("0.1" | "0.2") => {}
            Some(other) => return Err(fault("_.schema-version", &format!("is \"{other}\"; there are 0.1 and 0.2"))),
        }
        let own = file.io.buildpacks;
        let tables = [
            ("io.buildpacks.pre.group", own.pre.group),
            ("io.buildpacks.group", own.group),
            ("build.buildpacks", file.build.buildpacks),
            ("io.buildpacks.post.group", own.post.group),
        ];
        let mut project = Self::default();
        for (at, members) in tables {
            for (index, member) in members.into_iter().enumerate() {
                project.buildpacks.push(chosen(&format!("{at}[{index}]"), member)?);
            }
        }
        if project.buildpacks.len() > MOST_BUILDPACKS {
            return Err(fault("io.buildpacks.group", &format!("has more than {MOST_BUILDPACKS} buildpacks")));
        }
        for (at, list) in [("io.buildpacks.build.env", own.build.env), ("build.env", file.build.env)] {
            for Variable { name, value } in list {
                if name.parse::<super::VariableName>().is_err() || value.contains('\0') {
                    return Err(fault(at, &format!("\"{name}\" cannot be the name of a variable")));
                }
                project.variables.insert(name, value);
            }
        }
        let (include, exclude) = (own.include.or(file.build.include), own.exclude.or(file.build.exclude));
        project.files = match (include, exclude) {
            (Some(_), Some(_)) => return Err(fault("include", "and exclude cannot both be there: keep one of them")),
            (Some(patterns), None) => Files::Only(patterns),
            (None, Some(patterns)) => Files::Without(patterns),
            (None, None) => Files::All,
        };
        if let Files::Only(patterns) | Files::Without(patterns) = &project.files
            && (patterns.len() > MOST_PATTERNS
                || patterns.iter().any(|p| p.len() > LONGEST_PATTERN || p.contains(['\0', '\n'])))
        {
            return Err(fault("include or exclude", "has too many patterns, or one that is no single line"));
        }
        Ok(project)
    }
}

fn chosen(at: &str, member: Member) -> Result<ChosenBuildpack, ProjectFault> {
    if member.script.is_some() {
        return Err(fault(
            at,
            "has an inline script, which is not supported: make it a directory with a buildpack.toml",
        ));
    }
    let reference = match (member.uri, member.id, member.version) {
        (Some(uri), _, _) => BuildpackRef::of_uri(&uri),
        (None, Some(id), None) => id.parse(),
        (None, Some(id), Some(version)) => format!("{id}@{version}").parse(),
        (None, None, _) => return Err(fault(at, "must have an id or a uri")),
    };
    let reference = reference.map_err(|error| fault(at, &error.to_string()))?;
    Ok(ChosenBuildpack { reference, optional: member.optional })
}

fn fault(at: &str, what: &str) -> ProjectFault {
    ProjectFault(format!("{at}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Project {
        Project::parse(text.as_bytes()).unwrap()
    }

    fn names(project: &Project) -> Vec<String> {
        project.buildpacks.iter().map(|chosen| chosen.reference.to_string()).collect()
    }

    #[test]
    fn both_schemas_say_the_same() {
        let new = read(
            "[_]\nschema-version = \"0.2\"\nid = \"x\"\n[io.buildpacks]\nbuilder = \"x\"\nexclude = [\"docs/\"]\n\
             [[io.buildpacks.group]]\nid = \"hythe/nodejs\"\nversion = \"0.1.0\"\n[[io.buildpacks.group]]\nuri = \"./mine\"\n\
             [[io.buildpacks.build.env]]\nname = \"A\"\nvalue = \"b\"\n[com.example]\nx = 1\n",
        );
        let old = read(
            "[project]\nid = \"x\"\n[build]\nexclude = [\"docs/\"]\n[[build.buildpacks]]\nid = \"hythe/nodejs\"\nversion = \"0.1.0\"\n\
             [[build.buildpacks]]\nuri = \"mine\"\n[[build.env]]\nname = \"A\"\nvalue = \"b\"\n",
        );
        assert_eq!(new, old);
        assert_eq!(names(&new), ["hythe/nodejs@0.1.0", "./mine"]);
        assert_eq!(new.variables["A"], "b");
        assert_eq!(new.files, Files::Without(vec!["docs/".into()]));
        assert_eq!(read(""), Project::default());
    }

    #[test]
    fn what_stands_before_and_after_the_group_frames_it() {
        let project = read(
            "[[io.buildpacks.post.group]]\nid = \"c\"\n[[io.buildpacks.group]]\nid = \"b\"\noptional = true\n\
             [[io.buildpacks.pre.group]]\nid = \"a\"\n",
        );
        assert_eq!(names(&project), ["a", "b", "c"]);
        assert!(project.buildpacks[1].optional);
    }

    #[test]
    fn a_fault_names_its_place() {
        for (text, says) in [
            ("a = ", "line 1"),
            ("\n[io", "line 2"),
            ("[_]\nschema-version = \"9\"", "schema-version"),
            ("[[io.buildpacks.group]]\nversion = \"1\"", "io.buildpacks.group[0]"),
            ("[[io.buildpacks.group]]\nid = \"a\"\n[[io.buildpacks.group]]\nuri = \"../x\"", "io.buildpacks.group[1]"),
            ("[[io.buildpacks.group]]\nid = \"a\"\n[io.buildpacks.group.script]\ninline = \"x\"", "script"),
            ("[[build.buildpacks]]\nuri = \"git@example.com:x\"", "git address"),
            ("[io.buildpacks]\ninclude = []\nexclude = []", "both"),
            ("[[build.env]]\nname = \"a b\"\nvalue = \"\"", "build.env"),
            ("[[build.env]]\nname = \"PORT\"\nvalue = \"\"", "build.env"),
        ] {
            let said = Project::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(said.starts_with("project.toml: ") && said.contains(says), "{text}: {said}");
        }
    }
}
