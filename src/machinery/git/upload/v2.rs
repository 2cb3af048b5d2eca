//! Protocol v2: commands, each with its own request and answer; nothing is remembered between them.

use std::io::{self, BufRead, Write};

use gix::bstr::ByteSlice;

use super::super::pktline::{self, Packet, Reader};
use super::super::{GitError, Part, Repository, Result};
use super::listing::list;
use super::negotiation::ready;
use super::{AGENT, Wishes, early_end, pack};

const CAPABILITIES: [&str; 5] = ["version 2", AGENT, "ls-refs=unborn", "fetch", "object-format=sha1"];

pub(super) fn serve(repo: &Repository, part: Part, r: &mut impl BufRead, w: &mut impl Write) -> Result<()> {
    let advertise = |w: &mut dyn Write| -> io::Result<()> {
        CAPABILITIES.iter().try_for_each(|line| pktline::line(&mut *w, line))?;
        pktline::flush(w)
    };
    if part.advertises() {
        advertise(w).map_err(GitError::Disconnected)?;
    }
    if !part.answers() {
        return Ok(());
    }
    let mut packets = Reader::new(r);
    loop {
        let command = match packets.next()? {
            None | Some(Packet::Flush) => return Ok(()),
            Some(packet) => packet.text().map(<[u8]>::to_vec).ok_or_else(|| unexpected("a mark"))?,
        };
        if skip_capabilities(&mut packets)? {
            match command.as_slice() {
                b"command=ls-refs" => ls_refs(repo, &mut packets, w)?,
                b"command=fetch" => fetch(repo, &mut packets, w)?,
                other => return Err(unexpected(&other.to_str_lossy())),
            }
        } else {
            match command.as_slice() {
                b"command=ls-refs" => ls_refs(repo, &mut Reader::new(&mut &b"0000"[..]), w)?,
                other => return Err(unexpected(&other.to_str_lossy())),
            }
        }
    }
}

fn unexpected(what: &str) -> GitError {
    GitError::Protocol(format!("{what} was not expected here"))
}

/// True when arguments follow.
fn skip_capabilities(packets: &mut Reader<'_, impl BufRead>) -> Result<bool> {
    loop {
        match packets.next()? {
            None => return Err(early_end()),
            Some(Packet::Flush) => return Ok(false),
            Some(Packet::Delimiter) => return Ok(true),
            Some(Packet::ResponseEnd) => return Err(unexpected("a mark")),
            Some(Packet::Data(line)) => {
                if line.starts_with(b"object-format=") && line.trim_end() != b"object-format=sha1" {
                    return Err(GitError::Refused("only objects named by sha1 are supported".into()));
                }
            }
        }
    }
}

fn ls_refs(repo: &Repository, packets: &mut Reader<'_, impl BufRead>, w: &mut impl Write) -> Result<()> {
    let (mut symrefs, mut peel, mut unborn, mut prefixes) = (false, false, false, Vec::new());
    loop {
        match packets.next()? {
            None => return Err(early_end()),
            Some(Packet::Flush) => break,
            Some(packet) => match packet.text() {
                Some(b"symrefs") => symrefs = true,
                Some(b"peel") => peel = true,
                Some(b"unborn") => unborn = true,
                Some(line) => {
                    // More prefixes than git sends would only be more to compare; without any, all is listed.
                    if let Some(prefix) = line.strip_prefix(b"ref-prefix ")
                        && prefixes.len() < 65_536
                    {
                        prefixes.push(prefix.to_vec());
                    }
                }
                None => return Err(unexpected("a mark")),
            },
        }
    }
    let listing = list(repo, &repo.objects()?)?;
    let asked = |name: &str| prefixes.is_empty() || prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix));
    let mut lines = Vec::new();
    if let Some((target, id)) = listing.head.filter(|_| asked("HEAD")) {
        let symref = if symrefs { format!(" symref-target:{target}") } else { String::new() };
        match id {
            Some(id) => lines.push(format!("{id} HEAD{symref}")),
            None if unborn => lines.push(format!("unborn HEAD{symref}")),
            None => {}
        }
    }
    for listed in listing.refs.iter().filter(|listed| asked(&listed.name)) {
        let peeled = listed.peeled.filter(|_| peel).map(|id| format!(" peeled:{id}")).unwrap_or_default();
        lines.push(format!("{} {}{peeled}", listed.id, listed.name));
    }
    let mut write = || -> io::Result<()> {
        lines.iter().try_for_each(|line| pktline::line(&mut *w, line))?;
        pktline::flush(&mut *w)
    };
    write().map_err(GitError::Disconnected)
}

fn fetch(repo: &Repository, packets: &mut Reader<'_, impl BufRead>, w: &mut impl Write) -> Result<()> {
    let objects = repo.objects()?;
    let mut wishes = Wishes { progress: true, ..Wishes::default() };
    loop {
        match packets.next()? {
            None => return Err(early_end()),
            Some(Packet::Flush) => break,
            Some(packet) => {
                let line = packet.text().ok_or_else(|| unexpected("a mark"))?;
                if !wishes.take(line, &objects)? && !matches!(line, b"thin-pack" | b"ofs-delta") {
                    return Err(unexpected(&line.to_str_lossy()));
                }
            }
        }
    }
    if wishes.wants.is_empty() {
        return Err(GitError::Protocol("a fetch without wants".into()));
    }
    if !wishes.done && wishes.haves > 0 {
        let ready = ready(&objects, &wishes.wants, &wishes.common)?;
        let mut acknowledge = || -> io::Result<()> {
            pktline::line(&mut *w, "acknowledgments")?;
            if wishes.common.is_empty() {
                pktline::line(&mut *w, "NAK")?;
            }
            for id in &wishes.common {
                pktline::line(&mut *w, format!("ACK {id}"))?;
            }
            if ready {
                pktline::line(&mut *w, "ready")?;
                pktline::delimiter(&mut *w)
            } else {
                pktline::flush(&mut *w)
            }
        };
        acknowledge().map_err(GitError::Disconnected)?;
        if !ready {
            return Ok(());
        }
    }
    pktline::line(&mut *w, "packfile").map_err(GitError::Disconnected)?;
    let listing = list(repo, &objects)?;
    pack::send(repo, objects, &listing, &wishes, true, w)
}
