//! Just enough tar (POSIX.1-2017 pax, with GNU long names) to find a file in what an engine sends, without
//! holding more than one piece of it. Nothing is ever unpacked to disk here.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::ByteStream;

const BLOCK: usize = 512;
/// The longest name or pax record that is read into memory.
const LONGEST_RECORD: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File,
    Directory,
    /// Symbolic or hard.
    Link,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub kind: Kind,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Target of a link.
    pub link: String,
}

pub struct Reader {
    source: ByteStream,
    buffer: BytesMut,
    /// Content of the current entry that was not handed out yet, and the padding behind it.
    left: u64,
    padding: u64,
    /// The header blocks of the current entry, those that only name it included.
    raw: Vec<u8>,
}

impl Reader {
    pub fn new(source: ByteStream) -> Self {
        Self { source, buffer: BytesMut::new(), left: 0, padding: 0, raw: Vec::new() }
    }

    /// The next entry; what was not read of the one before is skipped. `None` at the end of the archive.
    pub async fn next_entry(&mut self) -> std::io::Result<Option<Entry>> {
        let (mut long_path, mut long_link, mut long_size) = (None, None, None);
        while self.chunk().await?.is_some() {}
        self.raw.clear();
        loop {
            let Some(header) = self.header().await? else { return Ok(None) };
            let size = number(&header[124..136])?;
            self.expect(size);
            match header[156] {
                b'x' => {
                    for (key, value) in pax(&self.record(size).await?)? {
                        match key.as_str() {
                            "path" => long_path = Some(value),
                            "linkpath" => long_link = Some(value),
                            "size" => long_size = Some(value.parse().map_err(std::io::Error::other)?),
                            _ => {}
                        }
                    }
                }
                b'L' => long_path = Some(text(&self.record(size).await?)),
                b'K' => long_link = Some(text(&self.record(size).await?)),
                b'g' => drop(self.record(size).await?),
                kind => {
                    let kind = match kind {
                        b'0' | 0 | b'7' => Kind::File,
                        b'5' => Kind::Directory,
                        b'1' | b'2' => Kind::Link,
                        _ => Kind::Other,
                    };
                    let size = if kind == Kind::File { long_size.unwrap_or(size) } else { 0 };
                    self.expect(size);
                    let mode = u32::try_from(number(&header[100..108])?).unwrap_or_default() & 0o7777;
                    let uid = number(&header[108..116])?;
                    let path = long_path.unwrap_or_else(|| short_path(&header));
                    let link = long_link.unwrap_or_else(|| text(&header[157..257]));
                    return Ok(Some(Entry { path, kind, size, mode, uid, link }));
                }
            }
        }
    }

    /// The next piece of the current entry's content.
    pub async fn chunk(&mut self) -> std::io::Result<Option<Bytes>> {
        if self.left == 0 {
            while self.padding > 0 {
                self.fill(1).await?;
                let skip = self.buffer.len().min(usize::try_from(self.padding).unwrap_or(BLOCK));
                self.buffer.advance(skip);
                self.padding -= skip as u64;
            }
            return Ok(None);
        }
        self.fill(1).await?;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let piece = self.buffer.split_to(self.buffer.len().min(most)).freeze();
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// The whole content of the current entry; the caller has seen that its size is bearable.
    pub async fn whole(&mut self) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    async fn record(&mut self, size: u64) -> std::io::Result<Vec<u8>> {
        if size > LONGEST_RECORD {
            return Err(std::io::Error::other("a name in the archive is longer than 1 MiB"));
        }
        let all = self.whole().await?;
        self.raw.extend_from_slice(&all);
        self.raw.resize(self.raw.len().next_multiple_of(BLOCK), 0);
        Ok(all)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// `None` at the zero block that ends an archive, or where the source ends.
    async fn header(&mut self) -> std::io::Result<Option<[u8; BLOCK]>> {
        if self.buffer.is_empty() && !self.more().await? {
            return Ok(None);
        }
        self.fill(BLOCK).await?;
        let mut header = [0; BLOCK];
        self.buffer.copy_to_slice(&mut header);
        if header.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u64 =
            header.iter().enumerate().map(|(i, b)| u64::from(if (148..156).contains(&i) { b' ' } else { *b })).sum();
        if number(&header[148..156])? != sum {
            return Err(std::io::Error::other("not a tar archive: a header's checksum is wrong"));
        }
        self.raw.extend_from_slice(&header);
        Ok(Some(header))
    }

    async fn fill(&mut self, length: usize) -> std::io::Result<()> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    }

    async fn more(&mut self) -> std::io::Result<bool> {
        loop {
            match self.source.next().await.transpose()? {
                None => return Ok(false),
                Some(piece) if piece.is_empty() => {}
                // A large piece is taken over, not copied.
                Some(piece) if self.buffer.is_empty() => {
                    self.buffer = BytesMut::from(piece);
                    return Ok(true);
                }
                Some(piece) => {
                    self.buffer.extend_from_slice(&piece);
                    return Ok(true);
                }
            }
        }
    }
}

/// The same archive without the entries that `unwanted` picks; the others pass as they are.
pub fn without(archive: ByteStream, unwanted: fn(&Entry) -> bool) -> ByteStream {
    changed(archive, unwanted, None)
}

fn changed(archive: ByteStream, unwanted: fn(&Entry) -> bool, mode: Option<u32>) -> ByteStream {
    enum At {
        Header,
        Content(usize),
        End,
    }
    let start = (Reader::new(archive), At::Header);
    let kept = stream::try_unfold(start, move |(mut reader, mut at)| async move {
        loop {
            at = match at {
                // What follows the end is of no use, but a source may do something at its own end.
                At::End => {
                    while reader.source.next().await.transpose()?.is_some() {}
                    return Ok(None);
                }
                At::Header => match reader.next_entry().await? {
                    None => return Ok(Some((Bytes::from_static(&[0; 2 * BLOCK]), (reader, At::End)))),
                    Some(entry) if unwanted(&entry) => At::Header,
                    Some(entry) => {
                        let padding = (entry.size.wrapping_neg() % BLOCK as u64) as usize;
                        let mut raw = std::mem::take(&mut reader.raw);
                        if let (Some(mode), Kind::File | Kind::Directory) = (mode, entry.kind) {
                            set_mode(&mut raw, mode);
                        }
                        return Ok(Some((Bytes::from(raw), (reader, At::Content(padding)))));
                    }
                },
                At::Content(padding) => match reader.chunk().await? {
                    Some(piece) => return Ok(Some((piece, (reader, At::Content(padding))))),
                    None if padding > 0 => return Ok(Some((Bytes::from(vec![0; padding]), (reader, At::Header)))),
                    None => At::Header,
                },
            };
        }
    });
    kept.boxed()
}

/// In the last of these blocks, the entry's own.
fn set_mode(raw: &mut [u8], mode: u32) {
    let at = raw.len().saturating_sub(BLOCK);
    let header = &mut raw[at..];
    header[100..108].copy_from_slice(format!("{:07o}\0", mode & 0o7777).as_bytes());
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The same archive, every file and directory of this mode.
pub fn with_mode(archive: ByteStream, mode: u32) -> ByteStream {
    changed(archive, |_| false, Some(mode))
}

/// Octal text, or base 256 when the top bit is set (GNU).
fn number(field: &[u8]) -> std::io::Result<u64> {
    let wrong = || std::io::Error::other("not a tar archive: a header holds no number where one must be");
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        if high.iter().skip(1).any(|b| *b != 0) || (high.is_empty() && field[0] != 0x80) {
            return Err(wrong());
        }
        return Ok(low.iter().fold(0, |sum, b| (sum << 8) | u64::from(*b)) & (u64::MAX >> 1));
    }
    let digits = text(field);
    let digits = digits.trim();
    if digits.is_empty() { Ok(0) } else { u64::from_str_radix(digits, 8).map_err(|_| wrong()) }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn short_path(header: &[u8; BLOCK]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // GNU archives ("ustar  ") keep other things where POSIX has the prefix.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

/// `<length> <key>=<value>\n`, repeated; length counts itself.
fn pax(mut records: &[u8]) -> std::io::Result<Vec<(String, String)>> {
    let wrong = || std::io::Error::other("not a tar archive: a pax record is malformed");
    let mut found = Vec::new();
    while !records.is_empty() {
        let space = records.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
        let length: usize = text(&records[..space]).parse().map_err(|_| wrong())?;
        let record = records.get(space + 1..length).ok_or_else(wrong)?;
        let (body, end) = record.split_at(record.len().checked_sub(1).ok_or_else(wrong)?);
        let equals = body.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
        if end != b"\n" {
            return Err(wrong());
        }
        found.push((text(&body[..equals]), String::from_utf8_lossy(&body[equals + 1..]).into_owned()));
        records = &records[length..];
    }
    Ok(found)
}

/// Appends one entry in ustar form, with a pax header where the path is too long for it. Owner 1000:1000, time 0.
pub fn append(out: &mut Vec<u8>, path: &str, kind: Kind, mode: u32, link: &str, content: &[u8]) {
    entry(out, (path, kind), mode, (1000, 1000), (link, content));
}

/// As `append`, for an entry without content of this user and group.
pub fn append_owned(out: &mut Vec<u8>, path: &str, kind: Kind, mode: u32, owner: (u64, u64)) {
    entry(out, (path, kind), mode, owner, ("", b""));
}

/// As `append`, for what is root's.
pub fn append_for_root(out: &mut Vec<u8>, path: &str, kind: Kind, mode: u32, link: &str, content: &[u8]) {
    entry(out, (path, kind), mode, (0, 0), (link, content));
}

/// As `append_for_root`, for a file of this user and group.
pub fn append_file(out: &mut Vec<u8>, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) {
    entry(out, (path, Kind::File), mode, owner, ("", content));
}

/// An archive of one file of root's, whose content comes in pieces.
pub fn one_file(path: &str, mode: u32, size: u64, content: ByteStream) -> ByteStream {
    let mut head = Vec::new();
    header(&mut head, (path, Kind::File), mode, (0, 0), ("", size));
    let mut end = vec![0; (size.wrapping_neg() % BLOCK as u64) as usize];
    finish(&mut end);
    stream::iter([Ok(Bytes::from(head))]).chain(content).chain(stream::iter([Ok(Bytes::from(end))])).boxed()
}

fn entry(out: &mut Vec<u8>, path: (&str, Kind), mode: u32, owner: (u64, u64), (link, content): (&str, &[u8])) {
    header(out, path, mode, owner, (link, content.len() as u64));
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn header(out: &mut Vec<u8>, (path, kind): (&str, Kind), mode: u32, (uid, gid): (u64, u64), (link, size): (&str, u64)) {
    if path.len() > 100 {
        let body = format!(" path={path}\n");
        let mut length = body.len() + 1;
        while length != body.len() + length.to_string().len() {
            length = body.len() + length.to_string().len();
        }
        entry(out, ("pax", Kind::Other), 0o644, (uid, gid), ("", format!("{length}{body}").as_bytes()));
    }
    let mut header = [0; BLOCK];
    let mut field = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    let octal = |value: u64, width: usize| format!("{value:0width$o}").into_bytes();
    field(0, &path.as_bytes()[..path.len().min(100)]);
    field(100, &octal(u64::from(mode), 7));
    field(108, &octal(uid & 0o7_777_777, 7));
    field(116, &octal(gid & 0o7_777_777, 7));
    field(124, &octal(size, 11));
    field(136, &octal(0, 11));
    field(148, b"        ");
    field(
        156,
        match kind {
            Kind::File => b"0",
            Kind::Directory => b"5",
            Kind::Link => b"2",
            Kind::Other => b"x",
        },
    );
    field(157, &link.as_bytes()[..link.len().min(100)]);
    field(257, b"ustar\x0000");
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
}

/// Two zero blocks.
pub fn finish(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    fn in_pieces(archive: &[u8], size: usize) -> Reader {
        let pieces: Vec<_> = archive.chunks(size).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
        Reader::new(stream::iter(pieces).boxed())
    }

    async fn list(mut reader: Reader) -> std::io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut all = Vec::new();
        while let Some(entry) = reader.next_entry().await? {
            let content = reader.whole().await?;
            all.push((entry, content));
        }
        Ok(all)
    }

    #[tokio::test]
    async fn entries_are_found_however_the_bytes_are_cut() {
        let long = "d/".repeat(80) + "file";
        let mut archive = Vec::new();
        append(&mut archive, "a", Kind::Directory, 0o755, "", b"");
        append(&mut archive, &long, Kind::File, 0o644, "", b"long");
        append(&mut archive, "link", Kind::Link, 0o777, "target", b"");
        append(&mut archive, "b", Kind::File, 0o600, "", &[7; 1500]);
        finish(&mut archive);
        for size in [1, 511, 512, 513, 100_000] {
            let all = list(in_pieces(&archive, size)).await.expect("readable");
            let seen: Vec<_> = all.iter().map(|(e, c)| (e.path.as_str(), e.kind, c.len(), e.link.as_str())).collect();
            assert_eq!(
                seen,
                [
                    ("a", Kind::Directory, 0, ""),
                    (long.as_str(), Kind::File, 4, ""),
                    ("link", Kind::Link, 0, "target"),
                    ("b", Kind::File, 1500, "")
                ]
            );
        }
    }

    #[tokio::test]
    async fn gnu_long_names_and_sizes_are_understood() {
        let long = "x".repeat(300);
        let mut archive = Vec::new();
        append(&mut archive, "././@LongLink", Kind::Other, 0o644, "", format!("{long}\0").as_bytes());
        append(&mut archive, "cut", Kind::File, 0o755, "", b"22");
        let at = BLOCK + BLOCK;
        archive[156] = b'L';
        archive[at + 124..at + 136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        for at in [0, at] {
            archive[at + 148..at + 156].copy_from_slice(b"        ");
            let sum: u64 = archive[at..at + BLOCK].iter().map(|b| u64::from(*b)).sum();
            archive[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let all = list(in_pieces(&archive, 700)).await.expect("readable");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].0.path.as_str(), all[0].0.mode, all[0].1.as_slice()), (long.as_str(), 0o755, &b"22"[..]));
    }

    #[tokio::test]
    async fn unwanted_entries_are_left_out_and_the_rest_is_the_same() {
        let long = "d/".repeat(80) + "file";
        let (mut all, mut wanted) = (Vec::new(), Vec::new());
        for (path, content) in [("a", &b"1"[..]), ("sbin/docker-init", b"xyz"), (&long, &[7; 1500]), ("empty", b"")] {
            append(&mut all, path, Kind::File, 0o644, "", content);
            if path != "sbin/docker-init" {
                append(&mut wanted, path, Kind::File, 0o644, "", content);
            }
        }
        finish(&mut all);
        finish(&mut wanted);
        for size in [100, 100_000] {
            let pieces: Vec<_> = all.chunks(size).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
            let kept = without(stream::iter(pieces).boxed(), |entry| entry.path == "sbin/docker-init");
            let kept: Vec<Bytes> = kept.try_collect().await.expect("readable");
            assert!(kept.concat() == wanted);
        }
    }

    #[tokio::test]
    async fn garbage_and_cut_archives_are_faults() {
        assert!(list(in_pieces(&[b'x'; 600], 600)).await.is_err());
        let mut archive = Vec::new();
        append(&mut archive, "b", Kind::File, 0o600, "", &[7; 1500]);
        assert!(list(in_pieces(&archive[..900], 100)).await.is_err());
        for record in ["9 path=x", "99 path=x\n", "x", "0 a=b\n", "2 \n"] {
            assert!(pax(record.as_bytes()).is_err(), "{record:?}");
        }
    }
}
