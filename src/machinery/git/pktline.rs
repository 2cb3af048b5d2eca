//! Packet lines: git's framing. Four hexadecimal digits of length, then the bytes; `0000`, `0001`, `0002` are marks.

use std::io::{self, BufRead, Write};

use gix_packetline::blocking_io::encode;

use super::{GitError, Result};

/// Largest payload of one packet.
pub(super) const MAX_DATA: usize = 65516;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Data(&'a [u8]),
    Flush,
    Delimiter,
    ResponseEnd,
}

impl<'a> Packet<'a> {
    /// The payload without the newline that texts end with.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// Reads packet after packet and never a byte beyond the one it returns.
pub(super) struct Reader<'r, R> {
    from: &'r mut R,
    buffer: Vec<u8>,
}

impl<'r, R: BufRead> Reader<'r, R> {
    pub(super) fn new(from: &'r mut R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// None when the stream ends between two packets.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>> {
        if self.from.fill_buf().map_err(GitError::Disconnected)?.is_empty() {
            return Ok(None);
        }
        let mut head = [0; 4];
        self.from.read_exact(&mut head).map_err(GitError::Disconnected)?;
        let length = std::str::from_utf8(&head)
            .ok()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .ok_or_else(|| {
                GitError::Protocol(format!("{:?} is not a packet length", String::from_utf8_lossy(&head)))
            })?;
        match length {
            0 => Ok(Some(Packet::Flush)),
            1 => Ok(Some(Packet::Delimiter)),
            2 => Ok(Some(Packet::ResponseEnd)),
            3 => Err(GitError::Protocol("a packet of length 3 cannot be".into())),
            length if length - 4 > MAX_DATA => {
                Err(GitError::Protocol(format!("a packet of {length} bytes is too long")))
            }
            length => {
                self.buffer.resize(length - 4, 0);
                self.from.read_exact(&mut self.buffer).map_err(GitError::Disconnected)?;
                Ok(Some(Packet::Data(&self.buffer)))
            }
        }
    }
}

/// One packet with `line` and a newline.
pub(super) fn line(mut out: impl Write, line: impl AsRef<[u8]>) -> io::Result<()> {
    encode::text_to_write(line.as_ref(), &mut out).map(drop)
}

pub(super) fn flush(mut out: impl Write) -> io::Result<()> {
    encode::flush_to_write(&mut out)?;
    out.flush()
}

pub(super) fn delimiter(mut out: impl Write) -> io::Result<()> {
    encode::delim_to_write(&mut out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_packets_and_stops_exactly_behind_the_last() {
        let mut input: &[u8] = b"0009done\n00000001PACK";
        let mut reader = Reader::new(&mut input);
        assert_eq!(reader.next().unwrap().unwrap().text(), Some(&b"done"[..]));
        assert_eq!(reader.next().unwrap(), Some(Packet::Flush));
        assert_eq!(reader.next().unwrap(), Some(Packet::Delimiter));
        assert_eq!(input, b"PACK");
    }

    #[test]
    fn the_end_between_packets_is_no_error_and_inside_one_it_is() {
        assert_eq!(Reader::new(&mut &b""[..]).next().unwrap(), None);
        assert!(matches!(Reader::new(&mut &b"00"[..]).next(), Err(GitError::Disconnected(_))));
        assert!(matches!(Reader::new(&mut &b"0009do"[..]).next(), Err(GitError::Disconnected(_))));
    }

    #[test]
    fn refuses_lengths_that_cannot_be() {
        for bad in ["0003", "ffff", "+123", "xyz0", "    "] {
            assert!(matches!(Reader::new(&mut bad.as_bytes()).next(), Err(GitError::Protocol(_))), "{bad}");
        }
        assert_eq!(Reader::new(&mut &b"0004"[..]).next().unwrap(), Some(Packet::Data(b"")));
    }
}
