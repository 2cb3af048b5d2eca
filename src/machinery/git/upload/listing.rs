//! The refs as a client sees them.

use gix::ObjectId;
use gix::objs::{Find, Kind};
use gix::odb::Header;

use super::super::refs::OWN;
use super::super::repository::gix_fault;
use super::super::{Repository, Result};

const MAX_TAG_CHAIN: usize = 10;

pub(super) struct Listing {
    pub(super) refs: Vec<Listed>,
    /// The branch that HEAD names, and its commit where it has one.
    pub(super) head: Option<(String, Option<ObjectId>)>,
}

pub(super) struct Listed {
    pub(super) name: String,
    pub(super) id: ObjectId,
    /// Of annotated tags: what they lead to.
    pub(super) peeled: Option<ObjectId>,
}

pub(super) fn list(repo: &Repository, objects: &gix::odb::Handle) -> Result<Listing> {
    let mut refs = Vec::new();
    for (name, id) in repo.refs()?.into_iter().filter(|(name, _)| !name.starts_with(OWN)) {
        let chain = peel(objects, &id)?;
        let peeled = chain.last().filter(|_| chain.len() > 1).copied();
        refs.push(Listed { name, id, peeled });
    }
    let head = repo.head()?.map(|name| {
        let id = refs.iter().find(|listed| listed.name == name).map(|listed| listed.id);
        (name, id)
    });
    Ok(Listing { refs, head })
}

/// From `id` through the tags that it is, to what the last of them names.
pub(super) fn peel(objects: &gix::odb::Handle, id: &ObjectId) -> Result<Vec<ObjectId>> {
    let fault = || gix_fault("read an object from", objects.store_ref().path());
    let mut chain = vec![*id];
    let mut buffer = Vec::new();
    let mut last = *id;
    while chain.len() < MAX_TAG_CHAIN {
        let kind = objects.try_header(&last).map_err(fault())?.map(|header| header.kind());
        if kind != Some(Kind::Tag) {
            break;
        }
        let target = match Find::try_find(objects, &last, &mut buffer).map_err(fault())? {
            Some(object) => object.try_into_tag_iter().and_then(|tag| tag.target_id().ok()),
            None => None,
        };
        let Some(target) = target else { break };
        chain.push(target);
        last = target;
    }
    Ok(chain)
}
