//! `git-upload-pack`: clone, fetch, pull, ls-remote.

use std::io::{BufReader, BufWriter, Write};
use std::sync::Arc;

use russh::server::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use tokio_util::io::SyncIoBridge;

use super::handler::say;
use super::{Shared, receive};
use crate::base::access::Actor;
use crate::base::model::Id;
use crate::machinery::git;
use crate::product::deploy;

pub async fn serve(
    shared: Arc<Shared>,
    actor: Actor,
    path: String,
    protocol: String,
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let app = match deploy::open_for_fetch(&shared.ctx, &actor, &path).await {
        Ok(app) => app,
        Err(error) => return say(writer, &receive::refusal(&error)).await,
    };
    let repositories = Arc::clone(&shared.repositories);
    let out = Box::pin(writer.make_writer());
    let task = tokio::task::spawn_blocking(move || -> git::Result<()> {
        let repository = repositories.create(app.id.as_str())?;
        let input = BufReader::with_capacity(64 << 10, SyncIoBridge::new(Box::pin(reader.make_reader())));
        let mut output = BufWriter::with_capacity(64 << 10, SyncIoBridge::new(out));
        git::serve_upload(&repository, receive::speaks(&protocol, 2), input, &mut output)?;
        output.flush().map_err(git::GitError::Disconnected)
    });
    match task.await {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => say(writer, &receive::git_fault(error)).await,
        Err(error) => {
            tracing::error!(%error, "a fetch died");
            say(writer, "internal error\n").await
        }
    }
}
