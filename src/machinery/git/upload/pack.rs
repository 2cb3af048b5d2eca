//! From wants and common commits to a pack on the wire: deltas are copied as they are stored, the rest is deflated anew.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::objs::Kind;
use gix::odb::{HandleArc, Header};
use gix::parallel::InOrderIter;
use gix::traverse::commit::Simple;
use gix_pack::data::output::count::objects::{ObjectExpansion, Options as CountOptions};
use gix_pack::data::output::{Count, bytes::FromEntriesIter, count, entry};

use super::super::pktline::MAX_DATA;
use super::super::repository::gix_fault;
use super::super::{GitError, Repository, Result, Sideband};
use super::Wishes;
use super::listing::{Listing, peel};

/// Objects that one thread takes at a time.
const CHUNK: usize = 1_000;

/// Sends the pack. With `side_band` it is multiplexed and ended by a flush packet.
pub(super) fn send(
    repo: &Repository,
    objects: gix::odb::Handle,
    listing: &Listing,
    wishes: &Wishes,
    side_band: bool,
    out: &mut impl Write,
) -> Result<()> {
    let (plain, contents) = select(&objects, listing, wishes)?;
    let (counts, objects) = count_objects(repo, objects, plain, contents)?;
    if !side_band {
        return write(repo, objects, counts, out);
    }
    let mut side = Sideband::new(out);
    if wishes.progress {
        side.progress(&format!("Sending {} objects.\n", counts.len())).map_err(GitError::Disconnected)?;
    }
    let sent = write(repo, objects, counts, BufWriter::with_capacity(MAX_DATA - 1, DataBand(&mut side)));
    match &sent {
        Ok(()) => side.flush_packet().map_err(GitError::Disconnected)?,
        Err(GitError::Disconnected(_)) => {}
        Err(_) => side
            .error("the server cannot read its repository now; try again later\n")
            .map_err(GitError::Disconnected)?,
    }
    sent
}

/// What to send, by how much of it follows from the id.
struct Contents {
    commits: Vec<ObjectId>,
    /// Whether the client has the ancestors of the commits, so that the changes alone suffice.
    partial: bool,
    /// Wanted by themselves.
    trees: Vec<ObjectId>,
}

/// Tags and blobs to send as they are, and the rest.
fn select(objects: &gix::odb::Handle, listing: &Listing, wishes: &Wishes) -> Result<(Vec<ObjectId>, Contents)> {
    let fault = || gix_fault("read the history of", objects.store_ref().path());
    let (mut plain, mut trees, mut tips) = (Vec::new(), Vec::new(), Vec::new());
    for want in &wishes.wants {
        let mut chain = peel(objects, want)?;
        let Some(end) = chain.pop() else { continue };
        plain.extend(chain);
        match objects.try_header(&end).map_err(fault())?.map(|header| header.kind()) {
            Some(Kind::Commit) => tips.push(end),
            Some(Kind::Tree) => trees.push(end),
            _ => plain.push(end),
        }
    }
    let mut hidden = Vec::new();
    for have in &wishes.common {
        if let Some(end) = peel(objects, have)?.pop()
            && objects.try_header(&end).map_err(fault())?.is_some_and(|header| header.kind() == Kind::Commit)
        {
            hidden.push(end);
        }
    }
    let partial = !hidden.is_empty();
    let mut commits = Vec::new();
    for commit in Simple::new(tips, objects).hide(hidden).map_err(fault())? {
        commits.push(commit.map_err(fault())?.id);
    }
    if wishes.include_tags {
        let sent: HashSet<&ObjectId> = commits.iter().collect();
        for tag in listing.refs.iter().filter(|listed| listed.peeled.is_some_and(|id| sent.contains(&id))) {
            let mut chain = peel(objects, &tag.id)?;
            chain.pop();
            plain.extend(chain);
        }
    }
    Ok((plain, Contents { commits, partial, trees }))
}

fn count_objects(
    repo: &Repository,
    objects: gix::odb::Handle,
    plain: Vec<ObjectId>,
    contents: Contents,
) -> Result<(Vec<Count>, HandleArc)> {
    let fault = || gix_fault("count the objects of", repo.path());
    let mut objects = objects.into_arc().map_err(super::super::disk::storage("open", repo.path()))?;
    // Places in packs are remembered from here to the writing.
    objects.prevent_pack_unload();
    let expansion =
        if contents.partial { ObjectExpansion::TreeAdditionsComparedToAncestor } else { ObjectExpansion::TreeContents };
    let parts = [
        (contents.commits, expansion),
        (contents.trees, ObjectExpansion::TreeContents),
        (plain, ObjectExpansion::AsIs),
    ];
    let mut counts = Vec::new();
    let several = parts.iter().filter(|(ids, _)| !ids.is_empty()).count() > 1;
    for (ids, input_object_expansion) in parts {
        if ids.is_empty() {
            continue;
        }
        let thread_limit = (ids.len() < CHUNK).then_some(1);
        let options = CountOptions { thread_limit, chunk_size: CHUNK, input_object_expansion };
        let ids = Box::new(ids.into_iter().map(Ok));
        let never = AtomicBool::new(false);
        let (found, _) =
            count::objects(objects.clone(), ids, &gix::progress::Discard, &never, options).map_err(fault())?;
        counts.extend(found);
    }
    if several {
        let mut seen = HashSet::new();
        counts.retain(|count| seen.insert(count.id));
    }
    Ok((counts, objects))
}

fn write(repo: &Repository, objects: HandleArc, counts: Vec<Count>, out: impl Write) -> Result<()> {
    let fault = || gix_fault("pack the objects of", repo.path());
    let number = u32::try_from(counts.len())
        .map_err(|_| GitError::TooLarge("the history has more objects than a pack can hold".into()))?;
    let options = entry::iter_from_counts::Options {
        thread_limit: (counts.len() < CHUNK).then_some(1),
        chunk_size: CHUNK.min(100),
        ..Default::default()
    };
    let entries =
        entry::iter_from_counts(counts, objects, Box::new(gix::progress::Discard), options).map_err(fault())?;
    let mut watched = Watched { out, lost: None };
    let mut pack =
        FromEntriesIter::new(InOrderIter::from(entries), &mut watched, number, gix_pack::data::Version::V2, Sha1);
    let outcome = pack.try_for_each(|written| written.map(drop));
    match (watched.lost, outcome) {
        (Some(lost), _) => Err(GitError::Disconnected(lost)),
        (None, outcome) => outcome.map_err(fault()),
    }
}

/// Keeps the fault of the connection apart from those of the disk, which would look the same further up.
struct Watched<W> {
    out: W,
    lost: Option<io::Error>,
}

impl<W: Write> Watched<W> {
    fn watch<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| {
            let again = io::Error::from(error.kind());
            self.lost.get_or_insert(error);
            again
        })
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.out.write(bytes);
        self.watch(outcome)
    }
    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.out.flush();
        self.watch(outcome)
    }
}

struct DataBand<'s, W>(&'s mut Sideband<W>);

impl<W: Write> Write for DataBand<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.data(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
