//! The asking side of git's protocol, version 2 (git's Documentation/gitprotocol-v2), as far as a deployment needs it: where
//! one branch stands, and all that it reaches. What is sent and read is bytes; the connection is the caller's.

use std::io::{self, BufRead, Read, Write};

use gix::ObjectId;

use super::pktline::{Packet, Reader, delimiter, flush, line};
use super::{GitError, Result};

/// Lines of an answer before the pack.
const MOST_LINES: usize = 1000;
const AGENT: &str = concat!("agent=hythe/", env!("CARGO_PKG_VERSION"));

/// Of the first answer (`info/refs?service=git-upload-pack`): the server speaks the protocol, in this version.
pub fn read_greeting(answer: &mut impl BufRead) -> Result<()> {
    let mut packets = Reader::new(answer);
    for _ in 0..10 {
        match packets.next()? {
            Some(packet) if packet.text() == Some(b"version 2") => return Ok(()),
            Some(Packet::Flush) => {}
            Some(packet) if packet.text().is_some_and(|text| text.starts_with(b"# service=")) => {}
            Some(packet) => told(packet.text())?,
            None => break,
        }
    }
    Err(GitError::Protocol("the server does not speak git's protocol of version 2".into()))
}

/// Asks where `branch` stands.
pub fn ask_branch(branch: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut write = || -> io::Result<()> {
        line(&mut out, "command=ls-refs")?;
        line(&mut out, AGENT)?;
        delimiter(&mut out)?;
        line(&mut out, format!("ref-prefix refs/heads/{branch}"))?;
        flush(&mut out)
    };
    write().unwrap_or_else(|_| unreachable!("memory takes bytes"));
    out
}

/// Asks where a name stands, be it a branch or a tag; without one, what the repository shows first.
pub fn ask_name(name: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut write = || -> io::Result<()> {
        line(&mut out, "command=ls-refs")?;
        line(&mut out, AGENT)?;
        delimiter(&mut out)?;
        line(&mut out, "peel")?;
        for name in names(name) {
            line(&mut out, format!("ref-prefix {name}"))?;
        }
        flush(&mut out)
    };
    write().unwrap_or_else(|_| unreachable!("memory takes bytes"));
    out
}

/// The commit; of a branch and a tag of one name, the branch's. None: there is neither.
pub fn read_name(answer: &mut impl BufRead, name: Option<&str>) -> Result<Option<ObjectId>> {
    let wanted = names(name);
    let mut found: Option<(usize, ObjectId)> = None;
    let mut packets = Reader::new(answer);
    for _ in 0..MOST_LINES {
        let Some(packet) = packets.next()? else { break };
        let Some(text) = packet.text() else { break };
        let text = String::from_utf8_lossy(text);
        let mut words = text.split(' ');
        let (id, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if id == "ERR" {
            told(Some(text.as_bytes()))?;
        }
        let Some(place) = wanted.iter().position(|wanted| wanted == name) else { continue };
        let id = words.find_map(|word| word.strip_prefix("peeled:")).unwrap_or(id);
        let id = id.parse().map_err(|_| GitError::Protocol("the server names no object for it".into()))?;
        if found.as_ref().is_none_or(|(before, _)| place < *before) {
            found = Some((place, id));
        }
    }
    Ok(found.map(|(_, id)| id))
}

fn names(name: Option<&str>) -> Vec<String> {
    match name {
        Some(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
        None => vec!["HEAD".to_owned()],
    }
}

/// None: there is no such branch.
pub fn read_branch(answer: &mut impl BufRead, branch: &str) -> Result<Option<ObjectId>> {
    let wanted = format!("refs/heads/{branch}");
    let mut packets = Reader::new(answer);
    for _ in 0..MOST_LINES {
        let Some(packet) = packets.next()? else { break };
        let Some(text) = packet.text() else { return Ok(None) };
        told(Some(text)).or_else(|error| if text.starts_with(b"ERR ") { Err(error) } else { Ok(()) })?;
        let text = String::from_utf8_lossy(text);
        let mut words = text.split(' ');
        if let (Some(id), Some(name)) = (words.next(), words.next())
            && name == wanted
        {
            let id = id.parse().map_err(|_| GitError::Protocol("the server names no object for the branch".into()))?;
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Asks for a commit and all that it reaches.
pub fn ask_pack(tip: &ObjectId) -> Vec<u8> {
    ask(tip, &[])
}

/// Asks for a commit and its tree, without what was before it.
pub fn ask_tree(tip: &ObjectId) -> Vec<u8> {
    ask(tip, &["deepen 1"])
}

fn ask(tip: &ObjectId, more: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut write = || -> io::Result<()> {
        line(&mut out, "command=fetch")?;
        line(&mut out, AGENT)?;
        delimiter(&mut out)?;
        line(&mut out, "no-progress")?;
        line(&mut out, "ofs-delta")?;
        line(&mut out, format!("want {tip}"))?;
        for more in more {
            line(&mut out, more)?;
        }
        line(&mut out, "done")?;
        flush(&mut out)
    };
    write().unwrap_or_else(|_| unreachable!("memory takes bytes"));
    out
}

/// The pack in an answer to `ask_pack` or `ask_tree`, as a stream of its own.
pub fn read_pack<R: BufRead>(mut answer: R) -> Result<impl BufRead> {
    for _ in 0..MOST_LINES {
        let mut packets = Reader::new(&mut answer);
        let packet = packets.next()?;
        match packet.as_ref().map(Packet::text) {
            Some(Some(b"packfile")) => {
                return Ok(io::BufReader::with_capacity(64 << 10, Banded { answer, left: Vec::new(), at: 0 }));
            }
            Some(text) => {
                if let Some(text) = text.filter(|text| text.starts_with(b"ERR ")) {
                    told(Some(text))?;
                }
            }
            None => break,
        }
    }
    Err(GitError::Protocol("the server sends no pack".into()))
}

/// What a server says instead of an answer.
fn told(text: Option<&[u8]>) -> Result<()> {
    let text = String::from_utf8_lossy(text.unwrap_or_default()).chars().take(200).collect::<String>();
    let text = text.strip_prefix("ERR ").unwrap_or(&text).escape_debug().to_string();
    Err(GitError::Protocol(format!("the server answers: {text}")))
}

/// The first band of a side-band: the second is for people, the third ends it all.
struct Banded<R> {
    answer: R,
    left: Vec<u8>,
    at: usize,
}

impl<R: BufRead> Read for Banded<R> {
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.left.len() {
            let mut packets = Reader::new(&mut self.answer);
            match packets.next().map_err(io::Error::other)? {
                Some(Packet::Data([1, data @ ..])) => {
                    self.left = data.to_vec();
                    self.at = 0;
                }
                Some(Packet::Data([2, ..])) => {}
                Some(Packet::Data([3, text @ ..])) => {
                    return Err(io::Error::other(told(Some(text)).err().map_or(String::new(), |e| e.to_string())));
                }
                Some(Packet::Flush) | None => return Ok(0),
                Some(_) => return Err(io::Error::other("the server sends what is no pack")),
            }
        }
        let count = buffer.write(&self.left[self.at..])?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    fn packets(texts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in texts {
            out.extend(format!("{:04x}", text.len() + 4).bytes().chain(text.iter().copied()));
        }
        out.extend(b"0000");
        out
    }

    #[test]
    fn a_branch_is_found_and_its_pack_taken_out_of_its_band() {
        let greeting = [packets(&[b"# service=git-upload-pack\n"]), packets(&[b"version 2\n", b"fetch\n"])].concat();
        assert!(read_greeting(&mut greeting.as_slice()).is_ok());
        let lines = [format!("{ID} refs/heads/mainly\n"), format!("{ID} refs/heads/main\n")];
        let refs = packets(&[lines[0].as_bytes(), lines[1].as_bytes()]);
        assert_eq!(read_branch(&mut refs.as_slice(), "main").unwrap().unwrap().to_string(), ID);
        assert!(read_branch(&mut refs.as_slice(), "other").unwrap().is_none());
        let sent = packets(&[b"packfile\n", b"\x02Counting\n", b"\x01PA", b"\x01CK"]);
        let mut pack = Vec::new();
        read_pack(sent.as_slice()).unwrap().read_to_end(&mut pack).unwrap();
        assert_eq!(pack, b"PACK");
    }

    #[test]
    fn a_name_is_a_branch_before_it_is_a_tag_and_a_tag_is_its_commit() {
        let other = ID.replace('0', "f");
        let tag = format!("{ID} refs/tags/v1 peeled:{other}\n");
        let branch = format!("{ID} refs/heads/v1\n");
        let near = format!("{ID} refs/tags/v10\n");
        let read = |lines: &[&str], name: Option<&str>| {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            read_name(&mut packets(&lines).as_slice(), name).unwrap().map(|id| id.to_string())
        };
        assert_eq!(read(&[&near, &tag], Some("v1")), Some(other));
        assert_eq!(read(&[&tag, &branch], Some("v1")).as_deref(), Some(ID));
        assert_eq!(read(&[&near], Some("v1")), None);
        assert_eq!(read(&[&format!("{ID} HEAD symref-target:refs/heads/main\n")], None).as_deref(), Some(ID));
        assert!(read_name(&mut packets(&[b"ERR no access\n"]).as_slice(), None).is_err());
        let asked = String::from_utf8(ask_tree(&ID.parse().unwrap())).unwrap();
        assert!(asked.contains("deepen 1\n") && asked.contains("done\n"), "{asked}");
    }

    #[test]
    fn other_answers_are_told_and_inert() {
        for (answer, cause) in [
            (packets(&[b"ERR no\x1b[31m access\n"]), "no\\u{1b}[31m access"),
            (b"<html>".to_vec(), "packet length"),
            (packets(&[b"# service=git-upload-pack\n"]), "version 2"),
            (packets(&[format!("{ID} HEAD\0caps\n").as_bytes()]), "the server answers"),
        ] {
            let said = read_greeting(&mut answer.as_slice()).unwrap_err().to_string();
            assert!(said.contains(cause), "{said}");
        }
        let broken = packets(&[b"packfile\n", b"\x01PA", b"\x03remote error"]);
        let said = read_pack(broken.as_slice()).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(said.to_string().contains("remote error"), "{said}");
        assert!(read_pack(b"0000".as_slice()).is_err());
    }
}
