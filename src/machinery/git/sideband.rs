//! The multiplexed stream of git: data, progress texts, and a fatal text, in packet lines.

use std::io::{self, Write};

use gix_packetline::Channel;
use gix_packetline::blocking_io::encode;

use super::pktline::{self, MAX_DATA};

/// Writes the three bands over one stream. Nothing is held back: whoever wants fewer writes gives it a buffered `out`.
pub struct Sideband<W> {
    out: W,
}

impl<W: Write> Sideband<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    pub fn into_inner(self) -> W {
        self.out
    }

    /// Text that git prints behind `remote: `, each line of its own. Whoever wants a line ends it with `\n`.
    pub fn progress(&mut self, text: &str) -> io::Result<()> {
        self.band(Channel::Progress, text.as_bytes())
    }

    /// An empty packet that git reads and drops.
    pub fn keepalive(&mut self) -> io::Result<()> {
        self.out.write_all(b"0005\x01")
    }

    /// Ends the conversation with a text that git prints as fatal.
    pub fn error(&mut self, text: &str) -> io::Result<()> {
        self.band(Channel::Error, text.as_bytes())
    }

    /// Bytes of the payload, band 1.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.band(Channel::Data, bytes)
    }

    /// The flush packet that ends the stream.
    pub fn flush_packet(&mut self) -> io::Result<()> {
        pktline::flush(&mut self.out)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn band(&mut self, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(MAX_DATA - 1) {
            encode::band_to_write(channel, chunk, &mut self.out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_band_has_its_number_and_long_data_is_split() {
        let mut side = Sideband::new(Vec::new());
        side.progress("hi\n").unwrap();
        side.keepalive().unwrap();
        side.error("no").unwrap();
        side.data(&vec![b'x'; MAX_DATA]).unwrap();
        side.flush_packet().unwrap();
        let out = side.into_inner();
        assert!(out.starts_with(b"0008\x02hi\n0005\x010007\x03nofff0\x01x"));
        assert!(out.ends_with(b"0006\x01x0000"));
    }
}
