//! What Go's linker writes into a program: the modules that it was made of (Go's `debug/buildinfo`, the inline format of Go
//! 1.18 and later).

use std::io::Read;

use super::{Ecosystem, Package};

const ELF: &[u8] = b"\x7fELF";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Magic, size of pointers, flags, padding.
const HEAD: usize = 32;
/// Flag: the strings follow the head.
const INLINE: u8 = 2;
/// Of the list of modules.
const LONGEST: usize = 4 << 20;
/// Bytes around the list that say where it begins and ends.
const SENTINEL: usize = 16;

pub(super) fn packages(program: &mut impl Read) -> std::io::Result<Vec<Package>> {
    let mut first = [0; 4];
    let mut read = 0;
    while read < first.len() {
        match program.read(&mut first[read..])? {
            0 => return Ok(Vec::new()),
            n => read += n,
        }
    }
    if first != ELF {
        return Ok(Vec::new());
    }
    // A piece at a time, each with the end of the one before, so that nothing lies across a border unseen.
    let mut window = Vec::with_capacity(2 * LONGEST);
    loop {
        let before = window.len();
        program.take(LONGEST as u64).read_to_end(&mut window)?;
        let ended = window.len() == before;
        if let Some(at) = window.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) {
            if ended || window.len() - at > LONGEST {
                return Ok(listed(&window[at..]).unwrap_or_default());
            }
            window.drain(..at);
            continue;
        }
        if ended {
            return Ok(Vec::new());
        }
        let keep = window.len().saturating_sub(MAGIC.len());
        window.drain(..keep);
    }
}

fn listed(info: &[u8]) -> Option<Vec<Package>> {
    if info.get(MAGIC.len() + 1)? & INLINE == 0 {
        return None;
    }
    let (toolchain, rest) = string(info.get(HEAD..)?)?;
    let (modules, _) = string(rest)?;
    let modules = modules.get(SENTINEL..modules.len().checked_sub(SENTINEL)?).unwrap_or_default();
    let package = |name: &str, version: &str| Package {
        ecosystem: Ecosystem::Golang,
        name: name.to_owned(),
        version: version.to_owned(),
        source: None,
        architecture: None,
        license: None,
    };
    let toolchain = String::from_utf8_lossy(toolchain);
    let mut found = vec![package("stdlib", toolchain.split(' ').next()?.trim_start_matches("go"))];
    for line in String::from_utf8_lossy(modules).lines() {
        let mut words = line.split('\t');
        match (words.next(), words.next(), words.next()) {
            (Some("dep"), Some(name), Some(version)) => found.push(package(name, version)),
            // The one above is replaced by this one.
            (Some("=>"), Some(name), Some(version)) => {
                found.pop();
                found.push(package(name, version));
            }
            _ => {}
        }
    }
    Some(found)
}

/// A length as in `encoding/binary`'s `Uvarint`, and so many bytes.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0_usize, 0);
    for (at, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let rest = &bytes[at + 1..];
            return (length <= LONGEST && length <= rest.len()).then(|| rest.split_at(length));
        }
    }
    None
}
