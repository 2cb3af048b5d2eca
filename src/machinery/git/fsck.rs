//! The rules that every pushed object must keep, one object at a time, and the links that it has. Pure: bytes in, links or a
//! fault in words out.

use std::cmp::Ordering;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::hash::Kind::Sha1;
use gix::objs::{CommitRef, Kind, TagRef};
use gix::validate::path::component;

/// What an object points to, and as what.
pub(super) struct Link {
    pub(super) to: ObjectId,
    pub(super) kind: Kind,
}

/// One entry of a tree, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeEntry<'a> {
    pub(super) mode: Mode,
    pub(super) name: &'a [u8],
    pub(super) id: ObjectId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    File,
    Executable,
    Link,
    Directory,
    Submodule,
}

impl Mode {
    /// Leading zeros, which old tools wrote before directories, are let pass: they change nothing.
    fn parse(octal: &[u8]) -> Option<Self> {
        Some(match octal.trim_start_with(|c| c == '0') {
            b"100644" => Self::File,
            b"100755" => Self::Executable,
            b"120000" => Self::Link,
            b"40000" => Self::Directory,
            b"160000" => Self::Submodule,
            _ => return None,
        })
    }

    /// The kind of object that an entry points to; none for a submodule, whose commit lives elsewhere.
    pub(super) fn target(self) -> Option<Kind> {
        match self {
            Self::File | Self::Executable | Self::Link => Some(Kind::Blob),
            Self::Directory => Some(Kind::Tree),
            Self::Submodule => None,
        }
    }
}

/// Checks one object and hands its links to `link`. The fault completes the sentence "tree 1234… …".
pub(super) fn check(kind: Kind, data: &[u8], mut link: impl FnMut(Link)) -> Result<(), String> {
    match kind {
        Kind::Blob => Ok(()),
        Kind::Tree => check_tree(data, link),
        Kind::Commit => {
            let commit = CommitRef::from_bytes(data, Sha1).map_err(|_| "is malformed".to_owned())?;
            link(Link { to: commit.tree(), kind: Kind::Tree });
            commit.parents().for_each(|to| link(Link { to, kind: Kind::Commit }));
            Ok(())
        }
        Kind::Tag => {
            let tag = TagRef::from_bytes(data, Sha1).map_err(|_| "is malformed".to_owned())?;
            link(Link { to: tag.target(), kind: tag.target_kind });
            Ok(())
        }
    }
}

fn check_tree(data: &[u8], mut link: impl FnMut(Link)) -> Result<(), String> {
    let mut previous: Option<TreeEntry<'_>> = None;
    // Sorted by construction, because a tree sorts all but its directories by the plain name.
    let mut others: Vec<&[u8]> = Vec::new();
    for entry in entries(data) {
        let entry = entry?;
        check_name(&entry)?;
        if let Some(previous) = &previous {
            match order(previous, &entry) {
                Ordering::Less => {}
                Ordering::Equal => return Err(twice(&entry)),
                Ordering::Greater => {
                    return Err(format!(
                        "has entries out of order, {:?} after {:?}",
                        text(entry.name),
                        text(previous.name)
                    ));
                }
            }
        }
        if entry.mode != Mode::Directory {
            others.push(entry.name);
        } else if others.binary_search(&entry.name).is_ok() {
            return Err(twice(&entry));
        }
        if let Some(kind) = entry.mode.target() {
            link(Link { to: entry.id, kind });
        }
        previous = Some(entry);
    }
    Ok(())
}

/// The entries of a stored tree; stops at the first that cannot be read.
pub(super) fn entries(mut data: &[u8]) -> impl Iterator<Item = Result<TreeEntry<'_>, String>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let parsed = parse_entry(data);
        data = parsed.as_ref().map_or(&[], |(_, rest)| rest);
        Some(parsed.map(|(entry, _)| entry))
    })
}

fn parse_entry(data: &[u8]) -> Result<(TreeEntry<'_>, &[u8]), String> {
    let malformed = || "is malformed".to_owned();
    let (octal, rest) = data.split_once_str(" ").ok_or_else(malformed)?;
    let (name, rest) = rest.split_once_str("\0").ok_or_else(malformed)?;
    let (id, rest) = rest.split_at_checked(Sha1.len_in_bytes()).ok_or_else(malformed)?;
    let mode = Mode::parse(octal).ok_or_else(|| {
        let octal = text(&octal[..octal.len().min(20)]);
        format!("has {:?} with mode {octal}, which git does not write any more; commit the file anew", text(name))
    })?;
    Ok((TreeEntry { mode, name, id: ObjectId::from_bytes_or_panic(id) }, rest))
}

fn check_name(entry: &TreeEntry<'_>) -> Result<(), String> {
    // Backslashes and the like are good names on the systems that run here; what hides `.git` on others is not.
    let options = component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    let mode = (entry.mode == Mode::Link).then_some(component::Mode::Symlink);
    let fault = match gix::validate::path::component(entry.name.as_bstr(), mode, options) {
        Ok(_) => return Ok(()),
        Err(component::Error::Empty) => return Err("has an entry without a name".into()),
        Err(component::Error::DotGitDir) => "a name that git uses for itself on some system",
        Err(component::Error::SymlinkedGitModules) => "a symbolic link in the place of .gitmodules",
        Err(component::Error::Relative) => "a name that means another directory",
        Err(_) => "a name with a separator in it",
    };
    Err(format!("has the entry {:?}, {fault}; remove it from the history", text(entry.name)))
}

/// Git compares names as if directories ended with a slash.
fn order(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    let end = |entry: &TreeEntry<'_>| (entry.mode == Mode::Directory).then_some(b'/');
    a.name.iter().copied().chain(end(a)).cmp(b.name.iter().copied().chain(end(b)))
}

fn twice(entry: &TreeEntry<'_>) -> String {
    format!("has two entries named {:?}", text(entry.name))
}

/// Names of any bytes for people; `{:?}` of it shows what does not print.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut data = Vec::new();
        for (mode, name) in entries {
            data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            data.extend_from_slice(&[7; 20]);
        }
        data
    }

    fn fault(entries: &[(&str, &str)]) -> Option<String> {
        check(Kind::Tree, &tree(entries), |_| {}).err()
    }

    #[test]
    fn ordinary_trees_pass_with_their_links() {
        let mut kinds = Vec::new();
        let entries = [
            ("100644", "a b"),
            ("100755", "a.sh"),
            ("40000", "a"),
            ("120000", "link"),
            ("160000", "sub"),
            ("040000", "zero"),
            ("100644", "ö\\\"\n"),
        ];
        check(Kind::Tree, &tree(&entries), |link| kinds.push(link.kind)).unwrap();
        assert_eq!(kinds, [Kind::Blob, Kind::Blob, Kind::Tree, Kind::Blob, Kind::Tree, Kind::Blob]);
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [
            "",
            ".",
            "..",
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            ".git ",
            ".git.",
            ".git::$INDEX_ALLOCATION",
            ".g\u{200c}it",
            "\u{200d}.git",
            "a/b",
            ".git/hooks",
        ] {
            assert!(fault(&[("100644", name)]).is_some(), "{name:?}");
            assert!(fault(&[("40000", name)]).is_some(), "{name:?}");
        }
        for name in [".gitmodules", ".GITMODULES", "gitmod~1", ".gitmodules ", ".git\u{200c}modules"] {
            assert!(fault(&[("120000", name)]).is_some(), "{name:?}");
            assert!(fault(&[("100644", name)]).is_none(), "{name:?}");
        }
        for name in [".gitignore", ".github", "git", "...", "git~2x", "..a"] {
            assert_eq!(fault(&[("100644", name)]), None, "{name:?}");
        }
    }

    #[test]
    fn only_canonical_modes_pass() {
        for mode in
            ["100777", "100664", "100600", "40755", "120777", "060000", "20666", "0", "", "1006440", "-100644", "7"]
        {
            assert!(fault(&[(mode, "a")]).is_some(), "{mode}");
        }
    }

    #[test]
    fn order_and_uniqueness_hold_whatever_the_mode() {
        assert!(fault(&[("100644", "b"), ("100644", "a")]).unwrap().contains("out of order"));
        assert!(fault(&[("40000", "a"), ("100644", "a.txt")]).unwrap().contains("out of order"));
        assert!(fault(&[("100644", "a"), ("100644", "a")]).unwrap().contains("two entries"));
        assert!(fault(&[("120000", "a"), ("40000", "a")]).unwrap().contains("two entries"));
        assert!(fault(&[("100644", "a"), ("100644", "a.txt"), ("40000", "a")]).unwrap().contains("two entries"));
    }

    #[test]
    fn cut_trees_and_commits_are_malformed() {
        let whole = tree(&[("100644", "a")]);
        for end in 1..whole.len() {
            assert!(check(Kind::Tree, &whole[..end], |_| {}).is_err(), "{end}");
        }
        assert!(check(Kind::Commit, b"tree 1234\n", |_| {}).is_err());
        assert!(check(Kind::Tag, b"object 1234\n", |_| {}).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_a_verdict(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            for kind in [Kind::Tree, Kind::Commit, Kind::Tag] {
                let _ = check(kind, &data, |_| {});
            }
        }
    }
}
