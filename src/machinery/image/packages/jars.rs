//! Jars by their names (`NAME-1.2.3.jar`), and those that lie inside of another one or of a war, as the list at the end of
//! the file says (PKWARE's APPNOTE, "Central directory structure"); nothing is unpacked. Lists of ZIP64 are not read.

use std::io::{self, Read};

use super::readers::package;
use super::{Ecosystem, Package};

/// Of the list and what may follow it.
const LONGEST_LIST: usize = 8 << 20;
const PIECE: u64 = 1 << 20;
/// Signature and length of the fixed part: of the end of the list, and of an entry.
const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LENGTH: usize = 46;

pub(super) fn is_archive(path: &str) -> bool {
    path.ends_with(".jar") || path.ends_with(".war")
}

/// `archive` is read to its end, and never held whole.
pub(super) fn packages(path: &str, archive: &mut impl Read) -> io::Result<Vec<Package>> {
    let mut tail = Vec::new();
    while archive.take(PIECE).read_to_end(&mut tail)? > 0 {
        if tail.len() > 2 * LONGEST_LIST {
            tail.drain(..tail.len() - LONGEST_LIST);
        }
    }
    let inside = names(&tail).unwrap_or_default();
    Ok(named(path).into_iter().chain(inside.iter().filter_map(|name| named(name))).collect())
}

/// The version begins at the first digit after a dash.
fn named(path: &str) -> Option<Package> {
    let stem = path.rsplit('/').next()?.strip_suffix(".jar")?;
    let mut dashes = stem.match_indices('-').map(|(at, _)| at);
    let cut = dashes.find(|at| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?;
    Some(package(Ecosystem::Maven, &stem[..cut], &stem[cut + 1..]))
}

/// Paths inside of an archive, of which this is the end.
fn names(tail: &[u8]) -> Option<Vec<String>> {
    let end = tail.windows(END.len()).rposition(|bytes| bytes == END)?;
    let bytes = number(tail.get(end..end + END_LENGTH)?, 12, 4)?;
    let mut list = &tail[end.checked_sub(bytes)?..end];
    let mut found = Vec::new();
    while list.starts_with(ENTRY) {
        let length = number(list, 28, 2)?;
        let whole = ENTRY_LENGTH + length + number(list, 30, 2)? + number(list, 32, 2)?;
        found.push(String::from_utf8_lossy(list.get(ENTRY_LENGTH..ENTRY_LENGTH + length)?).into_owned());
        list = list.get(whole..)?;
    }
    Some(found)
}

/// Little-endian.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    Some(bytes.get(at..at + length)?.iter().rev().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)))
}
