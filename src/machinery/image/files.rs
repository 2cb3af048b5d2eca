//! Single files out of a tar stream that is not trusted.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use tar::EntryType;

use super::entry::clean;
use super::source::Source;
use super::{ImageError, Result};

/// Files whose clean path is wanted, by path; one that comes again takes the place of the one before. Refused when one is
/// longer than `longest` bytes, or when there are more than `most`. The stream is read to its end.
pub fn read_files(
    tar: impl Read,
    wanted: impl Fn(&str) -> bool,
    longest: u64,
    most: usize,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut source = Source::new(tar);
    let mut found = BTreeMap::new();
    while let Some(entry) = source.next()? {
        if !matches!(entry.kind, EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let relative: &[u8] = entry.path.strip_prefix(b"/").unwrap_or(&entry.path);
        let Ok(path) = String::from_utf8(clean(relative)?) else { continue };
        if !wanted(&path) {
            continue;
        }
        if entry.size > longest {
            return Err(ImageError::TooLarge(format!("{path} has more than {longest} bytes")));
        }
        let mut text = Vec::new();
        (&mut source).take(entry.size).read_to_end(&mut text).map_err(ImageError::Stream)?;
        found.insert(path, text);
        if found.len() > most {
            return Err(ImageError::TooLarge(format!("more than {most} files of a kind")));
        }
    }
    Ok(found)
}

/// Copies the file at `wanted` to `to`, as far as `longest` bytes. Whether it was there. The stream is read to its end.
pub fn copy_file(tar: impl Read, wanted: &str, longest: u64, to: &mut impl Write) -> Result<bool> {
    let mut source = Source::new(tar);
    let mut found = false;
    while let Some(entry) = source.next()? {
        let relative: &[u8] = entry.path.strip_prefix(b"/").unwrap_or(&entry.path);
        let is_file = matches!(entry.kind, EntryType::Regular | EntryType::Continuous);
        if found || !is_file || clean(relative)? != wanted.as_bytes() {
            continue;
        }
        if entry.size > longest {
            return Err(ImageError::TooLarge(format!("{wanted} has more than {longest} bytes")));
        }
        io::copy(&mut (&mut source).take(entry.size), to).map_err(ImageError::Stream)?;
        found = true;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn only_what_is_wanted_is_read() {
        let tar = tar(&[("./a/x.toml", b"1"), ("b", b"22222"), ("a/y.toml", b"2")]);
        let found = read_files(&tar[..], |path| path.ends_with(".toml"), 2, 5).unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("a/x.toml".into(), b"1".to_vec()), ("a/y.toml".into(), b"2".to_vec())]
        );
        assert!(read_files(&tar[..], |path| path == "b", 2, 5).is_err());
        assert!(read_files(&tar[..], |_| true, 9, 2).is_err());
    }

    #[test]
    fn one_file_is_copied() {
        let tar = tar(&[("a", b"1"), ("./b/c", b"22"), ("b/c", b"3")]);
        let mut out = Vec::new();
        assert!(copy_file(&tar[..], "b/c", 2, &mut out).unwrap() && out == b"22");
        assert!(!copy_file(&tar[..], "x", 2, &mut out).unwrap());
        assert!(copy_file(&tar[..], "b/c", 1, &mut out).is_err());
    }

    #[test]
    fn a_path_that_leaves_the_tree_is_refused() {
        assert!(read_files(&tar(&[("a/../../x", b"")])[..], |_| false, 1, 1).is_err());
    }
}
