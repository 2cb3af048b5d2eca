//! The wire of receive-pack (protocol v0 and v1): what is advertised, the commands of a push, the report.

use std::io::{self, BufRead, Write};

use gix::ObjectId;

use super::pktline::{self, Packet, Reader};
use super::refs::OWN;
use super::{GitError, Repository, Result, Sideband};

const CAPABILITIES: &str = concat!(
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options ",
    "object-format=sha1 agent=hythe/",
    env!("CARGO_PKG_VERSION")
);

/// Bounds of what one push may ask for, far above what people do.
const MAX_COMMANDS: usize = 10_000;
const MAX_OPTIONS: usize = 1_000;
const MAX_NAME_BYTES: usize = 1_024;
const MAX_OPTION_BYTES: usize = 8_192;

/// One ref that the pusher wants changed. The null id stands for "absent".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub old: ObjectId,
    pub new: ObjectId,
    /// Full name, such as `refs/heads/main`; valid as a ref name.
    pub name: String,
}

impl Command {
    pub fn is_delete(&self) -> bool {
        self.new.is_null()
    }

    pub fn is_create(&self) -> bool {
        self.old.is_null()
    }
}

/// What the client chose of what was advertised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub report_status: bool,
    /// The client understands what `Moved` says.
    pub report_status_v2: bool,
    pub side_band_64k: bool,
    pub quiet: bool,
    pub atomic: bool,
    pub push_options: bool,
    pub agent: Option<String>,
}

impl Capabilities {
    fn parse(words: &[u8]) -> Result<Self> {
        let mut chosen = Self::default();
        for word in String::from_utf8_lossy(words).split_ascii_whitespace() {
            match word {
                "report-status" => chosen.report_status = true,
                "report-status-v2" => (chosen.report_status, chosen.report_status_v2) = (true, true),
                "side-band-64k" => chosen.side_band_64k = true,
                "quiet" => chosen.quiet = true,
                "atomic" => chosen.atomic = true,
                "push-options" => chosen.push_options = true,
                _ => match word.split_once('=') {
                    Some(("agent", agent)) => chosen.agent = Some(agent.to_owned()),
                    Some(("object-format", format)) if format != "sha1" => {
                        return Err(GitError::Refused(format!(
                            "objects named by {format} are not supported; push from a repository that uses sha1"
                        )));
                    }
                    // A client may only choose what was offered; what it says beside that changes nothing here.
                    _ => {}
                },
            }
        }
        Ok(chosen)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Empty when the client has nothing to say after all (it hung up, or everything is up to date).
    pub commands: Vec<Command>,
    pub capabilities: Capabilities,
    /// Push options in the order given.
    pub options: Vec<String>,
    /// The pusher has only the newest part of the history.
    pub shallow: bool,
}

impl Request {
    /// Whether a pack follows on the wire: it does unless every command is a deletion.
    pub fn expects_pack(&self) -> bool {
        self.commands.iter().any(|c| !c.is_delete())
    }
}

/// Writes the refs and capabilities that a push starts with. `v1` adds the `version 1` line of protocol v1.
pub fn advertise(repo: &Repository, v1: bool, w: impl Write) -> Result<()> {
    let mut refs = repo.refs()?;
    refs.retain(|(name, _)| !name.starts_with(OWN));
    let mut out = io::BufWriter::new(w);
    let mut write = || -> io::Result<()> {
        if v1 {
            pktline::line(&mut out, "version 1")?;
        }
        let mut capabilities = Some(CAPABILITIES);
        for (name, id) in &refs {
            let tail = capabilities.take().map(|words| format!("\0{words}")).unwrap_or_default();
            pktline::line(&mut out, format!("{id} {name}{tail}"))?;
        }
        if let Some(words) = capabilities {
            pktline::line(&mut out, format!("{} capabilities^{{}}\0{words}", null_id()))?;
        }
        pktline::flush(&mut out)
    };
    write().map_err(GitError::Disconnected)
}

/// Reads commands and push options, and leaves `r` at the first byte of the pack.
pub fn read_request(r: &mut impl BufRead) -> Result<Request> {
    let mut request = Request::default();
    let mut first = true;
    let mut packets = Reader::new(r);
    loop {
        let line = match packets.next()? {
            None if first => return Ok(request),
            None => return Err(GitError::Disconnected(io::ErrorKind::UnexpectedEof.into())),
            Some(Packet::Flush) => break,
            Some(packet) => packet.text().ok_or_else(|| GitError::Protocol("a mark among the commands".into()))?,
        };
        if line.starts_with(b"shallow ") {
            request.shallow = true;
            continue;
        }
        if line.starts_with(b"push-cert") {
            return Err(GitError::Protocol("signed pushes are not supported; push without --signed".into()));
        }
        let command = match line.iter().position(|b| *b == 0) {
            Some(end) if first => {
                request.capabilities = Capabilities::parse(&line[end + 1..])?;
                &line[..end]
            }
            _ => line,
        };
        first = false;
        if request.commands.len() == MAX_COMMANDS {
            return Err(GitError::TooLarge(format!("more than {MAX_COMMANDS} refs in one push; push fewer at a time")));
        }
        request.commands.push(parse_command(command.strip_suffix(b"\n").unwrap_or(command))?);
    }
    if request.capabilities.push_options && !request.commands.is_empty() {
        read_options(&mut packets, &mut request.options)?;
    }
    Ok(request)
}

fn parse_command(line: &[u8]) -> Result<Command> {
    let malformed = || GitError::Protocol(format!("{:?} is not a command", String::from_utf8_lossy(line)));
    let mut words = line.splitn(3, |b| *b == b' ');
    let mut id = || words.next().and_then(|hex| ObjectId::from_hex(hex).ok()).ok_or_else(malformed);
    let (old, new) = (id()?, id()?);
    let name = words.next().ok_or_else(malformed)?;
    if old.is_null() && new.is_null() {
        return Err(malformed());
    }
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| is_ref_name(name))
        .ok_or_else(|| GitError::Name { name: String::from_utf8_lossy(name).into_owned() })?;
    Ok(Command { old, new, name: name.to_owned() })
}

/// What may become a ref here: below `refs/`, and by git's own rules.
pub(super) fn is_ref_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name.starts_with("refs/") && gix::validate::reference::name(name.into()).is_ok()
}

fn read_options(packets: &mut Reader<'_, impl BufRead>, options: &mut Vec<String>) -> Result<()> {
    loop {
        let line = match packets.next()? {
            None => return Err(GitError::Disconnected(io::ErrorKind::UnexpectedEof.into())),
            Some(Packet::Flush) => return Ok(()),
            Some(packet) => packet.text().ok_or_else(|| GitError::Protocol("a mark among the options".into()))?,
        };
        if options.len() == MAX_OPTIONS || line.len() > MAX_OPTION_BYTES {
            return Err(GitError::TooLarge(format!(
                "push options are limited to {MAX_OPTIONS}, each of {MAX_OPTION_BYTES} bytes"
            )));
        }
        let text = std::str::from_utf8(line).map_err(|_| GitError::Protocol("a push option is not UTF-8".into()))?;
        options.push(text.to_owned());
    }
}

/// What an accepted update came to, where that is another than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub name: String,
    /// The null id: there was none.
    pub old: ObjectId,
    pub new: ObjectId,
}

/// Per ref, or why it was refused.
pub type Outcomes = Vec<(String, Result<Option<Moved>, String>)>;

/// Writes the report of a push: what became of the pack, and of each ref. With a side band it goes into band 1. Ends the
/// conversation. For a client that did not ask for a report (`report_status`), write nothing but a flush packet.
pub fn report(w: impl Write, capabilities: &Capabilities, unpack: Result<(), &str>, refs: &Outcomes) -> Result<()> {
    let side_band = capabilities.side_band_64k;
    let mut text = Vec::new();
    let mut lines = vec![format!("unpack {}", unpack.map_or_else(one_line, |()| "ok".into()))];
    for (name, outcome) in refs {
        match outcome {
            Ok(moved) => {
                lines.push(format!("ok {name}"));
                if let Some(moved) = moved.as_ref().filter(|_| capabilities.report_status_v2) {
                    lines.push(format!("option refname {}", moved.name));
                    lines.push(format!("option old-oid {}", moved.old));
                    lines.push(format!("option new-oid {}", moved.new));
                }
            }
            Err(reason) => lines.push(format!("ng {name} {}", one_line(reason))),
        }
    }
    let write = || -> io::Result<()> {
        for line in lines {
            pktline::line(&mut text, line)?;
        }
        pktline::flush(&mut text)?;
        let mut out = io::BufWriter::new(w);
        if side_band {
            let mut side = Sideband::new(&mut out);
            side.data(&text)?;
            side.flush_packet()?;
        } else {
            out.write_all(&text)?;
        }
        out.flush()
    };
    write().map_err(GitError::Disconnected)
}

/// Reasons are one line of the protocol; what would end or hide it becomes a blank.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 1_000;
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if line.is_empty() { "failed".into() } else { line }
}

/// Stands for a ref that is not there.
pub fn null_id() -> ObjectId {
    ObjectId::null(gix::hash::Kind::Sha1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const Z: &str = "0000000000000000000000000000000000000000";

    fn packet(data: &str) -> String {
        format!("{:04x}{data}", data.len() + 4)
    }

    fn read(text: &str) -> (Result<Request>, String) {
        let mut input = text.as_bytes();
        let request = read_request(&mut input);
        (request, String::from_utf8_lossy(input).into_owned())
    }

    #[test]
    fn commands_capabilities_and_options_are_read_up_to_the_pack() {
        let text =
            packet(&format!("{Z} {A} refs/heads/main\0 report-status-v2 side-band-64k push-options agent=git/2.47"))
                + &packet(&format!("{A} {Z} refs/heads/old"))
                + "0000"
                + &packet("env=staging")
                + &packet("message=two words")
                + "0000PACK";
        let (request, rest) = read(&text);
        let request = request.unwrap();
        assert_eq!(request.commands[0].name, "refs/heads/main");
        assert!(request.commands[0].is_create() && request.commands[1].is_delete());
        assert!(request.expects_pack());
        assert_eq!(request.options, ["env=staging", "message=two words"]);
        assert_eq!(request.capabilities.agent.as_deref(), Some("git/2.47"));
        assert!(
            request.capabilities.report_status && request.capabilities.side_band_64k && !request.capabilities.atomic
        );
        assert_eq!(rest, "PACK");
    }

    #[test]
    fn deletions_alone_have_no_pack() {
        let (request, rest) = read(&(packet(&format!("{A} {Z} refs/heads/old\0report-status")) + "0000"));
        assert!(!request.unwrap().expects_pack());
        assert_eq!(rest, "");
    }

    #[test]
    fn nothing_to_do_is_an_empty_request() {
        for text in ["", "0000"] {
            assert_eq!(read(text).0.unwrap(), Request::default());
        }
    }

    #[test]
    fn names_that_are_no_refs_are_refused() {
        for name in [
            "main",
            "refs/heads/../x",
            "refs/heads/a..b",
            "refs/heads/a.lock",
            "refs/heads/ a",
            "HEAD",
            "refs/heads/a~1",
        ] {
            let (request, _) = read(&(packet(&format!("{Z} {A} {name}\0report-status")) + "0000"));
            assert!(matches!(request, Err(GitError::Name { .. })), "{name}: {request:?}");
        }
    }

    #[test]
    fn another_object_format_is_refused_in_words() {
        let (request, _) = read(&(packet(&format!("{Z} {A} refs/heads/m\0object-format=sha256")) + "0000"));
        assert!(request.unwrap_err().to_string().contains("sha256"));
    }

    #[test]
    fn a_reason_stays_on_its_line() {
        let mut out = Vec::new();
        let refs = vec![("refs/heads/main".to_owned(), Err("build failed:\nnpm exited 1".to_owned()))];
        report(&mut out, &Capabilities::default(), Ok(()), &refs).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "000eunpack ok\n0032ng refs/heads/main build failed: npm exited 1\n0000");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_request_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_request(&mut bytes.as_slice());
        }

        #[test]
        fn any_command_line_gives_a_request_or_an_error(line in "\\PC{0,80}", words in "[ -~\\x00]{0,60}") {
            let text = packet(&format!("{Z} {A} {line}\0{words}")) + "0000" + &packet(&words) + "0000";
            if let Ok(request) = read_request(&mut text.as_bytes()) {
                prop_assert!(request.commands.iter().all(|c| is_ref_name(&c.name)));
            }
        }
    }
}
