//! Where a large tree is cut into layers. A version of it with a few files changed shall have most layers in common with the
//! one before, yet nothing but the tree itself may decide, or equal trees would not give equal images.
//!
//! Files of a directory stay together, since what changes together lies together. Directories with much in them, and large
//! files, are heavy; the others light: so code does not share a layer with the pictures beside it. Of each kind there are
//! as many parts as its bytes fill, rounded up to a power of two, and a hash of the path chooses among them: what comes or goes
//! moves nothing else, unless the sum outgrows a power of two.
//!
//! Slices are parts of a tree that somebody names (dependencies beside code): they share no layer with each other.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::entry::parent;

/// So many slices are cut as the rest of a tree is; of more, each stays whole, or an image would have too many layers.
const CUT_SLICES: usize = 2;

/// Bytes of a tree that is not cut, and those that a part should have.
const PART: u64 = 32 << 20;
/// Bytes of a file, or of the smaller files of one directory, that are heavy.
const HEAVY: u64 = 4 << 20;
/// Parts at most: engines stack about 120 layers, and buildpacks have theirs.
const MOST_HEAVY: u64 = 16;
const MOST_LIGHT: u64 = 4;

/// Which of a tree's layers has which file: those of the slices in their order, then those of the rest. Each is cut by what
/// is in it.
pub(super) struct Places<'a> {
    slice_of: &'a dyn Fn(&[u8]) -> usize,
    /// Number of the first layer of each slice and of the rest, and how it is cut.
    starts: Vec<(u32, Option<Cut>)>,
    last: u32,
}

impl<'a> Places<'a> {
    /// Paths and bytes of all files; `slice_of` gives `slices` for what is in none.
    pub(super) fn of<'b>(
        slices: usize,
        slice_of: &'a dyn Fn(&[u8]) -> usize,
        files: impl Iterator<Item = (&'b [u8], u64)>,
    ) -> Self {
        let mut all = vec![Vec::new(); slices + 1];
        for (path, bytes) in files {
            all[slice_of(path).min(slices)].push((path, bytes));
        }
        let (mut starts, mut next) = (Vec::new(), 0);
        for (number, files) in all.into_iter().enumerate() {
            let is_cut = number == slices || slices <= CUT_SLICES;
            let cut = if is_cut { Cut::of(files.into_iter()) } else { None };
            let start = next;
            next += cut.as_ref().map_or(0, Cut::last) + 1;
            starts.push((start, cut));
        }
        Self { slice_of, starts, last: next - 1 }
    }

    /// The layer of a file or link, up to `last`.
    pub(super) fn part(&self, path: &[u8]) -> u32 {
        let (start, cut) = self.slice(path);
        start + cut.as_ref().map_or(0, |cut| cut.part(path))
    }

    /// The layer of a directory with nothing in it.
    pub(super) fn bare(&self, path: &[u8]) -> u32 {
        let (start, cut) = self.slice(path);
        start + cut.as_ref().map_or(0, Cut::last)
    }

    /// Fewer than 64.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    fn slice(&self, path: &[u8]) -> &(u32, Option<Cut>) {
        &self.starts[(self.slice_of)(path).min(self.starts.len() - 1)]
    }
}

struct Cut {
    /// Of files that are heavy by themselves.
    files: HashMap<Vec<u8>, u64>,
    /// Of directories: what their other files have together.
    directories: HashMap<Vec<u8>, u64>,
    heavy: u64,
    light: u64,
}

impl Cut {
    /// None for a tree that stays whole. Paths and bytes of all files.
    fn of<'a>(all: impl Iterator<Item = (&'a [u8], u64)>) -> Option<Self> {
        let (mut files, mut directories) = (HashMap::new(), HashMap::<Vec<u8>, u64>::new());
        let mut sum = 0;
        for (path, bytes) in all {
            sum += bytes;
            if bytes >= HEAVY {
                files.insert(path.to_vec(), bytes);
            } else {
                *directories.entry(parent(path).unwrap_or_default().to_vec()).or_default() += bytes;
            }
        }
        if sum <= PART {
            return None;
        }
        directories.retain(|_, bytes| *bytes >= HEAVY);
        let heavy: u64 = files.values().chain(directories.values()).sum();
        Some(Self { files, directories, heavy: parts(heavy, MOST_HEAVY), light: parts(sum - heavy, MOST_LIGHT) })
    }

    /// The part of a file or link, up to `last`.
    fn part(&self, path: &[u8]) -> u32 {
        let directory = parent(path).unwrap_or_default();
        let number = match self.directories.get(directory) {
            _ if self.files.contains_key(path) => chosen(path, self.heavy),
            // More than a part by itself: its files do not stay together.
            Some(bytes) if *bytes > PART => chosen(path, self.heavy),
            Some(_) => chosen(directory, self.heavy),
            None => self.heavy + chosen(directory, self.light),
        };
        u32::try_from(number).unwrap_or_default()
    }

    fn last(&self) -> u32 {
        u32::try_from(self.heavy + self.light - 1).unwrap_or_default()
    }
}

fn parts(bytes: u64, most: u64) -> u64 {
    bytes.div_ceil(PART).max(1).next_power_of_two().min(most)
}

fn chosen(path: &[u8], parts: u64) -> u64 {
    let hash = Sha256::digest(path);
    u64::from_be_bytes(std::array::from_fn(|at| hash[at])) % parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MB: u64 = 1 << 20;

    fn cut(files: &[(String, u64)]) -> Option<Cut> {
        Cut::of(files.iter().map(|(path, bytes)| (path.as_bytes(), *bytes)))
    }

    /// 400 MB of pictures in 20 directories, a film, and code.
    fn tree() -> Vec<(String, u64)> {
        let pictures = (0..400).map(|n| (format!("pictures/{}/{n}.jpg", n % 20), MB));
        let code = (0..300).map(|n| (format!("src/part{}/{n}.js", n % 30), 8 << 10));
        pictures.chain(code).chain([("film.mp4".into(), 90 * MB), ("server.js".into(), 100)]).collect()
    }

    #[test]
    fn an_ordinary_tree_stays_whole() {
        let small: Vec<_> = (0..32).map(|n| (format!("{n}"), MB)).collect();
        assert!(cut(&small).is_none() && cut(&[]).is_none());
        assert!(cut(&[("a".into(), 33 * MB)]).is_some());
    }

    #[test]
    fn code_lies_apart_from_what_is_heavy() {
        let cut = cut(&tree()).unwrap();
        let parts = |start: &str| -> BTreeSet<_> {
            tree()
                .iter()
                .filter(|(path, _)| path.starts_with(start))
                .map(|(path, _)| cut.part(path.as_bytes()))
                .collect()
        };
        assert!(parts("pictures/").len() > 8, "{:?}", parts("pictures/"));
        assert!(parts("src/").is_disjoint(&parts("pictures/")) && parts("server.js").is_disjoint(&parts("film.mp4")));
        assert_eq!((parts("pictures/7/").len(), cut.last()), (1, 16));
    }

    #[test]
    fn another_file_moves_no_other() {
        let (before, mut more) = (cut(&tree()).unwrap(), tree());
        more.push(("pictures/7/new.jpg".into(), MB));
        more.push(("src/part1/new.js".into(), 1000));
        more.remove(5);
        let after = cut(&more).unwrap();
        assert!(tree().iter().all(|(path, _)| before.part(path.as_bytes()) == after.part(path.as_bytes())));
    }

    #[test]
    fn one_directory_with_everything_is_cut_as_well() {
        let files: Vec<_> = (0..300).map(|n| (format!("all/{n}"), MB)).collect();
        let cut = cut(&files).unwrap();
        let parts: BTreeSet<_> = files.iter().map(|(path, _)| cut.part(path.as_bytes())).collect();
        assert_eq!(parts.len(), 16);
    }

    #[test]
    fn slices_lie_apart_and_are_cut_as_trees_are() {
        let tree: Vec<_> = tree().into_iter().chain([("vendor/a.js".to_owned(), 9)]).collect();
        let starts = ["vendor/", "pictures/", "none/"];
        let slice_of = |path: &[u8]| starts.iter().position(|start| path.starts_with(start.as_bytes())).unwrap_or(3);
        let places =
            |slices: usize| Places::of(slices, &slice_of, tree.iter().map(|(path, bytes)| (path.as_bytes(), *bytes)));
        let parts = |places: &Places<'_>, start: &str| -> BTreeSet<_> {
            let paths = tree.iter().map(|(path, _)| path.as_bytes());
            paths.filter(|path| path.starts_with(start.as_bytes())).map(|path| places.part(path)).collect()
        };
        let two = places(2);
        assert_eq!((parts(&two, "vendor/").len(), two.bare(b"vendor/empty")), (1, 0));
        assert!(parts(&two, "pictures/").len() > 8 && parts(&two, "pictures/").is_disjoint(&parts(&two, "src/")));
        assert!(parts(&two, "film").is_disjoint(&parts(&two, "src/")), "the rest is cut as well");
        assert_eq!(parts(&places(3), "pictures/"), [1].into());
        assert!(places(20).last() < 64 && two.last() < 64);
    }
}
