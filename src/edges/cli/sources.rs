//! Deploying what is no push.

use std::path::Path;

use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use super::Session;
use super::args::{AtFlag, ElsewhereFlags, MannerFlags};
use super::delivery::follow_build;
use super::failure::{Failure, Result};
use crate::edges::api::types::{MannerQuery, NewSourceBody};
use crate::edges::client::Bytestream;

/// Bytes on their way at once.
const PART: usize = 64 << 10;

/// Success is the build's own, as for a push.
pub(super) async fn create(
    s: &mut Session,
    at: &AtFlag,
    archive: &Path,
    elsewhere: &ElsewhereFlags,
    manner: MannerFlags,
) -> Result<()> {
    let MannerFlags { dry_run, no_cache, message, strategy, detach } = manner;
    let manner = MannerQuery { dry_run, no_cache, message, strategy };
    let app = s.app_flag(&at.app)?;
    let environment = &at.environment.environment;
    let build = if elsewhere.image.is_some() || elsewhere.git.is_some() || elsewhere.s3.is_some() {
        s.client.create_source(&app, environment, &body(elsewhere, manner)).await?
    } else if elsewhere.password_from.is_some() {
        return Err(Failure::usage("credentials are for --image, --git or --s3"));
    } else {
        let bytes = open(s, archive).await?;
        s.client.create_build(&app, environment, bytes, &manner).await?
    };
    if s.json {
        return Ok(s.io.json(&build).await?);
    }
    if detach {
        return Ok(s.io.say(&format!("{} is taken; follow it: hythe builds:output {}", build.id, build.id)).await?);
    }
    follow_build(s, &app, &build.id).await
}

fn body(elsewhere: &ElsewhereFlags, manner: MannerQuery) -> NewSourceBody {
    let ElsewhereFlags { image, git, branch, s3, endpoint, region, user_from, password_from } = elsewhere;
    NewSourceBody {
        image: image.clone(),
        git: git.clone(),
        branch: branch.clone(),
        s3: s3.clone(),
        endpoint: endpoint.clone(),
        region: region.clone(),
        user_variable: user_from.clone(),
        password_variable: password_from.clone(),
        manner: (manner != MannerQuery::default()).then_some(manner),
    }
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
