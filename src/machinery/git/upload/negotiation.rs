//! When enough is known of what the client has.

use std::collections::{BinaryHeap, HashSet};

use gix::ObjectId;
use gix::objs::FindExt;

use super::super::Result;
use super::listing::peel;

/// Commits looked at before the client is asked for more.
const PATIENCE: usize = 50_000;
/// Clocks of people differ; within this, an older commit may still be a descendant.
const SLOP_SECONDS: i64 = 24 * 3600;

/// Whether every wanted commit has a common one among its ancestors, so that more haves would not make the pack smaller
/// by much. Answering false too often costs a round trip, never correctness.
pub(super) fn ready(objects: &gix::odb::Handle, wants: &[ObjectId], common: &[ObjectId]) -> Result<bool> {
    if common.is_empty() {
        return Ok(false);
    }
    let known: HashSet<ObjectId> = common.iter().copied().collect();
    let mut buffer = Vec::new();
    let oldest = common.iter().filter_map(|id| time(objects, id, &mut buffer)).min().unwrap_or(i64::MIN);
    let mut patience = PATIENCE;
    for want in wants {
        let Some(commit) = peel(objects, want)?.pop() else { continue };
        if !reaches(objects, commit, &known, oldest.saturating_sub(SLOP_SECONDS), &mut patience) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn reaches(
    objects: &gix::odb::Handle,
    from: ObjectId,
    known: &HashSet<ObjectId>,
    oldest: i64,
    patience: &mut usize,
) -> bool {
    let mut buffer = Vec::new();
    let mut seen = HashSet::from([from]);
    // What is no commit has no ancestors to wait for.
    let Some(start) = time(objects, &from, &mut buffer) else { return true };
    let mut queue = BinaryHeap::from([(start, from)]);
    while let Some((_, id)) = queue.pop() {
        if known.contains(&id) {
            return true;
        }
        if *patience == 0 {
            return false;
        }
        *patience -= 1;
        let Ok(commit) = objects.find_commit_iter(&id, &mut buffer) else { continue };
        let parents: Vec<_> = commit.parent_ids().collect();
        for parent in parents {
            if seen.insert(parent)
                && let Some(at) = time(objects, &parent, &mut buffer)
                && at >= oldest
            {
                queue.push((at, parent));
            }
        }
    }
    false
}

fn time(objects: &gix::odb::Handle, id: &ObjectId, buffer: &mut Vec<u8>) -> Option<i64> {
    objects.find_commit_iter(id, buffer).ok()?.committer().ok().map(|who| who.seconds())
}
