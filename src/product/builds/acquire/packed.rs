//! Packed buildpacks: a tar or zip of a directory, or an image as a file (`.cnb`). Nothing of a file's name says which.

use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use super::remote::{self, Fault};
use super::{Acquiring, BuildpackRef, Ground, MOST_BYTES, MOST_ENTRIES, read_source};
use crate::base::model::ImageDigest;
use crate::machinery::git::{Imported, Limits, Repositories, TreeLimits, import_file};
use crate::machinery::image::{BlobStore, Digest, copy_file, take_if_image, unpack};
use crate::product::builds::builder::Builder;
use crate::product::builds::descriptor::Member;
use crate::product::builds::{BuildFailure, Source, messages};

/// Of what is no image.
pub(super) const TREE: TreeLimits =
    TreeLimits { entries: MOST_ENTRIES as usize, total_bytes: MOST_BYTES, file_bytes: 512 << 20, depth: 100 };
pub(super) const LIMITS: Limits = Limits { pack_bytes: 1 << 30, objects: 400_000, object_bytes: 512 << 20 };
/// Bytes of a packed one in a tree.
const LONGEST: u64 = 1 << 30;

enum Opened {
    Tree(Source),
    Image(ImageDigest),
}

impl Builder {
    /// A packed buildpack in a tree, as a blob.
    pub(super) async fn packed_in(&self, ground: &Ground, path: &str) -> Result<Digest, BuildFailure> {
        let shown = ground.shown(path);
        let (blobs, wanted) = (self.blobs.clone(), path.to_owned());
        let copied = read_source(&ground.source, move |tar| {
            let mut out = blobs.writer()?;
            let found = copy_file(tar, &wanted, LONGEST, &mut out)?;
            Ok(if found { Some(out.finish()?.0) } else { None })
        });
        let found = copied.await.map_err(|error| messages::not_brought(&shown, &error))?;
        found.ok_or_else(|| messages::nothing_brought(&shown, path))
    }

    pub(super) async fn bring_packed(
        &self,
        acquiring: &mut Acquiring,
        (reference, pin): (&str, Option<&str>),
        packed: &Digest,
        todo: &mut Vec<(BuildpackRef, Ground)>,
    ) -> Result<Member, BuildFailure> {
        let (blobs, scratch, digest) = (self.blobs.clone(), self.scratch.clone(), *packed);
        let opened = tokio::task::spawn_blocking(move || open(&blobs, &scratch, &digest));
        let opened = opened.await.map_err(std::io::Error::other).map_err(Fault::Io).flatten();
        match opened.map_err(|fault| fault.told(reference))? {
            Opened::Image(image) => self.bring_image(acquiring, (reference, pin), image).await,
            Opened::Tree(source) => {
                let ground = Ground { source, name: Some(reference.to_owned()) };
                self.bring_tree(acquiring, "", &ground, pin, todo).await
            }
        }
    }
}

/// Blocks.
fn open(blobs: &BlobStore, scratch: &Path, packed: &Digest) -> Result<Opened, Fault> {
    let mut file = blobs.open_blob(packed)?;
    if let Some(saved) = take_if_image(blobs, &file, MOST_BYTES)? {
        return Ok(Opened::Image(unpack(blobs, &saved.contents, &saved.manifest, MOST_BYTES)?));
    }
    file.seek(SeekFrom::Start(0))?;
    std::fs::create_dir_all(scratch)?;
    let home = tempfile::tempdir_in(scratch)?;
    let repository = Repositories::open(home.path())?.create("packed")?;
    let what = Imported { message: "Packed buildpack", time: 0 };
    let (held, commit) = import_file(&repository, "pack", file, home.path(), (&TREE, &LIMITS), &what)?;
    Ok(Opened::Tree(remote::source(home, repository, held, commit)))
}
