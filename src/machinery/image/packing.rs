//! How a layer is packed, and its bytes unpacked. How many of them are read is for whoever reads.

use std::io::{self, BufRead, Read};

use flate2::read::MultiGzDecoder;

/// Logarithm of the bytes that a reader of zstd keeps: what its own tool takes without being told otherwise.
const WINDOW: u32 = 27;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// As the media type says (OCI image specification, "Layer media types"; Docker's as well). None: it is no layer's.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        match media_type.rsplit(['.', '+']).next() {
            Some("gzip") => Some(Self::Gzip),
            Some("zstd") => Some(Self::Zstd),
            Some("tar") => Some(Self::Plain),
            _ => None,
        }
    }

    /// By what the bytes begin with: four are enough.
    pub(super) fn beginning(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// Media type of a layer.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    pub(super) fn reader<'a>(self, packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(WINDOW)?;
                Box::new(decoder)
            }
        })
    }
}
