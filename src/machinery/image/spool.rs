//! Bytes that are read again: in memory while they are few, then in a temporary file of the blob store.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::{Batch, BlobStore, ImageError, Result};

/// Bytes written to or read from a file at once.
const BUFFER: usize = 256 << 10;
/// Bytes kept in memory: nearly all layers of code and assets, few of dependencies.
pub(super) const MEMORY: usize = 32 << 20;

pub(super) struct Spool {
    blobs: BlobStore,
    /// All that was written, or with a file what comes after it.
    tail: Vec<u8>,
    file: Option<NamedTempFile>,
    written: u64,
    batch: Option<Arc<Batch>>,
}

impl Spool {
    pub(super) fn new(blobs: &BlobStore) -> Self {
        Self { blobs: blobs.clone(), tail: Vec::new(), file: None, written: 0, batch: None }
    }

    /// What is written counts for it from here on.
    pub(super) fn belongs_to(&mut self, batch: Option<Arc<Batch>>) {
        self.batch = batch;
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = if self.file.is_some() { BUFFER } else { MEMORY };
        if self.tail.len() + bytes.len() > limit {
            self.flush()?;
        }
        self.tail.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Brings all that was written to the file, which is made if there is none.
    fn flush(&mut self) -> Result<()> {
        if let Some(batch) = &self.batch {
            batch.writes(self.tail.len() as u64)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.blobs.temporary()?),
        };
        file.write_all(&self.tail).map_err(ImageError::store("write", file.path()))?;
        if self.tail.capacity() > 2 * BUFFER {
            self.tail = Vec::with_capacity(2 * BUFFER);
        }
        self.tail.clear();
        Ok(())
    }

    /// No more is written; needed before `copy`.
    pub(super) fn close(&mut self) -> Result<()> {
        if self.file.is_some() { self.flush() } else { Ok(()) }
    }

    /// Copies `length` bytes from `offset` on.
    pub(super) fn copy(&self, offset: u64, length: u64, out: &mut impl Write) -> io::Result<()> {
        match &self.file {
            None => out.write_all(&self.tail[offset as usize..(offset + length) as usize]),
            Some(file) => copy_range(file.as_file(), offset, length, out),
        }
    }

    /// What was written, as it is.
    pub(super) fn into_file(mut self) -> Result<NamedTempFile> {
        if let Some(batch) = &self.batch {
            batch.writes(self.tail.len() as u64)?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.blobs.temporary()?,
        };
        file.write_all(&self.tail).map_err(ImageError::store("write", file.path()))?;
        Ok(file)
    }
}

fn copy_range(file: &File, mut offset: u64, mut length: u64, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(BUFFER).min(BUFFER)];
    while length > 0 {
        let wanted = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..wanted], offset)?;
        out.write_all(&buffer[..wanted])?;
        offset += wanted as u64;
        length -= wanted as u64;
    }
    Ok(())
}
