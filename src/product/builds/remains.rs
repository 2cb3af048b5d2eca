//! What of earlier builds the buildpacks of the next one find (buildpack specification, "Layer types"); pure. Layers that
//! were cached come with what was said of them, or not at all; of those for launch only, the words come without the files.

use std::collections::{BTreeMap, BTreeSet};

use super::cache::{Cache, KeptLayer};
use super::result::types_of;

/// What a sandbox has below `/layers`.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// A build in it has not come to its end.
    pub unfinished: bool,
    tomls: BTreeMap<String, String>,
    directories: BTreeSet<String>,
}

/// What stays below `/layers`; the rest goes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Kept {
    /// Of layers with their files: `buildpack/layer`.
    pub paths: Vec<String>,
    /// Texts by path.
    pub tomls: BTreeMap<String, String>,
}

impl Remains {
    pub fn read(words: &[(String, String)]) -> Self {
        let mut remains = Self::default();
        for (name, text) in words {
            match (name.as_str(), name.strip_prefix("layers/")) {
                ("unfinished", _) => remains.unfinished = true,
                ("directory", _) => drop(remains.directories.insert(text.clone())),
                (_, Some(path)) => drop(remains.tomls.insert(path.to_owned(), text.clone())),
                _ => {}
            }
        }
        remains
    }

    /// In a sandbox that was used before, for the buildpacks with these directories.
    pub fn kept(&self, cache: &Cache, group: &[String]) -> Kept {
        let mut kept = words_only(cache, group);
        for (file, text) in &self.tomls {
            let Some((path, buildpack)) = file.strip_suffix(".toml").and_then(|p| Some((p, p.split_once('/')?.0)))
            else {
                continue;
            };
            let Ok(((launch, build, cached), metadata)) = types_of(text) else { continue };
            // Without types it was set aside by a build that failed: then what the last whole one said of it holds.
            let untyped = !(launch || build || cached);
            let cached = cached || (untyped && cache.layer(path).is_some_and(|layer| layer.cache));
            let name = &path[buildpack.len() + 1..];
            let is_layer = !["launch", "build", "store"].contains(&name);
            if cached && is_layer && self.directories.contains(path) && group.iter().any(|own| own == buildpack) {
                kept.paths.push(path.to_owned());
                kept.tomls.insert(file.clone(), metadata);
            }
        }
        kept
    }
}

/// In a fresh sandbox, where the files of these layers were put back.
pub(super) fn restored(cache: &Cache, group: &[String], layers: &[&KeptLayer]) -> Kept {
    let mut kept = words_only(cache, group);
    for layer in layers {
        kept.paths.push(layer.path());
        kept.tomls.insert(format!("{}.toml", layer.path()), layer.metadata.clone());
    }
    kept
}

fn words_only(cache: &Cache, group: &[String]) -> Kept {
    let mut kept = Kept::default();
    for layer in cache.layers.iter().filter(|layer| layer.launch && !layer.build && !layer.cache) {
        if group.contains(&layer.buildpack) && layer.blob.is_some() {
            kept.tomls.insert(format!("{}.toml", layer.path()), layer.metadata.clone());
        }
    }
    for (buildpack, text) in cache.stores.iter().filter(|(buildpack, _)| group.contains(buildpack)) {
        kept.tomls.insert(format!("{buildpack}/store.toml"), text.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machinery::image::Digest;

    /// `lbc` in any part.
    fn layer(name: &str, types: &str) -> KeptLayer {
        KeptLayer {
            buildpack: "one".into(),
            name: name.into(),
            launch: types.contains('l'),
            build: types.contains('b'),
            cache: types.contains('c'),
            metadata: "[metadata]\nof = \"before\"\n".into(),
            fingerprint: None,
            parts: Vec::new(),
            scripts: Vec::new(),
            environment: BTreeMap::new(),
            boms: BTreeMap::new(),
            blob: Some((Digest::of(b"x"), 1)),
        }
    }

    fn toml(types: &str) -> String {
        let (launch, build, cache) = (types.contains('l'), types.contains('b'), types.contains('c'));
        format!("[types]\nlaunch = {launch}\nbuild = {build}\ncache = {cache}\n[metadata]\nof = \"now\"\n")
    }

    /// The table of the specification: whether the words and whether the files come back.
    #[test]
    fn each_combination_of_types() {
        let group = ["one".to_owned()];
        for (types, words, files) in [
            ("lbc", true, true),
            ("bc", true, true),
            ("lb", false, false),
            ("b", false, false),
            ("lc", true, true),
            ("c", true, true),
            ("l", true, false),
            ("", false, false),
        ] {
            let cache = Cache { layers: vec![layer("x", types)], ..Cache::default() };
            let answer = [("layers/one/x.toml".to_owned(), toml(types)), ("directory".to_owned(), "one/x".to_owned())];
            let kept = Remains::read(&answer).kept(&cache, &group);
            let toml = kept.tomls.get("one/x.toml");
            assert_eq!((toml.is_some(), kept.paths == ["one/x"]), (words, files), "{types}");
            assert!(toml.is_none_or(|text| !text.contains("types")));
            // The same in a fresh sandbox, where only what is cached can be put back.
            let back: Vec<_> = cache.layers.iter().filter(|layer| layer.cache).collect();
            let kept = restored(&cache, &group, &back);
            assert_eq!((kept.tomls.contains_key("one/x.toml"), kept.paths == ["one/x"]), (words, files), "{types}");
        }
    }

    #[test]
    fn words_without_files_and_others_layers_do_not_stay() {
        let cache = Cache { layers: vec![layer("x", "c")], ..Cache::default() };
        let answer = [("layers/one/x.toml".to_owned(), toml("c"))];
        assert_eq!(Remains::read(&answer).kept(&cache, &["one".to_owned()]), Kept::default());
        let answer = [answer[0].clone(), ("directory".to_owned(), "one/x".to_owned())];
        assert_eq!(Remains::read(&answer).kept(&cache, &["two".to_owned()]), Kept::default());
        assert_eq!(Remains::read(&answer).kept(&Cache::default(), &["one".to_owned()]).paths, ["one/x"]);
    }

    #[test]
    fn what_a_failed_build_set_aside_stays_if_it_was_cached() {
        let answer = [
            ("layers/one/x.toml".to_owned(), "[metadata]\n".to_owned()),
            ("directory".to_owned(), "one/x".to_owned()),
            ("unfinished".to_owned(), "yes".to_owned()),
        ];
        let remains = Remains::read(&answer);
        assert!(remains.unfinished);
        let cache = Cache { layers: vec![layer("x", "lc")], ..Cache::default() };
        assert_eq!(remains.kept(&cache, &["one".to_owned()]).paths, ["one/x"]);
    }

    #[test]
    fn what_a_buildpack_stored_comes_back() {
        let stores = BTreeMap::from([("one".to_owned(), "a = 1".to_owned()), ("two".to_owned(), "b = 1".to_owned())]);
        let cache = Cache { stores, ..Cache::default() };
        let kept = Remains::default().kept(&cache, &["one".to_owned()]);
        assert_eq!(kept.tomls, BTreeMap::from([("one/store.toml".to_owned(), "a = 1".to_owned())]));
    }
}
