//! Parts of the app's directory that are layers of their own (buildpack specification, "launch.toml"): each takes what its
//! patterns match and no slice before has taken; the rest comes last. What is large is cut by what is in it, a slice as well
//! as the rest (`machinery/image/cut.rs`).

use super::export::{Pieces, Write};
use crate::machinery::image::{BlobStore, Layer, LayerRules, write_slices};

/// Slices of one image; more go with the rest.
const MOST: usize = 20;

/// What makes layers of the workspace; a slice that takes nothing has none.
pub(super) fn writer(slices: &[Vec<String>]) -> impl Write<Vec<Layer>> + use<> {
    let slices = Slices::of(slices);
    move |blobs: &BlobStore, tar: Pieces, rules: &LayerRules| {
        write_slices(blobs, tar, rules, slices.0.len(), &|path: &[u8]| slices.of_path(path))
    }
}

/// Patterns of each, in parts.
struct Slices(Vec<Vec<Vec<String>>>);

impl Slices {
    fn of(slices: &[Vec<String>]) -> Self {
        let parts = |pattern: &String| pattern.split('/').map(str::to_owned).collect();
        let slices = slices.iter().filter(|slice| !slice.is_empty()).take(MOST);
        Self(slices.map(|slice| slice.iter().map(parts).collect()).collect())
    }

    /// Their number for what is in none.
    fn of_path(&self, path: &[u8]) -> usize {
        let path = String::from_utf8_lossy(path);
        let parts: Vec<_> = path.split('/').collect();
        let takes = |slice: &Vec<Vec<String>>| slice.iter().any(|pattern| covers(pattern, &parts));
        self.0.iter().position(takes).unwrap_or(self.0.len())
    }
}

/// Whether the pattern matches the path or a directory above it.
fn covers(pattern: &[String], path: &[&str]) -> bool {
    pattern.len() <= path.len() && pattern.iter().zip(path).all(|(pattern, part)| matches(pattern, part))
}

/// One part of a path against one of a pattern: `*`, `?`, `[a-z]`, `[^a]`, `\\` (Go’s `filepath.Match`).
fn matches(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '[', '\\']) {
        return pattern == text;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where the last star stood, and how much it took: going back there is enough, so the time is bounded by the product.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        match text.get(t).and_then(|c| one(&pattern[p..], *c)) {
            Some(length) => (p, t) = (p + length, t + 1),
            None => match star {
                Some((at, taken)) if taken < text.len() => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
}

/// How much of the pattern stands for this character; none if it does not.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        ['[', rest @ ..] => {
            let negated = rest.first() == Some(&'^');
            let set = &rest[usize::from(negated)..];
            let end = set.iter().skip(1).position(|c| *c == ']')? + 1;
            let mut inside = false;
            let mut at = 0;
            while at < end {
                let low = set[at];
                let high = if at + 2 < end && set[at + 1] == '-' { set[at + 2] } else { low };
                at += if high == low { 1 } else { 3 };
                inside |= (low..=high).contains(&c);
            }
            (inside != negated).then_some(end + 2 + usize::from(negated))
        }
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machinery::image::{LayerWriter, read_files};

    #[test]
    fn patterns_are_those_of_the_specification() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "ab", false),
            ("a/*.js", "a/x.js", true),
            ("a/*.js", "a/b/x.js", false),
            ("*", "anything/below", true),
            ("a?c", "abc", true),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "ace", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("[", "[", false),
            ("a/b/c", "a/b", false),
        ] {
            let slices = Slices::of(&[vec![pattern.to_owned()]]);
            assert_eq!(slices.of_path(path.as_bytes()) == 0, expected, "{pattern} {path}");
        }
        assert!(!matches(&"*a".repeat(200), &"a".repeat(150)));
    }

    #[test]
    fn each_file_is_in_one_layer() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let mut writer = LayerWriter::new(&blobs);
        for path in ["workspace/a/1.js", "workspace/a/2.txt", "workspace/b/3.js", "workspace/4.js"] {
            writer.file(path, 0o644, (1000, 1000), b"x").unwrap();
        }
        let workspace = writer.finish().unwrap();
        let slices: [Vec<String>; 4] =
            [vec!["a/*.js".into()], vec![], vec!["none".into()], vec!["a".into(), "b".into()]];
        let slices = Slices::of(&slices);
        let rules =
            LayerRules { strip_prefix: "workspace".into(), prefix: "workspace".into(), ..LayerRules::default() };
        let tar = blobs.open_blob(&workspace.digest).unwrap();
        let layers = write_slices(&blobs, tar, &rules, slices.0.len(), &|path: &[u8]| slices.of_path(path)).unwrap();
        let files = |layer: &Layer| {
            let found = read_files(blobs.open_blob(&layer.digest).unwrap(), |_| true, 9, 9).unwrap();
            found.into_keys().collect::<Vec<_>>().join(" ")
        };
        let found: Vec<_> = layers.iter().map(files).collect();
        assert_eq!(found, ["workspace/a/1.js", "workspace/a/2.txt workspace/b/3.js", "workspace/4.js"]);
        assert_eq!(Slices::of(&[vec![]]).of_path(b"a"), 0, "none is the same as the rest");
    }
}
