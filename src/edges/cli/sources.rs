//! Deploying what is no push.

use std::path::Path;

use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use super::Session;
use super::args::AtFlag;
use super::delivery::follow_build;
use super::failure::{Failure, Result};
use crate::edges::client::Bytestream;

/// Bytes on their way at once.
const PART: usize = 64 << 10;

/// Success is the build's own, as for a push.
pub(super) async fn create(s: &mut Session, at: &AtFlag, archive: &Path) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    let bytes = open(s, archive).await?;
    let build = s.client.create_build(&app, &at.environment.environment, bytes).await?;
    if s.json {
        return Ok(s.io.json(&build).await?);
    }
    follow_build(s, &app, &build.id).await
}

async fn open(s: &mut Session, archive: &Path) -> Result<Bytestream> {
    if archive == Path::new("-") {
        if s.io.stdin_is_terminal {
            return Err(Failure::usage(
                "name an archive, or give one on standard input: git archive HEAD | hythe builds:create",
            ));
        }
        let stdin = std::mem::replace(&mut s.io.stdin, Box::new(tokio::io::empty()));
        return Ok(ReaderStream::with_capacity(stdin, PART).boxed());
    }
    if s.near.is_none() {
        return Err(Failure::usage(
            "from here an archive comes on standard input: ssh … builds:create -a APP < ARCHIVE",
        ));
    }
    let file = tokio::fs::File::open(archive).await;
    let file = file.map_err(|e| Failure::usage(format!("{} cannot be read: {e}", archive.display())))?;
    Ok(ReaderStream::with_capacity(file, PART).boxed())
}
