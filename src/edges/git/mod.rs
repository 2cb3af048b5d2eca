//! Conversations of git, whatever carries them: what SSH and HTTP have in common, and git's smart HTTP itself (`gitprotocol-http`
//! of git's documentation), beside the API, for people whose way out lets nothing else through.
//!
//! Left to others: what a push means (`product::deploy`), the wire (`machinery::git`).

mod http;
mod receive;

use std::io::{BufRead, Write};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::base::access::Actor;
use crate::base::error::{Error, Kind};
use crate::base::model::{App, Id};
use crate::machinery::git::{self, GitError, Part, Repositories};
use crate::product::{Ctx, deploy};

pub use http::router;

/// Called when somebody who may push has opened a repository, before its objects have arrived.
pub type Warm = Arc<dyn Fn(crate::base::model::AppId) + Send + Sync>;

/// What every conversation needs.
#[derive(Clone)]
pub struct Git {
    pub ctx: Ctx,
    pub repositories: Arc<Repositories>,
    pub warm: Warm,
    /// Conversations stop following what goes on without them.
    pub stopping: CancellationToken,
}

impl Git {
    /// The app of an address, made if it is new and the pusher may; true when it was made now.
    pub async fn open_for_push(&self, actor: &Actor, path: &str) -> Result<(App, bool), Error> {
        let (app, made) = deploy::open_for_push(&self.ctx, actor, path).await?;
        (self.warm)(app.id.clone());
        Ok((app, made))
    }

    pub async fn open_for_fetch(&self, actor: &Actor, path: &str) -> Result<App, Error> {
        deploy::open_for_fetch(&self.ctx, actor, path).await
    }

    /// The part of a push: takes objects, hands the push to its job, follows that to its end. Blocks. `made`: the app was made
    /// for it.
    pub fn receive(
        &self,
        (actor, app, made): (Actor, App, bool),
        (part, protocol): (Part, &str),
        input: impl BufRead,
        output: impl Write,
    ) -> git::Result<()> {
        let handle = tokio::runtime::Handle::current();
        let session = receive::Session { git: self.clone(), actor, app, made, handle };
        session.run(input, output, (part, speaks(protocol, 1)))
    }

    /// The part of a fetch. Blocks.
    pub fn upload(
        &self,
        app: &App,
        (part, protocol): (Part, &str),
        input: impl BufRead,
        output: impl Write,
    ) -> git::Result<()> {
        let repository = self.repositories.create(app.id.as_str())?;
        git::serve_upload(&repository, (part, speaks(protocol, 2)), input, output)
    }
}

/// Whether `GIT_PROTOCOL`, or the field of the same meaning, asks for this version.
fn speaks(protocol: &str, version: u8) -> bool {
    protocol.split(':').any(|word| word == format!("version={version}"))
}

/// What git shows of a refusal before any protocol was spoken.
pub fn refusal(error: &Error) -> String {
    format!("hythe: {}\n", reason(error))
}

/// What it shows of a conversation that failed.
pub fn fault(error: GitError) -> String {
    format!("hythe: {}\n", git_reason(error))
}

/// The text for people; what the server has to know is in its log.
fn reason(error: &Error) -> String {
    if matches!(error.kind, Kind::Internal | Kind::Unavailable) {
        tracing::error!(error = error.for_log(), "a git session was refused");
    }
    error.public.clone()
}

fn git_reason(error: GitError) -> String {
    let public = error.public();
    public.unwrap_or_else(|| reason(&Error::internal(error)))
}
