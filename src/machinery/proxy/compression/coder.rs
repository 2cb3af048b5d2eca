//! The three encoders behind one face: pieces in, pieces out. What waits in an encoder is brought out when nothing more comes for
//! the moment, so events reach the client one by one and files are compressed whole.

use std::io::{self, Write};
use std::mem::take;

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::{Coding, Press};

/// At these levels less than a millisecond of work for each of the encoders.
const TURN: usize = 64 << 10;
/// So much is collected before it is sent, as long as more comes.
const PIECE: usize = 8 << 10;
const GZIP_LEVEL: u32 = 5;
const BROTLI_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 1;
/// Of what came before, 128 KiB are looked at: memory is bounded by it, on both sides.
const WINDOW_BITS: u32 = 17;

pub(in super::super) struct Coder {
    encoder: Encoder,
    /// Bytes that went in since the last turn ended.
    worked: usize,
    /// Something may wait inside.
    holds: bool,
    out: Vec<u8>,
    trailers: Option<HeaderMap>,
    _press: Press,
}

enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    Ended,
}

impl Coder {
    pub(super) fn new(coding: Coding, press: Press) -> Option<Self> {
        let encoder = match coding {
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(WINDOW_BITS).ok()?;
                Encoder::Zstd(encoder)
            }
            Coding::Brotli => {
                Encoder::Brotli(Box::new(CompressorWriter::new(Vec::new(), 4096, BROTLI_LEVEL, WINDOW_BITS)))
            }
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
        };
        Some(Self { encoder, worked: 0, holds: false, out: Vec::new(), trailers: None, _press: press })
    }

    pub(in super::super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.worked += piece.len();
        self.holds |= !piece.is_empty();
        self.on(|writer| writer.write_all(piece))
    }

    /// What has gone in can be read by the client once all of `take_piece` has come out.
    pub(in super::super) fn flush(&mut self) -> io::Result<()> {
        self.holds = false;
        self.on(|writer| writer.flush())
    }

    pub(in super::super) fn finish(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        self.trailers = trailers;
        self.holds = false;
        let rest = match std::mem::replace(&mut self.encoder, Encoder::Ended) {
            Encoder::Zstd(encoder) => encoder.finish()?,
            Encoder::Brotli(encoder) => encoder.into_inner(),
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Ended => return Ok(()),
        };
        self.out.extend_from_slice(&rest);
        Ok(())
    }

    /// What is ready to be sent; none as long as it is worth collecting more.
    pub(in super::super) fn take_piece(&mut self) -> Option<Bytes> {
        let is_due = self.out.len() >= PIECE || !self.holds;
        (is_due && !self.out.is_empty()).then(|| take(&mut self.out).into())
    }

    pub(in super::super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Whether there is something to `flush`.
    pub(in super::super) fn holds(&self) -> bool {
        self.holds
    }

    pub(in super::super) fn has_ended(&self) -> bool {
        matches!(self.encoder, Encoder::Ended)
    }

    /// Nothing more comes out.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.has_ended() && self.out.is_empty() && self.trailers.is_none()
    }

    /// Others have waited long enough.
    pub(in super::super) fn ends_turn(&mut self) -> bool {
        let ends = self.worked >= TURN;
        if ends {
            self.worked = 0;
        }
        ends
    }

    fn on(&mut self, work: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let out = match &mut self.encoder {
            Encoder::Zstd(encoder) => {
                work(encoder)?;
                encoder.get_mut()
            }
            Encoder::Brotli(encoder) => {
                work(encoder)?;
                encoder.get_mut()
            }
            Encoder::Gzip(encoder) => {
                work(encoder)?;
                encoder.get_mut()
            }
            Encoder::Ended => return Ok(()),
        };
        if self.out.is_empty() {
            self.out = take(out);
        } else {
            self.out.append(out);
        }
        Ok(())
    }
}
