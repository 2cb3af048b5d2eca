//! Layers: any tar stream in, one deterministic tar out.
//!
//! Entries are written to a spool in the order in which they come, hashed on the way. If that was the right order, the spool
//! is the layer; else bodies are copied out of it in order. A large tree may be cut into several layers (`cut`), which are
//! hashed side by side. What the store has already is hashed and not written.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::cut::Places;
use super::entry::{Entry, Kind, below, clean, order, parent};
use super::rules::{Implied, LayerRules};
use super::source::{Source, padding};
use super::spool::{MEMORY, Spool};
use super::{Batch, BlobStore, Digest, ImageError, Layer, Result};

const ZEROS: [u8; 1024] = [0; 1024];

/// Stores the tree in `tar` as a layer; it needs not be sorted.
///
/// The layer is in the order of a walk through the tree, names sorted; modification times are constant, there are no user names; hard links stay (the first path in
/// order carries the content). Refused with the path in question, before the layer has a name: absolute paths, `..`,
/// devices, pipes, sockets, anything below a link or a file, hard links to something outside of the stream, one path twice.
pub fn write_layer(blobs: &BlobStore, tar: impl Read, rules: &LayerRules) -> Result<Layer> {
    let mut writer = LayerWriter::new(blobs);
    writer.add_tar(tar, rules)?;
    writer.finish()
}

/// As `write_layer`, but a large tree becomes several layers, whose order does not matter: a later version of the tree has
/// those in common with it in which nothing changed. Which part has which file depends on the tree alone.
///
/// Files in one of `slices`, 20 at most, share no layer with others. `slice_of` is asked about paths in the tree, after
/// stripping: the number of the slice, or `slices` for what is in none. A slice with nothing in it has no layer.
pub fn write_slices(
    blobs: &BlobStore,
    tar: impl Read,
    rules: &LayerRules,
    slices: usize,
    slice_of: &dyn Fn(&[u8]) -> usize,
) -> Result<Vec<Layer>> {
    let mut writer = LayerWriter::new(blobs);
    writer.add_tar(tar, rules)?;
    writer.finish_cut(slices, &|path: &[u8]| below(path, rules.prefix.as_bytes()).map_or(slices, slice_of))
}

/// A layer in the making, for what does not come as one tar stream. Order of the calls does not matter.
pub struct LayerWriter {
    blobs: BlobStore,
    spool: Spool,
    entries: Vec<Spooled>,
    by_path: HashMap<Vec<u8>, usize>,
    /// Of the spool, while the entries come in order.
    hasher: Option<Sha256>,
    batch: Option<Arc<Batch>>,
}

struct Spooled {
    entry: Entry,
    /// Where the body begins in the spool.
    body: u64,
    /// Made up for something below it, until the stream brings its own.
    implied: bool,
}

impl LayerWriter {
    pub fn new(blobs: &BlobStore) -> Self {
        Self {
            blobs: blobs.clone(),
            spool: Spool::new(blobs),
            entries: Vec::new(),
            by_path: HashMap::new(),
            hasher: Some(Sha256::new()),
            batch: None,
        }
    }

    /// Adds all entries of a tar stream.
    pub fn add_tar(&mut self, tar: impl Read, rules: &LayerRules) -> Result<()> {
        self.add_tar_with(tar, rules, &[])
    }

    /// As `add_tar`; files with a path in `endings` get that text after their own.
    pub(super) fn add_tar_with(&mut self, tar: impl Read, rules: &LayerRules, endings: &[(&str, &str)]) -> Result<()> {
        let mut source = Source::new(tar);
        self.batch.clone_from(&rules.batch);
        self.spool.belongs_to(rules.batch.clone());
        let (mut entries, mut bytes) = (0, 0u64);
        while let Some(raw) = source.next()? {
            entries += 1;
            bytes = bytes.saturating_add(raw.size);
            if entries > rules.max_entries {
                return Err(ImageError::TooLarge(format!("more than {} entries", rules.max_entries)));
            }
            if bytes > rules.max_bytes {
                return Err(ImageError::TooLarge(format!("more than {} bytes", rules.max_bytes)));
            }
            if let Some(batch) = &rules.batch {
                batch.take(raw.size, raw.path.len() + raw.link.len())?;
            }
            let Some(mut entry) = rules.apply(raw)? else { continue };
            let ending = endings.iter().find(|(path, _)| path.as_bytes() == entry.path).map_or("", |&(_, text)| text);
            if let Kind::File(size) = &mut entry.kind {
                *size += ending.len() as u64;
            }
            self.add(entry, rules.implied(), &mut (&mut source).chain(ending.as_bytes()))?;
        }
        Ok(())
    }

    /// Adds a directory; one that is there already gets this mode and owner (user id, group id).
    pub fn directory(&mut self, path: &str, mode: u32, owner: (u64, u64)) -> Result<()> {
        self.add_made(path, Kind::Directory, mode, owner, &[])
    }

    pub fn file(&mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) -> Result<()> {
        self.add_made(path, Kind::File(content.len() as u64), mode, owner, content)
    }

    pub fn symlink(&mut self, path: &str, target: &str, owner: (u64, u64)) -> Result<()> {
        self.add_made(path, Kind::Symlink(target.as_bytes().to_vec()), 0o777, owner, &[])
    }

    /// The layer, which is now in the store.
    pub fn finish(mut self) -> Result<Layer> {
        let moved = self.settle()?;
        self.whole(moved)
    }

    /// The layers, which are now in the store.
    fn finish_cut(mut self, slices: usize, slice_of: &dyn Fn(&[u8]) -> usize) -> Result<Vec<Layer>> {
        let moved = self.settle()?;
        let files = self.entries.iter().filter(|spooled| matches!(spooled.entry.kind, Kind::File(_)));
        let files = files.map(|spooled| (spooled.entry.path.as_slice(), spooled.entry.size()));
        let places = Places::of(slices, slice_of, files);
        if places.last() == 0 { Ok(vec![self.whole(moved)?]) } else { self.parts(&places) }
    }

    /// Nothing comes any more. Whether what came has another form now.
    fn settle(&mut self) -> Result<bool> {
        let moved = self.settle_links()?;
        for Spooled { entry, .. } in &self.entries {
            let above = parent(&entry.path).and_then(|above| self.by_path.get(above));
            if above.is_some_and(|&above| self.entries[above].entry.kind != Kind::Directory) {
                return Err(ImageError::entry(&entry.path, "lies below something that is no directory"));
            }
        }
        Ok(moved)
    }

    fn whole(mut self, moved: bool) -> Result<Layer> {
        match self.hasher.take() {
            Some(hasher) if !moved => self.keep_spool(hasher),
            _ => self.write_sorted(),
        }
    }

    fn add_made(&mut self, path: &str, kind: Kind, mode: u32, owner: (u64, u64), mut body: &[u8]) -> Result<()> {
        let path = clean(path.as_bytes())?;
        let entry = Entry { path, kind, mode, uid: owner.0, gid: owner.1, attributes: Vec::new() };
        self.add(entry, Implied::ROOT, &mut body)
    }

    fn add(&mut self, entry: Entry, implied: Implied<'_>, body: &mut impl Read) -> Result<()> {
        if let Some(&known) = self.by_path.get(&entry.path) {
            return self.replace(known, entry);
        }
        self.imply_parents(&entry.path, implied)?;
        self.push(entry, false, body)
    }

    fn push(&mut self, entry: Entry, implied: bool, body: &mut impl Read) -> Result<()> {
        if self.entries.last().is_some_and(|last| order(&last.entry.path, &entry.path).is_ge()) {
            self.hasher = None;
        }
        self.write(&entry.head())?;
        let start = self.spool.written();
        let size = entry.size();
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(256 << 10)];
        let mut left = size;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            body.read_exact(&mut buffer[..wanted]).map_err(ImageError::Stream)?;
            self.write(&buffer[..wanted])?;
            left -= wanted as u64;
        }
        self.write(&ZEROS[..padding(size) as usize])?;
        self.by_path.insert(entry.path.clone(), self.entries.len());
        self.entries.push(Spooled { entry, body: start, implied });
        Ok(())
    }

    /// A second directory of one path tells its mode and owner anew; anything else twice is refused.
    fn replace(&mut self, known: usize, entry: Entry) -> Result<()> {
        let old = &mut self.entries[known];
        if old.entry.kind != Kind::Directory || entry.kind != Kind::Directory {
            let reason = if old.implied { "lies above other entries and is no directory" } else { "comes twice" };
            return Err(ImageError::entry(&entry.path, reason));
        }
        old.implied = false;
        old.entry = entry;
        self.hasher = None;
        Ok(())
    }

    fn imply_parents(&mut self, path: &[u8], implied: Implied<'_>) -> Result<()> {
        let slashes = path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| at);
        for at in slashes {
            if !self.by_path.contains_key(&path[..at]) {
                let path = path[..at].to_vec();
                let (uid, gid) = if below(&path, implied.prefix).is_some() { implied.owner } else { (0, 0) };
                let entry = Entry { path, kind: Kind::Directory, mode: 0o755, uid, gid, attributes: Vec::new() };
                self.push(entry, true, &mut io::empty())?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.spool.write(bytes)
    }

    /// Makes the first path of each group of hard links the one with the content. True when that changed anything.
    fn settle_links(&mut self) -> Result<bool> {
        let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut changed = false;
        for link in 0..self.entries.len() {
            if !matches!(self.entries[link].entry.kind, Kind::Link(_)) {
                continue;
            }
            let target = self.link_target(link)?;
            match &self.entries[target].entry.kind {
                Kind::File(_) => groups.entry(target).or_default().push(link),
                Kind::Symlink(_) => {
                    let path = std::mem::take(&mut self.entries[link].entry.path);
                    self.entries[link].entry = Entry { path, ..self.entries[target].entry.clone() };
                    changed = true;
                }
                _ => return Err(ImageError::entry(&self.entries[link].entry.path, "is a hard link to a directory")),
            }
        }
        for (file, links) in groups {
            let original = self.entries[file].entry.clone();
            let body = self.entries[file].body;
            let first =
                links.iter().copied().chain([file]).min_by(|&one, &other| self.compare(one, other)).unwrap_or(file);
            let first_path = self.entries[first].entry.path.clone();
            for member in links.into_iter().chain([file]) {
                let spooled = &mut self.entries[member];
                let kind = if member == first { original.kind.clone() } else { Kind::Link(first_path.clone()) };
                changed |= spooled.entry.kind != kind;
                let path = std::mem::take(&mut spooled.entry.path);
                spooled.entry = Entry { path, kind, ..original.clone() };
                spooled.body = body;
            }
        }
        Ok(changed)
    }

    fn link_target(&self, link: usize) -> Result<usize> {
        let path = &self.entries[link].entry.path;
        let mut at = link;
        // a chain longer than the number of entries is a circle
        for _ in 0..self.entries.len() {
            let Kind::Link(target) = &self.entries[at].entry.kind else { return Ok(at) };
            at = *self.by_path.get(target).ok_or_else(|| {
                ImageError::entry(path, format!("is a hard link to {:?}, which is not in the tree", lossy(target)))
            })?;
        }
        Err(ImageError::entry(path, "is a hard link to itself"))
    }

    fn keep_spool(self, mut hasher: Sha256) -> Result<Layer> {
        hasher.update(ZEROS);
        let digest = Digest::from_hasher(hasher);
        let size = self.spool.written() + ZEROS.len() as u64;
        if !self.blobs.has(&digest) {
            let mut spool = self.spool;
            spool.write(&ZEROS)?;
            let file = spool.into_file()?;
            keep(&self.blobs, self.batch.as_deref(), file, digest)?;
        }
        Ok(Layer { digest, size })
    }

    fn write_sorted(mut self) -> Result<Layer> {
        self.spool.close()?;
        let sorted = self.sorted(|_| true);
        if self.spool.written() <= MEMORY as u64 {
            let mut tar = Vec::with_capacity(self.spool.written() as usize + ZEROS.len());
            self.copy(&sorted, &mut tar).map_err(ImageError::Stream)?;
            let layer = Layer { digest: Digest::of(&tar), size: tar.len() as u64 };
            if !self.blobs.has(&layer.digest) {
                let mut file = self.file_for(&layer)?;
                file.write_all(&tar).map_err(ImageError::store("write", file.path()))?;
                keep(&self.blobs, self.batch.as_deref(), file, layer.digest)?;
            }
            return Ok(layer);
        }
        self.store(&sorted)
    }

    /// The layers of a tree that is cut. A directory is in each that has something of what lies below it.
    fn parts(mut self, places: &Places<'_>) -> Result<Vec<Layer>> {
        self.spool.close()?;
        let mut parts = vec![0_u64; self.entries.len()];
        for (number, spooled) in self.entries.iter().enumerate() {
            let part = match &spooled.entry {
                Entry { kind: Kind::Directory, .. } => continue,
                // Its content is there.
                Entry { kind: Kind::Link(target), .. } => places.part(target),
                Entry { path, .. } => places.part(path),
            };
            self.mark(&mut parts, number, 1 << part);
        }
        for number in 0..self.entries.len() {
            if parts[number] == 0 {
                let part = places.bare(&self.entries[number].entry.path);
                self.mark(&mut parts, number, 1 << part);
            }
        }
        let parts: Vec<_> = (0..=places.last())
            .map(|part| self.sorted(|number| parts[number] & (1 << part) != 0))
            .filter(|part| !part.is_empty())
            .collect();
        self.store_all(&parts)
    }

    /// The entry and the directories above it are in these parts as well.
    fn mark(&self, parts: &mut [u64], number: usize, bits: u64) {
        let mut at = Some(number);
        while let Some(number) = at.filter(|&number| parts[number] & bits != bits) {
            parts[number] |= bits;
            at = parent(&self.entries[number].entry.path).and_then(|above| self.by_path.get(above)).copied();
        }
    }

    /// As many at a time as there are processors.
    fn store_all(&self, parts: &[Vec<usize>]) -> Result<Vec<Layer>> {
        let (next, workers) = (AtomicUsize::new(0), std::thread::available_parallelism().map_or(1, usize::from));
        let work = || {
            let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&number| number < parts.len());
            std::iter::from_fn(take).map(|number| (number, self.store(&parts[number]))).collect::<Vec<_>>()
        };
        let mut stored: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers.min(parts.len())).map(|_| scope.spawn(work)).collect();
            let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.flat_map(|done| done.unwrap_or_else(|fault| std::panic::resume_unwind(fault))).collect()
        });
        stored.sort_by_key(|(number, _)| *number);
        stored.into_iter().map(|(_, layer)| layer).collect()
    }

    /// A layer of these entries. Hashed before it is written: mostly the store has it.
    fn store(&self, entries: &[usize]) -> Result<Layer> {
        let mut hashed = Hashed { hasher: Sha256::new(), size: 0 };
        self.copy(entries, &mut hashed).map_err(ImageError::Stream)?;
        let layer = Layer { digest: Digest::from_hasher(hashed.hasher), size: hashed.size };
        if !self.blobs.has(&layer.digest) {
            let mut file = self.file_for(&layer)?;
            let path = file.path().to_owned();
            let mut buffered = BufWriter::with_capacity(1 << 20, &mut file);
            let copied = self.copy(entries, &mut buffered).and_then(|()| buffered.flush());
            copied.map_err(ImageError::store("write", &path))?;
            drop(buffered);
            keep(&self.blobs, self.batch.as_deref(), file, layer.digest)?;
        }
        Ok(layer)
    }

    /// Where the layer is written to, with room for all of it.
    fn file_for(&self, layer: &Layer) -> Result<NamedTempFile> {
        if let Some(batch) = &self.batch {
            batch.writes(layer.size)?;
        }
        self.blobs.temporary()
    }

    fn compare(&self, one: usize, other: usize) -> std::cmp::Ordering {
        order(&self.entries[one].entry.path, &self.entries[other].entry.path)
    }

    fn sorted(&self, takes: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut taken: Vec<_> = (0..self.entries.len()).filter(|&number| takes(number)).collect();
        taken.sort_unstable_by(|&one, &other| self.compare(one, other));
        taken
    }

    fn copy(&self, entries: &[usize], out: &mut impl Write) -> io::Result<()> {
        for &number in entries {
            let Spooled { entry, body, .. } = &self.entries[number];
            out.write_all(&entry.head())?;
            let size = entry.size();
            self.spool.copy(*body, size, out)?;
            out.write_all(&ZEROS[..padding(size) as usize])?;
        }
        out.write_all(&ZEROS)
    }
}

/// In a batch it has its name when all have.
fn keep(blobs: &BlobStore, batch: Option<&Batch>, file: NamedTempFile, digest: Digest) -> Result<()> {
    match batch {
        Some(batch) => batch.hold(file, digest),
        None => blobs.keep(file, &digest)?,
    }
    Ok(())
}

struct Hashed {
    hasher: Sha256,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
