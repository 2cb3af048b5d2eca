//! The multiplexed stream of git: data, progress texts, and a fatal text, in packet lines.

use std::io::{self, Write};

/// Writes the three bands over one stream.
pub struct Sideband<W> {
    _out: W,
}

impl<W: Write> Sideband<W> {
    pub fn new(out: W) -> Self {
        Self { _out: out }
    }

    /// Text that git prints behind `remote: `. Whoever wants a line ends it with `\n`.
    pub fn progress(&mut self, _text: &str) -> io::Result<()> {
        todo!()
    }

    /// An empty packet that git reads and drops.
    pub fn keepalive(&mut self) -> io::Result<()> {
        todo!()
    }

    /// Ends the conversation with a text that git prints as fatal.
    pub fn error(&mut self, _text: &str) -> io::Result<()> {
        todo!()
    }

    /// Bytes of the payload, band 1.
    pub fn data(&mut self, _bytes: &[u8]) -> io::Result<()> {
        todo!()
    }

    /// The flush packet that ends the stream.
    pub fn flush_packet(&mut self) -> io::Result<()> {
        todo!()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}
