//! From a pack on the wire to an indexed pack on disk, with every bound enforced while it streams: nothing is buffered or
//! inflated that has not been allowed by its declared size.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::zlib::{Compression, Inflate};
use gix_pack::data::entry::Header;
use gix_pack::data::input::{
    BytesToEntriesIter, EntriesToBytesIter, Entry, EntryDataMode, LookupRefDeltaObjectsIter, Mode,
};

use super::disk::{storage, sync_directory};
use super::{GitError, Limits, Result};

const HEADER_BYTES: usize = 12;
const TRAILER_BYTES: usize = 20;
/// Completing thin packs takes time by the square of the number of bases; a real push has a few hundred.
const MAX_REF_DELTAS: u32 = 100_000;
/// All objects together, unpacked: more than a real repository below the other bounds can reach, so it only stops bombs.
const MAX_UNPACKED_BYTES: u64 = 64 << 30;
/// Below this many objects a second thread costs more than it brings.
const SMALL: u32 = 1_000;

/// Reads one pack, completes it from `bases` where it is thin, and leaves `pack-<hash>.pack` and `.idx` in `directory`,
/// synced. None for a pack without objects.
pub(super) fn index(
    from: &mut impl BufRead,
    directory: &Path,
    bases: gix::odb::Handle,
    limits: &Limits,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<ObjectId>> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header).map_err(GitError::Disconnected)?;
    let (_, objects) = gix_pack::data::header::decode(&header)
        .map_err(|_| GitError::Protocol("what follows the commands is not a pack of version 2".into()))?;
    if objects > limits.objects {
        return Err(GitError::TooLarge(format!(
            "the push has {objects} objects, the limit is {}; push the history in several parts",
            limits.objects
        )));
    }
    if objects == 0 {
        return read_empty(from, &header).map(|()| None);
    }
    if objects >= SMALL {
        progress(&format!("Receiving {objects} objects"));
    }

    let meter = Rc::new(RefCell::new(Meter::new(limits)));
    let metered = Metered { from, meter: Rc::clone(&meter) };
    let drafts = (directory.join("draft.pack"), directory.join("draft.idx"));
    let written = write(header.chain(metered), &meter, bases, objects, limits, &drafts.0, &drafts.1);
    let fault = meter.borrow_mut().fault.take();
    let hash = match (written, fault) {
        (_, Some(fault)) => return Err(fault),
        (Err(error), None) => return Err(explain(error, limits, directory)),
        (Ok(hash), None) => hash,
    };

    let finish = || -> io::Result<()> {
        for (draft, extension) in [(&drafts.0, "pack"), (&drafts.1, "idx")] {
            File::open(draft)?.sync_all()?;
            fs::rename(draft, directory.join(format!("pack-{hash}.{extension}")))?;
        }
        sync_directory(directory)
    };
    finish().map_err(storage("sync the received pack in", directory))?;
    Ok(Some(hash))
}

fn read_empty(from: &mut impl Read, header: &[u8]) -> Result<()> {
    let mut trailer = [0; TRAILER_BYTES];
    from.read_exact(&mut trailer).map_err(GitError::Disconnected)?;
    let mut hasher = gix::hash::hasher(Sha1);
    hasher.update(header);
    match hasher.try_finalize() {
        Ok(hash) if hash.as_slice() == trailer => Ok(()),
        _ => Err(damaged("its checksum does not match")),
    }
}

fn write(
    pack: impl BufRead,
    meter: &Rc<RefCell<Meter>>,
    bases: gix::odb::Handle,
    objects: u32,
    limits: &Limits,
    pack_path: &Path,
    index_path: &Path,
) -> gix::Result<ObjectId> {
    let io_fault = |error: io::Error| gix::Error::from_error(error);
    let open = |path| File::options().read(true).write(true).create(true).truncate(true).open(path);
    let file = BufferedFile(BufWriter::with_capacity(64 << 10, open(pack_path).map_err(io_fault)?));

    let raw = BytesToEntriesIter::new_from_header(pack, Mode::Verify, EntryDataMode::KeepAndCrc32, Sha1)?;
    let version = raw.version();
    let checked = raw.inspect(|entry| {
        if let Ok(entry) = entry {
            meter.borrow_mut().entry_done(entry);
        }
    });
    let stopped = checked.map(|entry| match &meter.borrow().fault {
        Some(_) => Err(gix::Error::from_error(io::Error::other("stopped"))),
        None => entry,
    });
    // The size of the iteration is known from the header, which `map` and `inspect` pass on.
    let completed = LookupRefDeltaObjectsIter::new(stopped, bases, Compression::BEST_SPEED);
    let mut entries = EntriesToBytesIter::new(completed, file, version, Sha1);

    let mut index = BufWriter::new(open(index_path).map_err(io_fault)?);
    // The bookkeeping of the deltas is allocated under the same bound as the objects.
    let bookkeeping = objects as usize * 256;
    let outcome = gix_pack::index::write_data_iter_to_stream(
        gix_pack::index::Version::default(),
        || {
            let pack = gix_pack::data::File::at(pack_path, Sha1).map_err(io::Error::other)?;
            Ok((slice, pack))
        },
        &mut entries,
        (objects < SMALL).then_some(1),
        &mut gix::progress::Discard,
        &mut index,
        &AtomicBool::new(false),
        Sha1,
        Some(limits.object_bytes.max(bookkeeping)),
        version,
    )?;
    index.flush().map_err(io_fault)?;
    Ok(outcome.data_hash)
}

fn slice(range: gix_pack::data::EntryRange, pack: &gix_pack::data::File) -> Option<&[u8]> {
    pack.entry_slice(range)
}

/// Tells apart whose fault it was, for faults that the meter did not see.
fn explain(error: gix::Error, limits: &Limits, directory: &Path) -> GitError {
    let own_disk = error
        .iter_errors()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.raw_os_error().is_some());
    if own_disk {
        return storage("write the received pack in", directory)(format!("{error:#?}"));
    }
    if error.is_resource_exhausted() {
        return GitError::TooLarge(format!(
            "the push has an object larger than the limit of {}",
            bytes_text(limits.object_bytes as u64)
        ));
    }
    damaged(&error.probable_cause().to_string())
}

fn damaged(cause: &str) -> GitError {
    GitError::Refused(format!("the pack arrived damaged ({cause}); run `git fsck` in your clone and push again"))
}

/// Follows the bytes of a pack through its entries.
struct Meter {
    left: u64,
    limits: Limits,
    /// The head of the current entry, as far as it has been read.
    head: Head,
    entry_bytes: u64,
    unpacked: u64,
    ref_deltas: u32,
    inflate: Inflate,
    fault: Option<GitError>,
}

enum Head {
    Reading { shift: u32, size: u64 },
    Done { allowed: u64 },
}

impl Meter {
    fn new(limits: &Limits) -> Self {
        Self {
            left: limits.pack_bytes.saturating_sub(HEADER_BYTES as u64),
            limits: limits.clone(),
            head: Head::Reading { shift: 0, size: 0 },
            entry_bytes: 0,
            unpacked: 0,
            ref_deltas: 0,
            inflate: Inflate::default(),
            fault: None,
        }
    }

    /// Takes note of bytes that are being consumed, and refuses what follows when they declare or bring too much.
    fn note(&mut self, bytes: &[u8]) {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.left = left,
            None => {
                self.fail(GitError::TooLarge(format!(
                    "the push is larger than the limit of {}; remove large files from the history, or push it in several parts",
                    bytes_text(self.limits.pack_bytes)
                )));
            }
        }
        self.entry_bytes += bytes.len() as u64;
        for byte in bytes {
            let Head::Reading { shift, size } = self.head else { break };
            let (value, width) = if shift == 0 { (byte & 0x0f, 4) } else { (byte & 0x7f, 7) };
            if shift > 56 {
                return self.fail(damaged("an entry declares an impossible size"));
            }
            let size = size | u64::from(value) << shift;
            self.head = if byte & 0x80 != 0 {
                Head::Reading { shift: shift + width, size }
            } else {
                self.check_object(size);
                // Deflate makes incompressible bytes a little longer; the head and the trailer count too.
                Head::Done { allowed: size + size / 100 + 1_024 }
            };
        }
        if let Head::Done { allowed } = self.head
            && self.entry_bytes > allowed
        {
            self.fail(damaged("an entry is longer than it declares"));
        }
    }

    fn entry_done(&mut self, entry: &Entry) {
        self.head = Head::Reading { shift: 0, size: 0 };
        self.entry_bytes = 0;
        let size = match entry.header {
            Header::OfsDelta { .. } | Header::RefDelta { .. } => match self.delta_result_size(entry) {
                Some(size) => size,
                None => return self.fail(damaged("a delta has no header")),
            },
            _ => entry.decompressed_size,
        };
        self.check_object(size);
        self.unpacked += size;
        if self.unpacked > MAX_UNPACKED_BYTES {
            self.fail(GitError::TooLarge(format!(
                "the push unpacks to more than {}; push the history in several parts",
                bytes_text(MAX_UNPACKED_BYTES)
            )));
        }
        self.ref_deltas += u32::from(matches!(entry.header, Header::RefDelta { .. }));
        if self.ref_deltas > MAX_REF_DELTAS {
            self.fail(GitError::TooLarge(format!(
                "the pack has more than {MAX_REF_DELTAS} deltas by name; push with a current git, or with --no-thin"
            )));
        }
    }

    fn check_object(&mut self, size: u64) {
        if size > self.limits.object_bytes as u64 {
            self.fail(GitError::TooLarge(format!(
                "the push has a file or object of {}, the limit is {}; remove it from the history or keep it elsewhere",
                bytes_text(size),
                bytes_text(self.limits.object_bytes as u64)
            )));
        }
    }

    /// A delta starts with the sizes of its base and of its result.
    fn delta_result_size(&mut self, entry: &Entry) -> Option<u64> {
        let mut start = [0; 20];
        self.inflate.reset();
        let (_, _, written) = self.inflate.once(entry.compressed.as_deref()?, &mut start).ok()?;
        let mut bytes = start[..written].iter();
        let mut size = || {
            let (mut size, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes.next()?;
                size |= u64::from(byte & 0x7f).checked_shl(shift)?;
                shift += 7;
                if byte & 0x80 == 0 {
                    return Some(size);
                }
            }
        };
        let _base = size()?;
        size()
    }

    fn fail(&mut self, fault: GitError) {
        self.fault.get_or_insert(fault);
    }
}

/// The pack's stream under the eyes of the meter.
struct Metered<'r, R> {
    from: &'r mut R,
    meter: Rc<RefCell<Meter>>,
}

impl<R: BufRead> Metered<'_, R> {
    fn guard<T>(&mut self, read: impl FnOnce(&mut R) -> io::Result<T>) -> io::Result<T> {
        if self.meter.borrow().fault.is_some() {
            return Err(io::Error::other("stopped"));
        }
        read(self.from).map_err(|error| lost(&self.meter, error))
    }
}

/// Keeps the fault of the connection apart from those of the disk, which would look the same further up.
fn lost(meter: &RefCell<Meter>, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    meter.borrow_mut().fail(GitError::Disconnected(error));
    io::Error::other("stopped")
}

impl<R: BufRead> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.guard(|from| from.read(buffer))?;
        if read == 0 && !buffer.is_empty() {
            return Err(lost(&self.meter, io::ErrorKind::UnexpectedEof.into()));
        }
        self.meter.borrow_mut().note(&buffer[..read]);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Metered<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.guard(|from| from.fill_buf().map(<[u8]>::is_empty))? {
            return Err(lost(&self.meter, io::ErrorKind::UnexpectedEof.into()));
        }
        self.from.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // The buffer is full already: this reads nothing.
        if let Ok(bytes) = self.from.fill_buf() {
            self.meter.borrow_mut().note(&bytes[..amount]);
        }
        self.from.consume(amount);
    }
}

/// A file that is written through a buffer, and read back once at the end.
struct BufferedFile(BufWriter<File>);

impl Write for BufferedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for BufferedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Read for BufferedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.get_mut().read(buffer)
    }
}

/// A size as people write it.
pub(super) fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
