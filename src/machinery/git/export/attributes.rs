//! `export-ignore` of `.gitattributes`: what a repository keeps out of its own archives.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::attrs::search::{MetadataCollection, Outcome};
use gix::attrs::{Search, StateRef};
use gix::bstr::ByteSlice;
use gix::glob::pattern::Case;

const NAME: &str = "export-ignore";

#[derive(Default)]
pub(super) struct ExportIgnore {
    search: Search,
    collection: MetadataCollection,
    outcome: Outcome,
    /// Whether any file seen so far speaks of it at all.
    spoken_of: bool,
}

impl ExportIgnore {
    /// Adds the file of `directory`. Parents come before their children, so that the nearer file wins.
    pub(super) fn add(&mut self, directory: &[u8], content: &[u8]) {
        self.spoken_of |= content.contains_str(NAME);
        let source = Path::new(OsStr::from_bytes(directory)).join(".gitattributes");
        // Macros count in the root's file alone, as for git.
        let macros = directory.is_empty();
        let root = Some(Path::new(""));
        if self.search.add_patterns_buffer(content, source, root, &mut self.collection, macros).is_ok() {
            self.outcome.initialize_with_selection(&self.collection, [NAME]);
        }
    }

    pub(super) fn hides(&mut self, path: &[u8], is_directory: bool) -> bool {
        if !self.spoken_of {
            return false;
        }
        self.outcome.reset();
        self.search.pattern_matching_relative_path(
            path.as_bstr(),
            Case::Sensitive,
            Some(is_directory),
            &mut self.outcome,
        );
        self.outcome.iter_selected().any(|found| found.assignment.state == StateRef::Set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_hold_below_their_directory_and_the_nearer_file_wins() {
        let mut ignore = ExportIgnore::default();
        assert!(!ignore.hides(b"docs", true));
        ignore.add(b"", b"*.md export-ignore\n/docs export-ignore\n[attr]out export-ignore\n*.out out\n");
        ignore.add(b"lib", b"*.md -export-ignore\nlocal export-ignore\n");
        for hidden in ["README.md", "a/b.md", "x.out", "lib/local"] {
            assert!(ignore.hides(hidden.as_bytes(), false), "{hidden}");
        }
        assert!(ignore.hides(b"docs", true));
        for kept in ["lib/README.md", "local", "a/docs", "main.c"] {
            assert!(!ignore.hides(kept.as_bytes(), false), "{kept}");
        }
    }
}
