//! upload-pack: what clone, fetch, pull and ls-remote talk to, in protocol v2 and v0.

use std::io::{BufRead, Write};

use super::{Repository, Result};

/// Serves one conversation to its end, advertisement included.
pub fn serve_upload(_repo: &Repository, _protocol_v2: bool, _r: impl BufRead, _w: impl Write) -> Result<()> {
    todo!()
}
