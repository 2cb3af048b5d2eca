//! What is remembered of prepared images, in `<data>/base/<key>.json`, and bases that are made anew.
//!
//! A new base takes the place of the one before under the same key, whole or not at all; what was made on top of that one
//! is forgotten when nobody asks for it any more. Packages of an update need not be in the base itself, so what is installed
//! on a base is made anew for each making of it, even of one with the same content.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{BuildFailure, BuildLog, Images, clean, export, messages};
use crate::base::clock::Timestamp;
use crate::base::model::ImageDigest;
use crate::machinery::image::inspect;

/// A base, and when it was made; none where that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::product::builds) struct Base {
    pub image: ImageDigest,
    pub made: Option<Timestamp>,
}

impl Base {
    /// Tells two makings of one content apart.
    pub(super) fn edition(&self) -> Option<String> {
        self.made.map(|made| format!("made {}", made.0))
    }
}

/// The text of a file. Those of before hold the digest alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::product::builds) enum Record {
    Bare(ImageDigest),
    Dated {
        image: ImageDigest,
        made: Timestamp,
        /// Of a base: for people, what it was made of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<String>,
    },
}

impl Record {
    pub fn image(&self) -> &ImageDigest {
        match self {
            Self::Bare(image) | Self::Dated { image, .. } => image,
        }
    }
}

impl Images {
    /// For people: what bases are made of.
    pub fn source(&self) -> String {
        match self.config.base.as_str() {
            "debian" => format!("Debian {}", self.config.suite),
            other => clean(other.as_bytes()),
        }
    }

    /// The base that builds begin with, if it is there.
    pub fn known_base(&self) -> Option<Base> {
        let record = self.record(&self.base_key())?;
        let made = match &record {
            Record::Bare(_) => None,
            Record::Dated { made, .. } => Some(*made),
        };
        Some(Base { image: record.image().clone(), made })
    }

    /// Makes a base of what its source has now, in place of the one that is there; builds go on with that one meanwhile.
    pub async fn refresh(&self, log: &dyn BuildLog) -> Result<Base, BuildFailure> {
        let lock = self.lock(&format!("refresh {}", self.base_key()));
        let _alone = lock.lock().await;
        let image = self.fresh_base(log).await?;
        let base = self.remember_base(image)?;
        self.refreshed.fetch_add(1, Ordering::SeqCst);
        self.made().clear();
        Ok(base)
    }

    pub(super) fn remember_base(&self, image: ImageDigest) -> Result<Base, BuildFailure> {
        let made = export::now();
        self.write(&self.base_key(), &Record::Dated { image: image.clone(), made, base: Some(self.source()) })?;
        Ok(Base { image, made: Some(made) })
    }

    /// The image of a recipe, if all of it is still in the store.
    pub(super) fn recall(&self, key: &str) -> Option<ImageDigest> {
        self.record(key).map(|record| record.image().clone())
    }

    fn record(&self, key: &str) -> Option<Record> {
        let path = self.dir.join(format!("{key}.json"));
        let record: Record = serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
        let facts = inspect(&self.blobs, record.image()).ok()?;
        let whole = facts.layers.iter().all(|layer| self.blobs.has(&layer.digest));
        // Its time is its last use.
        let noted = std::fs::File::open(&path).and_then(|file| file.set_modified(export::file_time()));
        if let Err(error) = noted {
            tracing::debug!(path = %path.display(), %error, "the use of a recipe could not be noted");
        }
        whole.then_some(record)
    }

    pub(super) fn remember(&self, key: &str, image: &ImageDigest) -> Result<(), BuildFailure> {
        self.write(key, &Record::Dated { image: image.clone(), made: export::now(), base: None })
    }

    fn write(&self, key: &str, record: &Record) -> Result<(), BuildFailure> {
        let text = serde_json::to_string(record).expect("a record is JSON");
        export::write_file(&self.dir.join(format!("{key}.json")), text.as_bytes())
            .map_err(|error| messages::platform("storing a recipe", &error.to_string()))
    }
}
