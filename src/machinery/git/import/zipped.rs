//! Entries of a zip archive (APPNOTE.TXT of PKWARE), by its central directory: stored or deflated, not encrypted.

use std::io::{Read, Seek};

use zip::ZipArchive;
use zip::result::ZipError;

use super::{Result, Writer, refused, text};

/// File types of Unix in the upper half of the external attributes.
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
/// Longer than any path that is let pass.
const LONGEST_TARGET: u64 = 4096;

pub(super) fn read(from: impl Read + Seek, writer: &mut Writer<'_>) -> Result<()> {
    let mut archive = ZipArchive::new(from).map_err(|e| fault(&e))?;
    if archive.len() > writer.limits.entries {
        let most = writer.limits.entries;
        return Err(super::GitError::TooLarge(format!("the archive has more than {most} entries")));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| fault(&e))?;
        let path = entry.name_raw().to_vec();
        let mode = entry.unix_mode().unwrap_or(0);
        match mode & KIND {
            _ if entry.is_dir() => writer.directory(&path)?,
            LINK => {
                let mut target = Vec::new();
                (&mut entry).take(LONGEST_TARGET).read_to_end(&mut target).map_err(super::damaged)?;
                writer.link(&path, &target)?;
            }
            0 | REGULAR | DIRECTORY => {
                let size = entry.size();
                writer.file(&path, mode & 0o111 != 0, size, &mut entry)?;
            }
            _ => return Err(refused(format!("{} is a device or a pipe; leave it out of the archive", text(&path)))),
        }
    }
    Ok(())
}

fn fault(error: &ZipError) -> super::GitError {
    refused(format!("the archive cannot be read: {error}"))
}
