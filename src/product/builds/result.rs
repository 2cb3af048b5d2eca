//! What a build left behind, read out of the driver's answer. All of it is hostile: names have a grammar, numbers are
//! bounded, and what does not parse is a failure that names the file.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use libcnb_data::launch::{Launch, WorkingDirectory};
use libcnb_data::layer_content_metadata::LayerContentMetadata;

use super::BuildFailure;
use super::messages;
use crate::base::model::{Process, ProcessName, Processes};

/// Layers of one buildpack.
const LAYERS: usize = 100;
/// Processes of one buildpack.
const PROCESSES: usize = 100;
const WORKSPACE: &str = "/workspace";

/// The words of an answer, in pairs of name and text.
pub(super) fn words(answer: &[u8]) -> Vec<(String, String)> {
    let mut words = answer.split(|&b| b == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut pairs = Vec::new();
    while let (Some(name), Some(text)) = (words.next(), words.next()) {
        pairs.push((name, text));
    }
    pairs
}

#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// In the order of the group, then by name.
    pub layers: Vec<FoundLayer>,
    pub processes: Processes,
    /// By key; those of later buildpacks win.
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(super) struct FoundLayer {
    /// Directory of its buildpack below `/layers`.
    pub buildpack: String,
    pub name: String,
    pub launch: bool,
    pub build: bool,
    pub cache: bool,
    /// The layer's toml without its types, as a later build gets it back.
    pub metadata: String,
    /// None if there is no directory, or no fingerprint could be made.
    pub fingerprint: Option<String>,
    pub has_directory: bool,
    pub has_bin: bool,
    pub has_lib: bool,
    /// Files of `env` and `env.launch`, in this order: file name, content.
    pub environment: Vec<(String, String)>,
}

impl FoundLayer {
    pub fn path(&self) -> String {
        format!("{}/{}", self.buildpack, self.name)
    }
}

/// `group`: the buildpacks' directories in the order of building.
pub(super) fn read(group: &[String], words: &[(String, String)]) -> Result<Outcome, BuildFailure> {
    let mut outcome = Outcome::default();
    let files: BTreeMap<&str, &str> =
        words.iter().filter_map(|(name, text)| Some((name.strip_prefix("layers/")?, text.as_str()))).collect();
    let facts: BTreeMap<&str, Vec<&str>> = words
        .iter()
        .filter(|(name, _)| name == "layer")
        .filter_map(|(_, text)| {
            let mut parts = text.split_whitespace();
            Some((parts.next()?, parts.collect()))
        })
        .collect();
    for buildpack in group {
        let mut count = 0;
        for (path, text) in files.iter().filter(|(path, _)| path.starts_with(&format!("{buildpack}/"))) {
            let Some(name) = path[buildpack.len() + 1..].strip_suffix(".toml") else { continue };
            if name.contains('/') || ["launch", "build", "store"].contains(&name) {
                continue;
            }
            count += 1;
            if !is_layer_name(name) || count > LAYERS {
                return Err(messages::result_invalid("layer", &format!("\"{name}\" cannot be the name of a layer")));
            }
            outcome.layers.push(layer(buildpack, name, text, &files, &facts)?);
        }
        if let Some(text) = files.get(format!("{buildpack}/launch.toml").as_str()) {
            take_launch(text, &mut outcome)?;
        }
    }
    Ok(outcome)
}

fn is_layer_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn layer(
    buildpack: &str,
    name: &str,
    text: &str,
    files: &BTreeMap<&str, &str>,
    facts: &BTreeMap<&str, Vec<&str>>,
) -> Result<FoundLayer, BuildFailure> {
    let file = format!("{name}.toml");
    let parsed: LayerContentMetadata<Option<toml::Table>> =
        toml::from_str(text).map_err(|error| messages::result_invalid(&file, error.message()))?;
    let types = parsed.types.unwrap_or_default();
    let metadata = match parsed.metadata {
        Some(metadata) => toml::to_string(&toml::Table::from_iter([("metadata".to_owned(), metadata.into())]))
            .map_err(|error| messages::result_invalid(&file, &error.to_string()))?,
        None => String::new(),
    };
    let path = format!("{buildpack}/{name}");
    let fact = facts.get(path.as_str());
    let has = |part| fact.is_some_and(|parts| parts.iter().skip(1).any(|p| *p == part));
    let fingerprint = fact.and_then(|parts| parts.first()).filter(|print| print.len() == 64);
    let mut environment = Vec::new();
    for folder in ["env", "env.launch"] {
        let prefix = format!("{path}/{folder}/");
        let within = files.range(prefix.as_str()..).take_while(|(path, _)| path.starts_with(&prefix));
        environment.extend(within.map(|(path, text)| (path[prefix.len()..].to_owned(), (*text).to_owned())));
    }
    Ok(FoundLayer {
        buildpack: buildpack.to_owned(),
        name: name.to_owned(),
        launch: types.launch,
        build: types.build,
        cache: types.cache,
        metadata,
        fingerprint: fingerprint.map(|print| (*print).to_owned()),
        has_directory: fact.is_some(),
        has_bin: has("bin"),
        has_lib: has("lib"),
        environment,
    })
}

fn take_launch(text: &str, outcome: &mut Outcome) -> Result<(), BuildFailure> {
    let invalid = |cause: &str| messages::result_invalid("launch.toml", cause);
    let launch: Launch = toml::from_str(text).map_err(|error| invalid(error.message()))?;
    if launch.processes.len() > PROCESSES {
        return Err(invalid("it names too many processes"));
    }
    for process in launch.processes {
        let name: ProcessName = process
            .r#type
            .as_str()
            .parse()
            .map_err(|error| invalid(&format!("the process type \"{}\" {error}", process.r#type.as_str())))?;
        let command: Vec<String> = process.command.into_iter().chain(process.args).collect();
        if command.first().is_none_or(String::is_empty) || command.iter().any(|word| word.contains('\0')) {
            return Err(invalid(&format!("the process \"{name}\" has no command")));
        }
        let working_dir = match process.working_directory {
            WorkingDirectory::App => None,
            WorkingDirectory::Directory(path) if path == Path::new(".") => None,
            WorkingDirectory::Directory(path) => Some(directory(&path).ok_or_else(|| {
                invalid(&format!("the process \"{name}\" has a working directory that leaves the image"))
            })?),
        };
        outcome.processes.insert(name, Process { command, working_dir, port: None });
    }
    outcome.labels.extend(launch.labels.into_iter().take(PROCESSES).map(|label| (label.key, label.value)));
    Ok(())
}

/// Absolute, without `..`; relative ones start at the workspace.
fn directory(path: &Path) -> Option<String> {
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_) | Component::CurDir));
    let whole = Path::new(WORKSPACE).join(path);
    whole.to_str().filter(|text| plain && !text.contains('\0')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(files: &[(&str, &str)]) -> Result<Outcome, BuildFailure> {
        let words: Vec<_> = files.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        read(&["one".to_owned(), "two".to_owned()], &words)
    }

    #[test]
    fn words_come_in_pairs() {
        assert_eq!(words(b"a\0b\0c\0\0odd"), [("a".into(), "b".into()), ("c".into(), String::new())]);
        assert!(words(b"").is_empty());
    }

    #[test]
    fn layers_processes_and_labels() {
        let print = "a".repeat(64);
        let found = outcome(&[
            ("layer", &format!("one/deps {print} bin")),
            ("layers/one/deps.toml", "[types]\nlaunch = true\ncache = true\n[metadata]\nkey = \"k\"\n"),
            ("layers/one/deps/env/A.override", "1"),
            ("layers/one/deps/env.launch/A.append", "2"),
            (
                "layers/one/launch.toml",
                "[[processes]]\ntype = \"web\"\ncommand = [\"a\"]\nargs = [\"b\"]\nworking-dir = \"x\"\n",
            ),
            (
                "layers/two/launch.toml",
                "[[processes]]\ntype = \"web\"\ncommand = [\"c\"]\n[[labels]]\nkey = \"k\"\nvalue = \"v\"\n",
            ),
            ("layers/three/launch.toml", "[[processes]]\ntype = \"other\"\ncommand = [\"c\"]\n"),
        ])
        .unwrap();
        let layer = &found.layers[0];
        assert!(layer.launch && layer.cache && !layer.build && layer.has_bin && !layer.has_lib && layer.has_directory);
        assert_eq!(layer.fingerprint.as_deref(), Some(print.as_str()));
        assert_eq!(layer.metadata, "[metadata]\nkey = \"k\"\n");
        assert_eq!(layer.environment, [("A.override".into(), "1".into()), ("A.append".into(), "2".into())]);
        assert_eq!(found.processes.len(), 1);
        assert_eq!(found.processes.values().next().unwrap().command, ["c"]);
        assert_eq!(found.labels["k"], "v");
    }

    #[test]
    fn a_working_directory_stays_in_the_image() {
        for (text, directory) in [("x", Some("/workspace/x")), ("/srv", Some("/srv")), (".", None)] {
            let launch = format!("[[processes]]\ntype = \"web\"\ncommand = [\"a\"]\nworking-dir = \"{text}\"\n");
            let found = outcome(&[("layers/one/launch.toml", &launch)]).unwrap();
            assert_eq!(found.processes.values().next().unwrap().working_dir.as_deref(), directory);
        }
        let launch = "[[processes]]\ntype = \"web\"\ncommand = [\"a\"]\nworking-dir = \"../x\"\n";
        assert!(outcome(&[("layers/one/launch.toml", launch)]).is_err());
    }

    #[test]
    fn hostile_results_are_refused() {
        for (name, text) in [
            ("layers/one/launch.toml", "not toml"),
            ("layers/one/launch.toml", "[[processes]]\ntype = \"We b\"\ncommand = [\"a\"]\n"),
            ("layers/one/launch.toml", "[[processes]]\ntype = \"WEB\"\ncommand = [\"a\"]\n"),
            ("layers/one/launch.toml", "[[processes]]\ntype = \"web\"\ncommand = []\n"),
            ("layers/one/x.toml", "[types]\nlaunch = 1\n"),
            ("layers/one/-rf.toml", ""),
            ("layers/one/a b.toml", ""),
            ("layers/one/$(id).toml", ""),
        ] {
            assert!(outcome(&[(name, text)]).is_err(), "{name}: {text}");
        }
    }
}
