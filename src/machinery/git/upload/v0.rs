//! Protocol v0: all refs first, then one negotiation, then the pack.

use std::io::{self, BufRead, Write};

use gix::ObjectId;

use super::super::pktline::{self, Packet, Reader};
use super::super::{GitError, Part, Repository, Result};
use super::listing::{Listing, list};
use super::negotiation::ready;
use super::{AGENT, Wishes, early_end, pack};

const CAPABILITIES: &str = "multi_ack_detailed side-band-64k ofs-delta no-progress include-tag object-format=sha1";

pub(super) fn serve(repo: &Repository, part: Part, r: &mut impl BufRead, w: &mut impl Write) -> Result<()> {
    let objects = repo.objects()?;
    let listing = list(repo, &objects)?;
    if part.advertises() {
        advertise(&listing, w).map_err(GitError::Disconnected)?;
    }
    if !part.answers() {
        return Ok(());
    }

    let mut packets = Reader::new(r);
    let mut wishes = Wishes { progress: true, ..Wishes::default() };
    let (mut side_band, mut detailed) = (false, false);
    loop {
        match packets.next()? {
            None if wishes.wants.is_empty() => return Ok(()),
            None => return Err(early_end()),
            Some(Packet::Flush) => break,
            Some(packet) => {
                let line = packet.text().ok_or_else(|| GitError::Protocol("a mark among the wants".into()))?;
                let mut words = line.splitn(3, |b| *b == b' ');
                let (verb, id) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                for word in words.next().unwrap_or_default().split(|b| *b == b' ') {
                    side_band |= word == b"side-band-64k";
                    detailed |= word == b"multi_ack_detailed";
                    wishes.progress &= word != b"no-progress";
                    wishes.include_tags |= word == b"include-tag";
                }
                if verb == b"have" || verb == b"done" || !wishes.take(&[verb, b" ", id].concat(), &objects)? {
                    return Err(GitError::Protocol(format!("{:?} among the wants", String::from_utf8_lossy(line))));
                }
            }
        }
    }
    if wishes.wants.is_empty() {
        return Ok(());
    }
    if !negotiate(&mut packets, &mut wishes, &objects, (detailed, part), w)? {
        return Ok(());
    }
    pack::send(repo, objects, &listing, &wishes, side_band, w)
}

fn advertise(listing: &Listing, w: &mut impl Write) -> io::Result<()> {
    let symref = match &listing.head {
        Some((name, Some(_))) => format!(" symref=HEAD:{name}"),
        _ => String::new(),
    };
    let mut tail = Some(format!("\0{CAPABILITIES}{symref} {AGENT}"));
    let mut lines = Vec::new();
    if let Some((_, Some(id))) = &listing.head {
        lines.push(format!("{id} HEAD"));
    }
    for listed in &listing.refs {
        lines.push(format!("{} {}", listed.id, listed.name));
        if let Some(peeled) = listed.peeled {
            lines.push(format!("{peeled} {}^{{}}", listed.name));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{} capabilities^{{}}", ObjectId::null(gix::hash::Kind::Sha1)));
    }
    for line in lines {
        pktline::line(&mut *w, line + &tail.take().unwrap_or_default())?;
    }
    pktline::flush(w)
}

/// Reads haves in batches and answers each, until the client is done. False: it goes on in a request of its own.
fn negotiate(
    packets: &mut Reader<'_, impl BufRead>,
    wishes: &mut Wishes,
    objects: &gix::odb::Handle,
    (detailed, part): (bool, Part),
    w: &mut impl Write,
) -> Result<bool> {
    loop {
        let known = wishes.common.len();
        let answer = match packets.next()? {
            None if part == Part::Answer => return Ok(false),
            None => return Err(early_end()),
            Some(Packet::Flush) => {
                let mut lines = Vec::new();
                if detailed
                    && let Some(last) = wishes.common.last()
                    && ready(objects, &wishes.wants, &wishes.common)?
                {
                    lines.push(format!("ACK {last} ready"));
                }
                if detailed || wishes.common.is_empty() {
                    lines.push("NAK".to_owned());
                }
                lines
            }
            Some(packet) => {
                let line = packet.text().ok_or_else(|| GitError::Protocol("a mark among the haves".into()))?;
                if line.starts_with(b"want ") || !wishes.take(line, objects)? {
                    return Err(GitError::Protocol(format!("{:?} among the haves", String::from_utf8_lossy(line))));
                }
                match wishes.common.last() {
                    Some(last) if wishes.done && detailed => vec![format!("ACK {last}")],
                    None if wishes.done => vec!["NAK".to_owned()],
                    Some(last) if wishes.common.len() > known && detailed => vec![format!("ACK {last} common")],
                    Some(last) if wishes.common.len() > known && known == 0 => vec![format!("ACK {last}")],
                    _ => Vec::new(),
                }
            }
        };
        answer.iter().try_for_each(|line| pktline::line(&mut *w, line)).map_err(GitError::Disconnected)?;
        w.flush().map_err(GitError::Disconnected)?;
        if wishes.done {
            return Ok(true);
        }
    }
}
