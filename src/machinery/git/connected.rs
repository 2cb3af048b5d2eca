//! Whether a quarantine may join its repository: every object keeps the rules, and every link of every object leads to an
//! object of the right kind, in the quarantine or in the repository.
//!
//! Since that is asked of all pushed objects and not only of those that a ref reaches, the repository is closed under links at
//! any time, so an object that is in it needs no second look: the work grows with the push, not with the history.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::objs::Kind;
use gix::odb::Header;
use gix_pack::index::traverse::{Algorithm, Options, SafetyCheck};

use super::disk::storage;
use super::fsck::{self, text};
use super::quarantine::files;
use super::repository::gix_fault;
use super::{GitError, Result};

/// Below this many objects a second thread costs more than it brings.
const SMALL: u32 = 1_000;

/// `packs` is the directory of the quarantine's packs, `stored` the repository's own objects.
pub(super) fn check(packs: &Path, stored: &gix::odb::Handle, tips: &[ObjectId]) -> Result<()> {
    let mut pushed = Vec::new();
    for path in files(packs, "idx").map_err(storage("list", packs))? {
        pushed.push(gix_pack::Bundle::at(&path, Sha1).map_err(gix_fault("open the received pack", &path))?);
    }
    for bundle in &pushed {
        check_bundle(bundle, stored)?;
    }
    for tip in tips {
        let is_pushed = pushed.iter().any(|bundle| bundle.index.lookup(tip).is_some());
        if !is_pushed && kind_of(stored, tip)?.is_none() {
            return Err(GitError::Refused(format!(
                "the push names the object {tip} but does not bring it; run `git fsck` in your clone and push again"
            )));
        }
    }
    Ok(())
}

/// A link that leaves the pack: as what it was used, and by which object.
struct Leaving {
    kind: Kind,
    from: ObjectId,
}

fn check_bundle(bundle: &gix_pack::Bundle, stored: &gix::odb::Handle) -> Result<()> {
    let count = bundle.index.num_objects();
    let index = &bundle.index;
    // Per object of the pack: what it is, and as what others use it, as bits.
    let are: Vec<AtomicU8> = (0..count).map(|_| AtomicU8::new(0)).collect();
    let used: Vec<AtomicU8> = (0..count).map(|_| AtomicU8::new(0)).collect();
    let leaving = Mutex::new(HashMap::<ObjectId, Leaving>::new());
    let fault = Mutex::new(None::<String>);

    let visit = |kind: Kind, data: &[u8], entry: &gix_pack::index::Entry, _: &dyn gix::Progress| -> gix::Result<()> {
        if let Some(at) = index.lookup(entry.oid) {
            are[at as usize].store(bit(kind), Ordering::Relaxed);
        }
        let verdict = fsck::check(kind, data, |link| match index.lookup(link.to) {
            Some(at) => {
                used[at as usize].fetch_or(bit(link.kind), Ordering::Relaxed);
            }
            None => {
                let mut leaving = leaving.lock().unwrap_or_else(PoisonError::into_inner);
                let known = leaving.entry(link.to).or_insert(Leaving { kind: link.kind, from: entry.oid });
                if known.kind != link.kind {
                    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(format!(
                        "{kind} {} uses {} as a {}, another object as a {}",
                        entry.oid, link.to, link.kind, known.kind
                    ));
                }
            }
        });
        if let Err(cause) = verdict {
            let text = format!("{kind} {} {cause}", entry.oid);
            fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }
        match *fault.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(_) => Err(gix::Error::from_error(std::io::Error::other("refused"))),
        }
    };
    // Checksums were verified when the index was made.
    let options = Options {
        traversal: Algorithm::DeltaTreeLookup,
        thread_limit: (count < SMALL).then_some(1),
        check: SafetyCheck::SkipFileAndObjectChecksumVerification,
        ..Options::default()
    };
    let traversed = index.traverse(&bundle.pack, &mut gix::progress::Discard, &AtomicBool::new(false), visit, options);
    if let Some(fault) = fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(GitError::Refused(fault));
    }
    traversed.map_err(gix_fault("read the received pack", bundle.pack.path()))?;

    for (at, (are, used)) in are.iter().zip(&used).enumerate() {
        let (is, used) = (are.load(Ordering::Relaxed), used.load(Ordering::Relaxed));
        if used & !is != 0 {
            let id = index.oid_at_index(at as u32);
            return Err(GitError::Refused(format!("object {id} is used as another kind of object than it is")));
        }
    }
    let leaving = leaving.into_inner().unwrap_or_else(PoisonError::into_inner);
    check_leaving(bundle, stored, leaving)
}

/// Links out of the pack must end in the repository.
fn check_leaving(
    bundle: &gix_pack::Bundle,
    stored: &gix::odb::Handle,
    leaving: HashMap<ObjectId, Leaving>,
) -> Result<()> {
    for (to, Leaving { kind, from }) in leaving {
        match kind_of(stored, &to)? {
            Some(is) if is == kind => {}
            Some(is) => {
                return Err(GitError::Refused(format!("object {from} uses {to} as a {kind}, but it is a {is}")));
            }
            None => return Err(GitError::Refused(missing(bundle, &to, kind, &from))),
        }
    }
    Ok(())
}

fn kind_of(stored: &gix::odb::Handle, id: &ObjectId) -> Result<Option<Kind>> {
    let header = stored.try_header(id).map_err(gix_fault("look up an object in", stored.store_ref().path()))?;
    Ok(header.map(|header| header.kind()))
}

fn missing(bundle: &gix_pack::Bundle, to: &ObjectId, kind: Kind, from: &ObjectId) -> String {
    let mut buffer = Vec::new();
    let found = bundle.find(from, &mut buffer, &mut gix::zlib::Inflate::default(), &mut gix_pack::cache::Never);
    let (what, by) = match found {
        Ok(Some((object, _))) if object.kind == Kind::Tree => {
            let name = fsck::entries(object.data).flatten().find(|entry| entry.id == *to).map(|entry| text(entry.name));
            (format!("{:?}", name.unwrap_or_default()), object.kind)
        }
        Ok(Some((object, _))) if kind == Kind::Commit && object.kind == Kind::Commit => {
            return format!(
                "commit {from} has the parent {to}, which was neither pushed nor is it here; a clone with a part of the history \
                 cannot be pushed: run `git fetch --unshallow` and push again"
            );
        }
        Ok(Some((object, _))) => (format!("the {kind}"), object.kind),
        _ => (format!("the {kind}"), Kind::Tree),
    };
    format!(
        "{what} ({to}) of {by} {from} was neither pushed nor is it here; run `git fsck --full` in your clone, repair it and push again"
    )
}

fn bit(kind: Kind) -> u8 {
    match kind {
        Kind::Tree => 1,
        Kind::Blob => 2,
        Kind::Commit => 4,
        Kind::Tag => 8,
    }
}
