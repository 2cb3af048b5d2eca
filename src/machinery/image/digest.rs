//! Names of blobs by content.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::base::model::{ContentDigest, ImageDigest, NameError};

/// SHA-256 of a blob; its text is `sha256:` and 64 lower-case hexadecimal digits (OCI image spec, descriptor).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    pub(super) fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Self::from_hasher(hasher)),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    pub(super) fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The 64 digits alone, as file names have them.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    pub fn to_image(self) -> ImageDigest {
        self.to_string().parse().expect("a digest's text has the grammar of an image digest")
    }
}

impl From<&ImageDigest> for Digest {
    fn from(image: &ImageDigest) -> Self {
        image.as_str().parse().expect("an image digest has the grammar of a digest")
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        digest.to_string().parse().expect("a digest's text has the grammar of a content's digest")
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let image: ImageDigest = text.parse()?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&image.as_str()["sha256:".len()..], &mut bytes)
            .map_err(|_| NameError::new("must be hexadecimal"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_other_texts_are_refused() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(Digest::from(&digest.to_image()), digest);
        for bad in ["", "sha256:", "sha512:aa", "sha256:../../etc/passwd", &digest.to_string().to_uppercase()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
