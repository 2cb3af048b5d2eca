//! git's two services over a channel.

use std::io::{BufReader, BufWriter, Write};
use std::sync::Arc;

use russh::server::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use tokio_util::io::SyncIoBridge;

use super::Shared;
use super::handler::say;
use crate::base::access::Actor;
use crate::edges::git;
use crate::machinery::git::{GitError, Part, Result};

/// `protocol` is the value of `GIT_PROTOCOL`. The exit code.
pub async fn push(
    shared: Arc<Shared>,
    actor: Actor,
    (path, protocol): (String, String),
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let (app, made) = match shared.git.open_for_push(&actor, &path).await {
        Ok(found) => found,
        Err(error) => return say(writer, &git::refusal(&error)).await,
    };
    let out = Box::pin(writer.make_writer());
    let task = tokio::task::spawn_blocking(move || {
        let input = BufReader::with_capacity(64 << 10, SyncIoBridge::new(Box::pin(reader.make_reader())));
        let output = BufWriter::with_capacity(64 << 10, SyncIoBridge::new(out));
        shared.git.receive((actor, app, made), (Part::Both, &protocol), input, output)
    });
    ended(task.await, writer).await
}

/// As `push`: clone, fetch, pull, ls-remote.
pub async fn fetch(
    shared: Arc<Shared>,
    actor: Actor,
    (path, protocol): (String, String),
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let app = match shared.git.open_for_fetch(&actor, &path).await {
        Ok(app) => app,
        Err(error) => return say(writer, &git::refusal(&error)).await,
    };
    let out = Box::pin(writer.make_writer());
    let task = tokio::task::spawn_blocking(move || -> Result<()> {
        let input = BufReader::with_capacity(64 << 10, SyncIoBridge::new(Box::pin(reader.make_reader())));
        let mut output = BufWriter::with_capacity(64 << 10, SyncIoBridge::new(out));
        shared.git.upload(&app, (Part::Both, &protocol), input, &mut output)?;
        output.flush().map_err(GitError::Disconnected)
    });
    ended(task.await, writer).await
}

async fn ended(task: Result<Result<()>, tokio::task::JoinError>, writer: &ChannelWriteHalf<Msg>) -> u32 {
    match task {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => say(writer, &git::fault(error)).await,
        Err(error) => {
            tracing::error!(%error, "a git session died");
            say(writer, "internal error\n").await
        }
    }
}
