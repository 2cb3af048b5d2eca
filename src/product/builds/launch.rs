//! `launch.toml` of one buildpack (buildpack specification, "launch.toml"): which processes its image has, labels, and
//! parts of the tree that are layers of their own; pure. All of it is hostile.
//!
//! A process of API 0.8 may be a line of a shell's, before which scripts of layers are sourced; from 0.9 on it is a list.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;

use super::descriptor::Api;
use super::result::FoundLayer;
use crate::base::model::{Process, ProcessName};

/// Of one buildpack.
const MOST: usize = 100;
const WORKSPACE: &str = "/workspace";

/// Sources the scripts, then becomes the command: one word is a shell's line, each of several stands for itself once its
/// variables are put in ("Launch"). Words: number of scripts, scripts, command. It runs in the app's own image only.
const SHELL: &str = r#"for ((n = $1; n > 0; n--)); do . "$2"; set -- "$1" "${@:3}"; done; shift
if (($# == 1)); then exec bash -c "$1"; fi
words=(); for word; do eval "words+=(\"$word\")"; done; exec "${words[@]}""#;

#[derive(Debug, Default)]
pub(super) struct Launch {
    pub processes: BTreeMap<ProcessName, Launched>,
    pub labels: BTreeMap<String, String>,
    /// Patterns of each, in the order of the file.
    pub slices: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Launched {
    /// What its buildpack calls it.
    pub r#type: String,
    pub process: Process,
    /// What an image starts with that is not told what to start.
    pub default: bool,
    /// To be sourced by the shell that starts it.
    pub is_shell: bool,
    /// Id of the buildpack that it is of.
    pub buildpack: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    processes: Vec<Entry>,
    #[serde(default)]
    slices: Vec<Slice>,
}

#[derive(Deserialize)]
struct Label {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    r#type: String,
    command: Words,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    direct: bool,
    #[serde(default)]
    default: bool,
    working_dir: Option<String>,
    #[serde(default)]
    exec_env: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Line(String),
    List(Vec<String>),
}

#[derive(Deserialize)]
struct Slice {
    #[serde(default)]
    paths: Vec<String>,
}

/// The cause completes "launch.toml …: it …".
pub(super) fn read(text: &str, api: Api) -> Result<Launch, String> {
    let file: Document = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if file.processes.len() > MOST || file.labels.len() > MOST || file.slices.len() > MOST {
        return Err(format!("it names more than {MOST} processes, labels or slices"));
    }
    let mut launch = Launch::default();
    for entry in file.processes {
        if !entry.exec_env.is_empty() && !entry.exec_env.iter().any(|e| e == "production" || e == "*") {
            continue;
        }
        let name = name_of(&entry.r#type)?;
        let launched = launched(&name, entry, api)?;
        if launch.processes.insert(name.clone(), launched).is_some() {
            return Err(format!("it names the process \"{name}\" twice"));
        }
    }
    if launch.processes.values().filter(|launched| launched.default).count() > 1 {
        return Err("it says of more than one process that it is the default".to_owned());
    }
    for label in file.labels {
        if launch.labels.insert(label.key.clone(), label.value).is_some() {
            return Err(format!("it names the label \"{}\" twice", label.key));
        }
    }
    for slice in file.slices {
        let patterns: Option<Vec<_>> = slice.paths.iter().map(|path| below_workspace(path)).collect();
        launch.slices.push(patterns.ok_or("a slice has a path outside of the app's directory")?);
    }
    Ok(launch)
}

/// A type has more characters than a name of a process here: capitals, `.` and `_` are told as their like.
fn name_of(r#type: &str) -> Result<ProcessName, String> {
    r#type.parse().or_else(|error| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let like = r#type.to_ascii_lowercase().replace(['.', '_'], "-");
        let like = r#type.bytes().all(plain).then(|| like.trim_matches('-').parse().ok()).flatten();
        like.ok_or_else(|| format!("the process type \"{}\" {error}", r#type))
    })
}

fn launched(name: &ProcessName, entry: Entry, api: Api) -> Result<Launched, String> {
    let (words, is_shell) = match (entry.command, api >= Api::LISTS) {
        (Words::List(list), true) => (list, false),
        (Words::Line(line), false) => (vec![line], !entry.direct),
        (Words::Line(_), true) => {
            return Err(format!("the command of the process \"{name}\" is a text; in API {api} it is a list"));
        }
        (Words::List(_), false) => {
            return Err(format!("the command of the process \"{name}\" is a list; in API {api} it is a text"));
        }
    };
    let command: Vec<String> = words.into_iter().chain(entry.args).collect();
    if command.first().is_none_or(String::is_empty) || command.iter().any(|word| word.contains('\0')) {
        return Err(format!("the process \"{name}\" has no command"));
    }
    let working_dir = match entry.working_dir.as_deref() {
        None | Some("" | ".") => None,
        Some(path) => Some(
            directory(Path::new(path))
                .ok_or_else(|| format!("the process \"{name}\" has a working directory that leaves the image"))?,
        ),
    };
    let process = Process { command, working_dir, port: None };
    Ok(Launched { r#type: entry.r#type, process, default: entry.default, is_shell, buildpack: String::new() })
}

/// What a shell sources before a process of the type, or before what is none: scripts of layers, then the app's own.
pub(super) fn profiles(layers: &[FoundLayer], r#type: Option<&str>, profile: bool) -> Vec<String> {
    let find = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let of = |layer: &FoundLayer| {
            let at = format!("/layers/{}", layer.path());
            layer.scripts.iter().filter(|s| wanted(s)).map(|s| format!("{at}/{s}")).collect::<Vec<_>>()
        };
        layers.iter().filter(|layer| layer.launch).flat_map(of).collect()
    };
    let mut scripts = find(&|script| script.strip_prefix("profile.d/").is_some_and(|file| !file.contains('/')));
    if let Some(own) = r#type.map(|r#type| format!("profile.d/{}/", r#type)) {
        scripts.extend(find(&|script| script.starts_with(&own)));
    }
    scripts.extend(profile.then(|| format!("{WORKSPACE}/.profile")));
    scripts
}

/// The command of a shell's process, which sources what layers have for it (`profile.d`, `profile.d/TYPE`) and the app's own.
pub(super) fn shell_command(command: &[String], r#type: &str, layers: &[FoundLayer], profile: bool) -> Vec<String> {
    let scripts = profiles(layers, Some(r#type), profile);
    let mut words = vec!["bash".to_owned(), "-c".to_owned()];
    match command {
        [line] if scripts.is_empty() => words.push(line.clone()),
        _ => {
            words.extend([SHELL.to_owned(), "bash".to_owned(), scripts.len().to_string()]);
            words.extend(scripts);
            words.extend(command.iter().cloned());
        }
    }
    words
}

/// Absolute, without `..`; relative ones start at the workspace.
fn directory(path: &Path) -> Option<String> {
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_) | Component::CurDir));
    let whole = Path::new(WORKSPACE).join(path);
    whole.to_str().filter(|text| plain && !text.contains('\0')).map(str::to_owned)
}

/// A pattern as it is held against paths in the app's directory; none if it leads out of it.
fn below_workspace(path: &str) -> Option<String> {
    let path = match path.strip_prefix(WORKSPACE) {
        Some(rest) if rest.starts_with('/') => &rest[1..],
        Some("") => "",
        _ if path.starts_with('/') => return None,
        _ => path,
    };
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..") && !path.contains('\0')).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(text: &str, api: u32) -> Launched {
        read(text, Api(api)).unwrap().processes.into_values().next().unwrap()
    }

    #[test]
    fn a_command_is_a_list_from_api_0_9_on() {
        let launched = web("[[processes]]\ntype = \"web\"\ncommand = [\"a\"]\nargs = [\"b\"]\ndefault = true\n", 9);
        assert_eq!(launched.process.command, ["a", "b"]);
        assert!(launched.default && !launched.is_shell);
        let launched = web("[[processes]]\ntype = \"web\"\ncommand = \"a | b\"\n", 8);
        assert!(launched.is_shell && launched.process.command == ["a | b"]);
        let launched = web("[[processes]]\ntype = \"web\"\ncommand = \"a\"\nargs = [\"b c\"]\ndirect = true\n", 8);
        assert!(!launched.is_shell && launched.process.command == ["a", "b c"]);
        for (text, api) in [("command = \"a\"", 9), ("command = [\"a\"]", 8)] {
            assert!(read(&format!("[[processes]]\ntype = \"web\"\n{text}\n"), Api(api)).is_err());
        }
    }

    #[test]
    fn a_shell_s_process_sources_what_is_there_for_it() {
        let name = "web";
        let words = |text: &str| vec![text.to_owned()];
        assert_eq!(shell_command(&words("a | b"), name, &[], false), ["bash", "-c", "a | b"]);
        let layer = FoundLayer {
            buildpack: "one".into(),
            name: "x".into(),
            launch: true,
            scripts: ["exec.d/no", "profile.d/a", "profile.d/web/own", "profile.d/worker/no"]
                .map(str::to_owned)
                .to_vec(),
            ..Default::default()
        };
        let found = shell_command(&words("run"), name, &[layer], true);
        assert_eq!(found[3..5], ["bash", "3"]);
        let sourced = ["/layers/one/x/profile.d/a", "/layers/one/x/profile.d/web/own", "/workspace/.profile", "run"];
        assert_eq!(found[5..], sourced);
    }

    #[test]
    fn a_type_that_is_no_name_here_has_one_like_it() {
        for (given, name) in [("web", "web"), ("My_Tool.v2", "my-tool-v2"), ("_job", "job")] {
            let launch = read(&format!("[[processes]]\ntype = \"{given}\"\ncommand = [\"a\"]\n"), Api(10)).unwrap();
            let (found, launched) = launch.processes.into_iter().next().unwrap();
            assert_eq!((found.as_str(), launched.r#type.as_str()), (name, given));
        }
        let both =
            "[[processes]]\ntype = \"a_b\"\ncommand = [\"x\"]\n[[processes]]\ntype = \"a-b\"\ncommand = [\"x\"]\n";
        assert!(read(both, Api(10)).is_err());
        assert!(read("[[processes]]\ntype = \"__\"\ncommand = [\"x\"]\n", Api(10)).is_err());
    }

    #[test]
    fn a_working_directory_stays_in_the_image() {
        for (text, directory) in [("x", Some("/workspace/x")), ("/srv", Some("/srv")), (".", None), ("", None)] {
            let launch = format!("[[processes]]\ntype = \"web\"\ncommand = [\"a\"]\nworking-dir = \"{text}\"\n");
            assert_eq!(web(&launch, 10).process.working_dir.as_deref(), directory);
        }
    }

    #[test]
    fn slices_are_below_the_app() {
        let launch = read("[[slices]]\npaths = [\"./a/*\", \"/workspace/b\"]\n[[slices]]\n", Api(10)).unwrap();
        assert_eq!(launch.slices, [vec!["a/*".to_owned(), "b".to_owned()], vec![]]);
    }

    #[test]
    fn hostile_files_are_refused() {
        let process = |rest: &str| format!("[[processes]]\ntype = \"web\"\n{rest}\n");
        let twice = format!("{0}{0}", process("command = [\"a\"]"));
        let many: String = (0..=MOST).map(|n| format!("[[processes]]\ntype = \"p{n}\"\ncommand = [\"a\"]\n")).collect();
        for text in [
            "not toml",
            "[[processes]]\ntype = \"We b\"\ncommand = [\"a\"]\n",
            "[[processes]]\ntype = \"web\\\"; id\"\ncommand = [\"a\"]\n",
            "[[processes]]\ntype = \"../x\"\ncommand = [\"a\"]\n",
            &process("command = []"),
            &process("command = [\"\"]"),
            &process("command = [\"a\\u0000b\"]"),
            &process("command = [\"a\"]\nworking-dir = \"../x\""),
            &twice,
            &many,
            "[[labels]]\nkey = \"k\"\nvalue = \"1\"\n[[labels]]\nkey = \"k\"\nvalue = \"2\"\n",
            "[[slices]]\npaths = [\"../x\"]\n",
            "[[slices]]\npaths = [\"/etc\"]\n",
        ] {
            assert!(read(text, Api(10)).is_err(), "{text}");
        }
    }
}
