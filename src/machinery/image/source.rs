//! A reader of tar streams that are not trusted.
//!
//! The `tar` crate parses the header blocks; entries are read here, because its iterator splits PAX records at newlines,
//! which changes names and file capabilities that contain one.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{ImageError, Result};

const BLOCK: usize = 512;
/// Bytes of one extension header: far more than a path and a few attributes need.
const EXTENSION_LIMIT: u64 = 1 << 20;

pub(super) struct Source<R> {
    reader: R,
    /// Bytes of the current body, then of its padding, that were not read yet.
    body: u64,
    padding: u64,
}

/// One entry as the stream has it. Its body is read from the `Source`, at most `size` bytes.
pub(super) struct RawEntry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: EntryType,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    /// Full PAX keys (`SCHILY.xattr.…`) and values.
    pub attributes: Vec<(String, Vec<u8>)>,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    attributes: Vec<(String, Vec<u8>)>,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, body: 0, padding: 0 }
    }

    /// The next entry; what is left of the body of the one before is skipped. After the last one the stream is read to its
    /// end, so that a writer on the other side does not see it closed early.
    pub(super) fn next(&mut self) -> Result<Option<RawEntry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_body()?;
            let Some(header) = self.header()? else {
                io::copy(&mut self.reader, &mut io::sink()).map_err(ImageError::Stream)?;
                return Ok(None);
            };
            let size = header.entry_size().map_err(ImageError::Stream)?;
            self.open_body(size);
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    extensions.read_pax(&records)?;
                }
                EntryType::XGlobalHeader => {
                    self.extension(size)?;
                }
                EntryType::GNULongName => extensions.path = Some(without_nul(self.extension(size)?)),
                EntryType::GNULongLink => extensions.link = Some(without_nul(self.extension(size)?)),
                kind => return self.entry(&header, kind, size, extensions).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, kind: EntryType, size: u64, extensions: Extensions) -> Result<RawEntry> {
        let size = extensions.size.unwrap_or(size);
        self.open_body(size);
        Ok(RawEntry {
            path: extensions.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extensions.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default(),
            kind,
            mode: header.mode().map_err(ImageError::Stream)?,
            uid: extensions.uid.map_or_else(|| header.uid(), Ok).map_err(ImageError::Stream)?,
            gid: extensions.gid.map_or_else(|| header.gid(), Ok).map_err(ImageError::Stream)?,
            size,
            attributes: extensions.attributes,
        })
    }

    /// `None` at the end marker, or at the end of a stream that has none.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(broken("ends within a header")),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImageError::Stream(error)),
            }
        }
        if block.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|&b| u32::from(b)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(broken("has a header with a wrong checksum")),
        }
    }

    fn open_body(&mut self, size: u64) {
        self.body = size;
        self.padding = padding(size);
    }

    fn skip_body(&mut self) -> Result<()> {
        let rest = self.body + self.padding;
        (self.body, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.reader).take(rest), &mut io::sink()).map_err(ImageError::Stream)?;
        if skipped < rest { Err(broken("ends within a file")) } else { Ok(()) }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(ImageError::TooLarge(format!("an extension header of {size} bytes")));
        }
        let mut records = Vec::with_capacity(size as usize);
        self.read_to_end(&mut records).map_err(ImageError::Stream)?;
        Ok(records)
    }
}

/// Reads the current body; an early end of the stream is an error, never a short body.
impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        match self.reader.read(&mut buffer[..wanted])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar stream ends within a file")),
            n => {
                self.body -= n as u64;
                Ok(n)
            }
        }
    }
}

impl Extensions {
    /// Records of the form `<length> <key>=<value>\n`, where the length counts the whole record (POSIX pax).
    fn read_pax(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let (key, value, rest) = pax_record(records).ok_or_else(|| broken("has a malformed PAX record"))?;
            records = rest;
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "size" => self.size = Some(number(value)?),
                "uid" => self.uid = Some(number(value)?),
                "gid" => self.gid = Some(number(value)?),
                _ if key.starts_with("GNU.sparse.") => return Err(broken("holds a sparse file")),
                _ if key.starts_with("SCHILY.xattr.") => self.attributes.push((key.to_owned(), value.to_vec())),
                _ => {}
            }
        }
        Ok(())
    }
}

fn pax_record(records: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = records.iter().position(|&b| b == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    Some((std::str::from_utf8(&record[..equals]).ok()?, &record[equals + 1..], &records[length..]))
}

fn number(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| broken("has a PAX record that is no number"))
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

pub(super) fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn broken(text: &str) -> ImageError {
    ImageError::Stream(io::Error::new(io::ErrorKind::InvalidData, format!("the tar stream {text}")))
}
