//! Parts of the app's directory that are layers of their own (buildpack specification, "launch.toml"): each takes what its
//! patterns match and no slice before it has taken; the rest is the last layer. Where no buildpack asks for slices, a large
//! directory is cut by what is in it (`machinery/image/cut.rs`).

use std::sync::Arc;

use super::builder::layer_rules;
use super::export::Write;
use crate::machinery::image::{BlobStore, ImageError, Layer, LayerRules, Pick, write_layer, write_layers};

/// Layers of one image for its app; more slices go with the rest.
const MOST: usize = 20;

/// What makes layers of the workspace before it is known which file is in which slice.
pub(super) fn writer(slices: &[Vec<String>]) -> Write<Vec<Layer>> {
    if slices.iter().all(Vec::is_empty) {
        |blobs, tar, rules| write_layers(blobs, tar, rules)
    } else {
        |blobs, tar, rules| Ok(vec![write_layer(blobs, tar, rules)?])
    }
}

/// The workspace's layers, as its `writer` made them, in slices; one that takes nothing is left out. Blocks.
pub(super) fn split(
    blobs: &BlobStore,
    workspace: Vec<Layer>,
    slices: Vec<Vec<String>>,
) -> Result<Vec<Layer>, ImageError> {
    let slices: Arc<Vec<_>> = Arc::new(slices.into_iter().filter(|slice| !slice.is_empty()).take(MOST).collect());
    let &[workspace] = workspace.as_slice() else { return Ok(workspace) };
    if slices.is_empty() {
        return Ok(vec![workspace]);
    }
    let mut layers = Vec::new();
    for number in 0..=slices.len() {
        let all = Arc::clone(&slices);
        let took = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let taken = Arc::clone(&took);
        let takes = move |path: &[u8]| {
            let path = String::from_utf8_lossy(path);
            let fits = all.iter().position(|slice| slice.iter().any(|pattern| covers(pattern, &path))) == Some(number)
                || (number == all.len() && !all.iter().flatten().any(|pattern| covers(pattern, &path)));
            taken.fetch_or(fits, std::sync::atomic::Ordering::Relaxed);
            fits
        };
        let only = Some(Pick(Arc::new(takes)));
        let rules = LayerRules { only, ..layer_rules("workspace", "workspace") };
        let layer = write_layer(blobs, blobs.open_blob(&workspace.digest)?, &rules)?;
        if took.load(std::sync::atomic::Ordering::Relaxed) || number == slices.len() {
            layers.push(layer);
        }
    }
    Ok(layers)
}

/// Whether the pattern matches the path or a directory above it.
fn covers(pattern: &str, path: &str) -> bool {
    let depth = pattern.split('/').count();
    let start: Vec<_> = path.split('/').take(depth).collect();
    start.len() == depth && pattern.split('/').zip(start).all(|(pattern, part)| matches(pattern, part))
}

/// One part of a path against one of a pattern: `*`, `?`, `[a-z]`, `[^a]`, `\\` (Go’s `filepath.Match`).
fn matches(pattern: &str, text: &str) -> bool {
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
            assert_eq!(covers(pattern, path), expected, "{pattern} {path}");
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
        let slices = vec![vec!["a/*.js".into()], vec![], vec!["none".into()], vec!["a".into(), "b".into()]];
        let layers = split(&blobs, vec![workspace], slices).unwrap();
        let files = |layer: &Layer| {
            let found = read_files(blobs.open_blob(&layer.digest).unwrap(), |_| true, 9, 9).unwrap();
            found.into_keys().collect::<Vec<_>>().join(" ")
        };
        let found: Vec<_> = layers.iter().map(files).collect();
        assert_eq!(found, ["workspace/a/1.js", "workspace/a/2.txt workspace/b/3.js", "workspace/4.js"]);
        assert_eq!(split(&blobs, vec![workspace], vec![vec![]]).unwrap(), [workspace]);
    }
}
