//! One entry of a layer: its clean path, and its bytes in the tar that we write (ustar, PAX where that is too narrow).

use std::cmp::Ordering;

use tar::{EntryType, Header};

use super::{EPOCH_SECONDS, ImageError, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    /// Bytes of the body.
    File(u64),
    /// Target as written.
    Symlink(Vec<u8>),
    /// Clean path of another entry.
    Link(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Clean: no leading or trailing slash, no `.` or `..`, not empty.
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// PAX keys and values, sorted.
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// The parts of a path joined again without empty parts and `.`; empty for the root itself.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>> {
    if path.first() == Some(&b'/') {
        return Err(ImageError::entry(path, "is an absolute path"));
    }
    let mut clean: Vec<u8> = Vec::with_capacity(path.len());
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(ImageError::entry(path, "leaves the tree")),
            _ if part.contains(&0) => return Err(ImageError::entry(path, "contains a NUL byte")),
            _ if part.len() > 255 => return Err(ImageError::entry(path, "has a name of more than 255 bytes")),
            _ => {}
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    // PATH_MAX counts the leading slash and the end
    if clean.len() > 4094 {
        return Err(ImageError::entry(path, "is longer than 4094 bytes"));
    }
    Ok(clean)
}

/// `path` below `base`: `Some(rest)`, empty when they are equal.
pub(super) fn below<'a>(path: &'a [u8], base: &[u8]) -> Option<&'a [u8]> {
    if base.is_empty() {
        return Some(path);
    }
    match path.strip_prefix(base)? {
        b"" => Some(b""),
        rest => rest.strip_prefix(b"/"),
    }
}

pub(super) fn join(base: &[u8], rest: &[u8]) -> Vec<u8> {
    match (base, rest) {
        (b"", _) => rest.to_vec(),
        (_, b"") => base.to_vec(),
        _ => [base, b"/", rest].concat(),
    }
}

/// The order of a layer's entries: as a walk through the tree meets them, what lies below a directory right behind it. So
/// comes what engines and tar read from a directory, if they sort names.
pub(super) fn order(one: &[u8], other: &[u8]) -> Ordering {
    // No path has a NUL.
    let rank = |b: &u8| if *b == b'/' { 0 } else { *b };
    one.iter().map(rank).cmp(other.iter().map(rank))
}

pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&b| b == b'/').map(|slash| &path[..slash])
}

impl Entry {
    pub(super) fn size(&self) -> u64 {
        if let Kind::File(size) = self.kind { size } else { 0 }
    }

    /// All blocks that stand before the body.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut records: Vec<(&str, &[u8])> = Vec::new();
        let mut header = Header::new_ustar();
        let (kind, name, link): (_, Vec<u8>, &[u8]) = match &self.kind {
            Kind::Directory => (EntryType::Directory, [&self.path[..], b"/"].concat(), b""),
            Kind::File(_) => (EntryType::Regular, self.path.clone(), b""),
            Kind::Symlink(target) => (EntryType::Symlink, self.path.clone(), target),
            Kind::Link(target) => (EntryType::Link, self.path.clone(), target),
        };
        let fields = header.as_old_mut();
        if !fill(&mut fields.name, &name) {
            records.push(("path", &name));
        }
        if !fill(&mut fields.linkname, link) {
            records.push(("linkpath", link));
        }
        header.set_entry_type(kind);
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_size(self.size());
        header.set_mtime(EPOCH_SECONDS);
        header.set_cksum();
        records.extend(self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_slice())));
        let mut head = tar::Builder::new(Vec::new());
        let written = head.append_pax_extensions(records);
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        // taken out of the builder without the end marker that it would add
        let mut head = std::mem::take(head.get_mut());
        head.extend_from_slice(header.as_bytes());
        head
    }
}

/// Whether all of `text` fits; what fits is there in any case, for readers that know no PAX.
fn fill(field: &mut [u8; 100], text: &[u8]) -> bool {
    let fitting = text.len().min(field.len());
    field[..fitting].copy_from_slice(&text[..fitting]);
    fitting == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        assert_eq!(clean(b"./a//b/./c/").unwrap(), b"a/b/c");
        assert_eq!(clean(b"./").unwrap(), b"");
        for bad in ["/etc/passwd", "..", "a/../b", "a/..", "a\0b", &"x".repeat(256), &"x/".repeat(3000)] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tree_is_in_order_as_it_is_walked() {
        let mut paths = ["a.b", "b", "a/x", "a-b", "a", "a/x/y"].map(str::as_bytes);
        paths.sort_by(|one, other| order(one, other));
        assert_eq!(paths, ["a", "a/x", "a/x/y", "a-b", "a.b", "b"].map(str::as_bytes));
    }

    #[test]
    fn below_respects_parts() {
        assert_eq!(below(b"a/b", b"a"), Some(&b"b"[..]));
        assert_eq!(below(b"a", b"a"), Some(&b""[..]));
        assert_eq!(below(b"ab", b"a"), None);
        assert_eq!(below(b"ab", b""), Some(&b"ab"[..]));
    }
}
