//! The wire of receive-pack (protocol v0 and v1): what is advertised, the commands of a push, the report.

use std::io::{BufRead, Write};

use gix::ObjectId;

use super::{Repository, Result};

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
    pub side_band_64k: bool,
    pub quiet: bool,
    pub atomic: bool,
    pub push_options: bool,
    pub agent: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Empty when the client has nothing to say after all (it hung up, or everything is up to date).
    pub commands: Vec<Command>,
    pub capabilities: Capabilities,
    /// Push options in the order given.
    pub options: Vec<String>,
}

impl Request {
    /// Whether a pack follows on the wire: it does unless every command is a deletion.
    pub fn expects_pack(&self) -> bool {
        self.commands.iter().any(|c| !c.is_delete())
    }
}

/// Writes the refs and capabilities that a push starts with. `v1` adds the `version 1` line of protocol v1.
pub fn advertise(_repo: &Repository, _v1: bool, _w: impl Write) -> Result<()> {
    todo!()
}

/// Reads commands and push options, and leaves `r` at the first byte of the pack.
pub fn read_request(_r: &mut impl BufRead) -> Result<Request> {
    todo!()
}

/// Writes the report of a push: what became of the pack, and of each ref. With `side_band` it goes into band 1. Ends the conversation.
pub fn report(
    _w: impl Write,
    _side_band: bool,
    _unpack: Result<(), &str>,
    _refs: &[(String, Result<(), String>)],
) -> Result<()> {
    todo!()
}
