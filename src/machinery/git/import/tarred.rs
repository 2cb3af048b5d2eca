//! Entries of a tar archive: ustar, GNU and pax, as the `tar` crate reads them.

use std::io::Read;

use tar::EntryType;

use super::{Result, Writer, damaged, refused, text};

pub(super) fn read(from: impl Read, writer: &mut Writer<'_>) -> Result<()> {
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path_bytes().into_owned();
        let target = entry.link_name_bytes().map(|target| target.into_owned());
        let header = entry.header();
        let executable = header.mode().map_err(damaged)? & 0o111 != 0;
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = entry.size();
                writer.file(&path, executable, size, &mut entry)?;
            }
            EntryType::Directory => writer.directory(&path)?,
            EntryType::Symlink => writer.link(&path, &target.unwrap_or_default())?,
            EntryType::Link => writer.same(&path, &target.unwrap_or_default())?,
            EntryType::XGlobalHeader => {}
            EntryType::Block | EntryType::Char | EntryType::Fifo => {
                return Err(refused(format!("{} is a device or a pipe; leave it out of the archive", text(&path))));
            }
            _ => return Err(refused(format!("{} is of a kind that is not known here", text(&path)))),
        }
    }
    Ok(())
}
