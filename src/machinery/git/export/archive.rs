//! Writes tar in the GNU form: the one that carries names and link targets of any bytes and length and that every reader
//! understands. Format: "Basic Tar Format" in the manual of GNU tar.

use std::io::{self, Write};

const BLOCK: usize = 512;
/// What eleven octal digits hold.
pub(super) const MAX_FILE_BYTES: u64 = (1 << 33) - 1;

pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    pub(super) fn directory(&mut self, path: &[u8]) -> io::Result<()> {
        let mut path = path.to_vec();
        path.push(b'/');
        self.entry(b'5', 0o755, &path, &[], &[])
    }

    pub(super) fn file(&mut self, path: &[u8], executable: bool, content: &[u8]) -> io::Result<()> {
        self.entry(b'0', if executable { 0o755 } else { 0o644 }, path, &[], content)
    }

    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.entry(b'2', 0o777, path, target, &[])
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }

    fn entry(&mut self, kind: u8, mode: u64, path: &[u8], target: &[u8], content: &[u8]) -> io::Result<()> {
        for (long_kind, text) in [(b'K', target), (b'L', path)] {
            if text.len() > 100 {
                let mut text = text.to_vec();
                text.push(0);
                self.header(long_kind, 0, b"././@LongLink", &[], text.len() as u64)?;
                self.content(&text)?;
            }
        }
        self.header(kind, mode, path, target, content.len() as u64)?;
        self.content(content)
    }

    fn header(&mut self, kind: u8, mode: u64, path: &[u8], target: &[u8], size: u64) -> io::Result<()> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &path[..path.len().min(100)]);
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, &target[..target.len().min(100)]);
        put(257, b"ustar  \0");
        let sum: u64 = header.iter().copied().map(u64::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.out.write_all(&header)
    }

    fn content(&mut self, content: &[u8]) -> io::Result<()> {
        self.out.write_all(content)?;
        let padding = content.len().next_multiple_of(BLOCK) - content.len();
        self.out.write_all(&[0; BLOCK][..padding])
    }
}
