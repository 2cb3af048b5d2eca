//! What a buildpack left behind, read out of the driver's answer. All of it is hostile: names have a grammar, numbers are
//! bounded, and what does not parse is a failure that names the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Table;

use super::BuildFailure;
use super::messages;

/// Layers of one buildpack.
const LAYERS: usize = 100;
/// Files that one layer sets variables with.
const VARIABLES: usize = 1000;
/// Scripts of one layer that are to run before its processes.
const SCRIPTS: usize = 100;
/// Bytes of one file; the driver cuts off what is longer than this and one more.
const LONGEST: usize = (256 << 10) - 1;
/// Bill of materials of a layer, of the image or of the build (buildpack specification, "Software-Bill-of-Materials").
pub(super) const SBOM_KINDS: [&str; 3] = ["cdx.json", "spdx.json", "syft.json"];

/// The words of an answer, in pairs of name and text.
pub(super) fn words(answer: &[u8]) -> Vec<(String, String)> {
    let mut words = answer.split(|&b| b == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut pairs = Vec::new();
    while let (Some(name), Some(text)) = (words.next(), words.next()) {
        pairs.push((name, text));
    }
    pairs
}

/// Of one buildpack.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of their names.
    pub layers: Vec<FoundLayer>,
    pub launch: Option<String>,
    /// Names of its plan's entries that it leaves to others.
    pub unmet: Vec<String>,
    /// What it wants to find again at the next build.
    pub store: Option<String>,
    /// `launch.sbom.cdx.json` and its like, of known kinds.
    pub sboms: Vec<String>,
}

#[derive(Debug, Default, Clone)]
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
    /// Directories that paths lead to.
    pub parts: Vec<String>,
    /// Texts by folder (`env`, `env.build`, `env.launch`, `env.launch/web`) and file.
    pub environment: BTreeMap<(String, String), String>,
    /// Files below `exec.d` and `profile.d`, from there, in the order of running.
    pub scripts: Vec<String>,
}

impl FoundLayer {
    pub fn path(&self) -> String {
        format!("{}/{}", self.buildpack, self.name)
    }

    /// Of no use to anybody but its buildpack ("Ignored layers").
    pub fn is_ignored(&self) -> bool {
        !(self.launch || self.build || self.cache)
    }
}

/// `buildpack`: its directory below `/layers`; `title` is for people.
pub(super) fn read(buildpack: &str, title: &str, words: &[(String, String)]) -> Result<Found, BuildFailure> {
    let invalid = |file: &str, cause: &str| messages::result_invalid(title, file, cause);
    let prefix = format!("layers/{buildpack}/");
    let files: BTreeMap<&str, &str> =
        words.iter().filter_map(|(name, text)| Some((name.strip_prefix(&prefix)?, text.as_str()))).collect();
    if let Some((file, _)) = files.iter().find(|(_, text)| text.len() > LONGEST) {
        return Err(invalid(file, &format!("it is longer than {LONGEST} bytes")));
    }
    let mut found = Found { store: files.get("store.toml").map(|text| (*text).to_owned()), ..Found::default() };
    for (file, text) in files.iter().filter_map(|(path, text)| Some((path.strip_suffix(".toml")?, text))) {
        if file.contains('/') || ["launch", "build", "store"].contains(&file) {
            continue;
        }
        if !is_layer_name(file) || found.layers.len() == LAYERS {
            let cause = "a layer's name is 1 to 128 letters, digits, \".\", \"_\" and \"-\", and there are at most 100";
            return Err(invalid(&format!("{file}.toml"), cause));
        }
        let layer = layer(buildpack, file, text, &files, words).map_err(|(file, cause)| invalid(&file, &cause))?;
        found.layers.push(layer);
    }
    found.layers.sort_by(|a, b| a.name.cmp(&b.name));
    found.launch = files.get("launch.toml").map(|text| (*text).to_owned());
    if let Some(text) = files.get("build.toml") {
        found.unmet = unmet(text).map_err(|cause| invalid("build.toml", &cause))?;
    }
    if let Some(text) = &found.store {
        toml::from_str::<Table>(text).map_err(|error| invalid("store.toml", error.message()))?;
    }
    let sboms = words.iter().filter(|(name, _)| name == "sbom");
    let sboms = sboms.filter_map(|(_, path)| path.strip_prefix(buildpack)?.strip_prefix('/'));
    found.sboms = sboms.filter(|file| is_sbom(file)).map(str::to_owned).collect();
    Ok(found)
}

fn is_layer_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_sbom(file: &str) -> bool {
    file.split_once(".sbom.").is_some_and(|(of, kind)| is_layer_name(of) && SBOM_KINDS.contains(&kind))
}

fn unmet(text: &str) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Build {
        #[serde(default)]
        unmet: Vec<Unmet>,
    }
    #[derive(Deserialize)]
    struct Unmet {
        name: String,
    }
    let build: Build = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(build.unmet.into_iter().map(|unmet| unmet.name).collect())
}

/// The types of a layer's toml, and the toml without them. What it does not know it leaves alone.
pub(super) fn types_of(text: &str) -> Result<((bool, bool, bool), String), String> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        types: Types,
        /// Anything, also a single text.
        metadata: Option<toml::Value>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Types {
        launch: bool,
        build: bool,
        cache: bool,
    }
    let Document { types, metadata } = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let metadata = match metadata {
        Some(metadata) => toml::to_string(&Table::from_iter([("metadata".to_owned(), metadata)]))
            .map_err(|error| error.to_string())?,
        None => String::new(),
    };
    Ok(((types.launch, types.build, types.cache), metadata))
}

fn layer(
    buildpack: &str,
    name: &str,
    text: &str,
    files: &BTreeMap<&str, &str>,
    words: &[(String, String)],
) -> Result<FoundLayer, (String, String)> {
    let toml = format!("{name}.toml");
    let ((launch, build, cache), metadata) = types_of(text).map_err(|cause| (toml, cause))?;
    let path = format!("{buildpack}/{name}");
    let facts = words.iter().filter(|(word, _)| word == "layer");
    let mut facts =
        facts.filter_map(|(_, text)| text.strip_prefix(&path)).filter(|t| t.is_empty() || t.starts_with(' '));
    let fact = facts.next();
    let parts: Vec<String> = fact.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect();
    if parts.iter().any(|part| part == "link") {
        return Err((name.to_owned(), "it is a link; a layer is a directory of its own".to_owned()));
    }
    let mut environment = BTreeMap::new();
    for (file, text) in files.range(format!("{name}/").as_str()..).take_while(|(file, _)| within(file, name)) {
        let Some((folder, file)) = file[name.len() + 1..].rsplit_once('/') else { continue };
        environment.insert((folder.to_owned(), file.to_owned()), (*text).to_owned());
    }
    if environment.len() > VARIABLES {
        return Err((format!("{name}/env"), format!("it has more than {VARIABLES} files")));
    }
    let scripts = words.iter().filter(|(word, _)| word == "script");
    let scripts = scripts.filter_map(|(_, file)| file.strip_prefix(&path)?.strip_prefix('/'));
    let mut scripts: Vec<_> = scripts.map(str::to_owned).collect();
    scripts.sort();
    scripts.dedup();
    if scripts.len() > SCRIPTS || scripts.iter().any(|script| script.split('/').any(|part| part == "..")) {
        return Err((
            format!("{name}/exec.d"),
            format!("it has more than {SCRIPTS} files, or one outside of the layer"),
        ));
    }
    Ok(FoundLayer {
        buildpack: buildpack.to_owned(),
        name: name.to_owned(),
        launch,
        build,
        cache,
        metadata,
        fingerprint: None,
        has_directory: fact.is_some(),
        parts,
        environment,
        scripts,
    })
}

fn within(file: &str, layer: &str) -> bool {
    file.strip_prefix(layer).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Result<Found, BuildFailure> {
        let words: Vec<_> = files.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        read("one", "One", &words)
    }

    #[test]
    fn words_come_in_pairs() {
        assert_eq!(words(b"a\0b\0c\0\0odd"), [("a".into(), "b".into()), ("c".into(), String::new())]);
        assert!(words(b"").is_empty());
    }

    #[test]
    fn layers_and_what_is_said_of_them() {
        let found = found(&[
            ("layer", "one/deps bin exec.d"),
            ("layer", "one/deps-more lib"),
            ("layers/one/deps.toml", "[types]\nlaunch = true\ncache = true\n[metadata]\nkey = \"k\"\n"),
            ("layers/one/deps-more.toml", "types.build = true\n"),
            ("layers/one/inline.toml", "types = { launch = true, metadata = \"x\" }\nlaunch = false\n"),
            ("layers/one/none.toml", "metadata = \"a text\"\n"),
            ("layers/one/deps/env/A.override", "1"),
            ("layers/one/deps/env.launch/A.append", "2"),
            ("layers/one/deps/env.launch/web/A", "3"),
            ("layers/one/build.toml", "[[unmet]]\nname = \"x\"\n"),
            ("layers/one/store.toml", "[metadata]\nn = 1\n"),
            ("layers/one/launch.toml", "anything"),
            ("layers/other/x.toml", ""),
            ("script", "one/deps/exec.d/b"),
            ("script", "one/deps/exec.d/a"),
            ("sbom", "one/deps.sbom.cdx.json"),
            ("sbom", "one/deps.sbom.exe"),
        ])
        .unwrap();
        let names: Vec<_> = found.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["deps", "deps-more", "inline", "none"]);
        let layer = &found.layers[0];
        assert!(layer.launch && layer.cache && !layer.build && layer.has_directory && layer.parts == ["bin", "exec.d"]);
        assert_eq!(layer.metadata, "[metadata]\nkey = \"k\"\n");
        let keys: Vec<_> = layer.environment.keys().map(|(folder, file)| format!("{folder}/{file}")).collect();
        assert_eq!(keys, ["env/A.override", "env.launch/A.append", "env.launch/web/A"]);
        assert_eq!(layer.scripts, ["exec.d/a", "exec.d/b"]);
        assert!(found.layers[1].build && found.layers[2].launch && found.layers[3].is_ignored());
        assert!(!found.layers[2].has_directory);
        assert_eq!(found.layers[3].metadata, "metadata = \"a text\"\n");
        assert_eq!((found.unmet, found.sboms), (vec!["x".to_owned()], vec!["deps.sbom.cdx.json".to_owned()]));
        assert!(found.store.is_some() && found.launch.is_some());
    }

    #[test]
    fn hostile_results_are_refused_by_name() {
        let long = "#".repeat(LONGEST + 1);
        for (name, text, says) in [
            ("layers/one/x.toml", "[types]\nlaunch = 1\n", "x.toml"),
            ("layers/one/x.toml", "not toml", "x.toml"),
            ("layers/one/x.toml", long.as_str(), "longer"),
            ("layers/one/-rf.toml", "", "-rf.toml"),
            ("layers/one/..toml", "", "name"),
            ("layers/one/a b.toml", "", "a b.toml"),
            ("layers/one/$(id).toml", "", "$(id).toml"),
            ("layers/one/build.toml", "unmet = 1", "build.toml"),
            ("layers/one/store.toml", "[", "store.toml"),
        ] {
            let said = found(&[(name, text)]).expect_err(name).lines.join("\n");
            assert!(said.contains(says) && said.contains("One"), "{name}: {said}");
        }
        let link = found(&[("layers/one/x.toml", ""), ("layer", "one/x link")]).unwrap_err();
        assert!(link.lines.join("\n").contains("it is a link"));
        let name = "n".repeat(4096);
        assert!(found(&[(&format!("layers/one/{name}.toml"), "")]).is_err());
        let many: Vec<_> = (0..=LAYERS).map(|n| (format!("layers/one/l{n}.toml"), String::new())).collect();
        assert!(read("one", "One", &many).is_err());
    }
}
