//! `git-receive-pack`: takes the objects into quarantine, hands the push to its job, follows the
//! job's log until it ends, reports. The job does not need this session: when the client goes away,
//! only the following ends.

use std::io::{BufReader, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use russh::server::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use tokio::runtime::Handle;
use tokio_util::io::SyncIoBridge;

use super::Shared;
use super::handler::say;
use crate::base::access::Actor;
use crate::base::error::{Error, Kind};
use crate::base::model::{App, CommitId, Id, JobId, JobState};
use crate::machinery::git::{self, Command, GitError, Limits, Quarantine, Repository, Sideband};
use crate::product::deploy::{self, LogEvent, RefUpdate};

/// The longest silence that a pusher sees.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub async fn serve(
    shared: Arc<Shared>,
    actor: Actor,
    path: String,
    protocol: String,
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let (app, made) = match deploy::open_for_push(&shared.ctx, &actor, &path).await {
        Ok(found) => found,
        Err(error) => return say(writer, &refusal(&error)).await,
    };
    (shared.warm)(app.id.clone());
    let out = Box::pin(writer.make_writer());
    let handle = Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        let input = BufReader::with_capacity(64 << 10, SyncIoBridge::new(Box::pin(reader.make_reader())));
        let output = BufWriter::with_capacity(64 << 10, SyncIoBridge::new(out));
        let session = Session { shared, actor, app, made, handle };
        session.run(input, output, speaks(&protocol, 1))
    });
    match task.await {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => say(writer, &git_fault(error)).await,
        Err(error) => {
            tracing::error!(%error, "a push session died");
            say(writer, "internal error\n").await
        }
    }
}

/// Whether `GIT_PROTOCOL` asks for this version.
pub fn speaks(protocol: &str, version: u8) -> bool {
    protocol.split(':').any(|word| word == format!("version={version}"))
}

/// What git shows of a refusal before any protocol was spoken.
pub fn refusal(error: &Error) -> String {
    format!("hythe: {}\n", reason(error))
}

/// The text for people; what the server has to know is in its log.
fn reason(error: &Error) -> String {
    if matches!(error.kind, Kind::Internal | Kind::Unavailable) {
        tracing::error!(error = error.for_log(), "a git session was refused");
    }
    error.public.clone()
}

pub fn git_fault(error: GitError) -> String {
    format!("hythe: {}\n", git_reason(error))
}

fn git_reason(error: GitError) -> String {
    let public = error.public();
    public.unwrap_or_else(|| reason(&Error::internal(error)))
}

struct Session {
    shared: Arc<Shared>,
    actor: Actor,
    app: App,
    made: bool,
    handle: Handle,
}

type Outcomes = Vec<(String, Result<(), String>)>;

impl Session {
    fn run(&self, mut input: impl std::io::BufRead, mut output: impl Write, v1: bool) -> git::Result<()> {
        let repository = self.shared.repositories.create(self.app.id.as_str())?;
        git::advertise(&repository, v1, &mut output)?;
        output.flush().map_err(GitError::Disconnected)?;
        let request = git::read_request(&mut input)?;
        if request.commands.is_empty() {
            return Ok(());
        }
        let band = request.capabilities.side_band_64k;
        let mut progress = Progress { out: Sideband::new(&mut output), band };
        let (unpack, outcomes) = self.take(&repository, &request, &mut input, &mut progress)?;
        let unpack = unpack.as_ref().copied().map_err(String::as_str);
        git::report(&mut output, band, unpack, &outcomes)?;
        output.flush().map_err(GitError::Disconnected)
    }

    /// Policy, quarantine, job: what became of the pack and of each ref.
    fn take<W: Write>(
        &self,
        repository: &Repository,
        request: &git::Request,
        input: &mut impl std::io::BufRead,
        progress: &mut Progress<W>,
    ) -> git::Result<(Result<(), String>, Outcomes)> {
        let commands = &request.commands;
        let updates: Vec<RefUpdate> =
            commands.iter().map(|c| RefUpdate { name: c.name.clone(), deletes: c.is_delete() }).collect();
        let decided = self.handle.block_on(deploy::decide(&self.shared.ctx, &self.actor, &self.app, &updates));
        let (accepted, mut reasons) = match decided {
            Ok(decided) => decided,
            Err(error) => (None, vec![Some(reason(&error)); commands.len()]),
        };
        if request.capabilities.atomic && reasons.iter().any(Option::is_some) {
            for reason in &mut reasons {
                reason.get_or_insert_with(|| "atomic push: another ref was refused".into());
            }
        }
        if let Some(option) = request.options.first() {
            let text = format!("push option \"{option}\" is not known; this server knows none");
            reasons.iter_mut().for_each(|reason| *reason = Some(text.clone()));
        }
        let accepted = accepted.filter(|a| reasons[a.index].is_none());
        let mut unpack = Ok(());
        if request.expects_pack() {
            // A pack for refused refs is read to its end all the same, else git shows a broken pipe and no reason.
            match self.quarantine(repository, request, accepted.as_ref().map(|a| a.index), input, progress) {
                Ok(key) => {
                    if let (Some(accepted), Some(key)) = (accepted, key) {
                        reasons[accepted.index] = self.deploy(&accepted, &commands[accepted.index], &key, progress);
                    }
                }
                Err(error @ (GitError::Disconnected(_) | GitError::Protocol(_))) => return Err(error),
                Err(error) => {
                    let text = git_reason(error);
                    reasons.iter_mut().for_each(|r| *r = Some(text.clone()));
                    unpack = Err(text);
                }
            }
        }
        let outcome =
            |(command, reason): (&Command, Option<String>)| (command.name.clone(), reason.map_or(Ok(()), Err));
        Ok((unpack, commands.iter().zip(reasons).map(outcome).collect()))
    }

    /// The key of the durable quarantine, when the push deploys.
    fn quarantine<W: Write>(
        &self,
        repository: &Repository,
        request: &git::Request,
        deploys: Option<usize>,
        input: &mut impl std::io::BufRead,
        progress: &mut Progress<W>,
    ) -> git::Result<Option<String>> {
        let config = &self.shared.ctx.config.git;
        let limits = Limits {
            pack_bytes: config.max_pack_bytes,
            objects: config.max_objects,
            object_bytes: config.max_object_bytes,
        };
        // Any unused word serves; the id of a job is one.
        let key = JobId::fresh().to_string();
        // git asks for quiet whenever its output is no terminal; that means the counting, not what the deployment says.
        let quiet = request.capabilities.quiet;
        let mut say = |text: &str| {
            if !quiet {
                progress.line(text);
            }
        };
        let mut quarantine = Quarantine::receive(repository, &key, input, &limits, &mut say)?;
        let Some(index) = deploys else { return Ok(None) };
        quarantine.check(&[request.commands[index].new])?;
        quarantine.keep();
        Ok(Some(key))
    }

    /// Hands the push over and follows it; the reason if it was refused.
    fn deploy<W: Write>(
        &self,
        accepted: &deploy::Accepted,
        command: &Command,
        key: &str,
        progress: &mut Progress<W>,
    ) -> Option<String> {
        if self.made {
            progress.line(&format!("-----> App {} created", self.app.name));
        }
        let id = |oid: &git::ObjectId| oid.to_string().parse::<CommitId>().ok();
        let old = (!command.is_create()).then(|| id(&command.old)).flatten();
        let Some(new) = id(&command.new) else { return Some("not a SHA-1 object id".into()) };
        let ctx = &self.shared.ctx;
        let accept = deploy::accept(ctx, &self.actor, &self.app, &accepted.environment, (old, new), key);
        match self.handle.block_on(accept) {
            Ok(job) => self.follow(&job, progress),
            Err(error) => {
                if let Ok(repository) = self.shared.repositories.create(self.app.id.as_str())
                    && let Ok(Some(quarantine)) = Quarantine::reopen(&repository, key)
                {
                    let _ = quarantine.discard();
                }
                Some(reason(&error))
            }
        }
    }

    fn follow<W: Write>(&self, job: &JobId, progress: &mut Progress<W>) -> Option<String> {
        let ctx = &self.shared.ctx;
        let mut events = deploy::follow(ctx, job);
        loop {
            let next = self.handle.block_on(async {
                tokio::select! {
                    () = self.shared.stopping.cancelled() => None,
                    next = tokio::time::timeout(KEEP_ALIVE, events.next()) => Some(next),
                }
            });
            match next {
                Some(Ok(Some(LogEvent::Line(text)))) => progress.line(&text),
                Some(Ok(Some(LogEvent::End) | None)) => break,
                Some(Err(_)) => progress.keep_alive(),
                None => return Some("the server is stopping; the push goes on when it is back".into()),
            }
        }
        match self.handle.block_on(deploy::finished(ctx, job)) {
            Ok(ended) if ended.state == JobState::Succeeded => None,
            Ok(ended) => Some(ended.reason.unwrap_or_else(|| "failed".into())),
            Err(error) => Some(reason(&error)),
        }
    }
}

/// Lines to the pusher. A client that is gone is not an error here: the work goes on without it.
struct Progress<W> {
    out: Sideband<W>,
    band: bool,
}

impl<W: Write> Progress<W> {
    fn line(&mut self, text: &str) {
        if self.band {
            let _ = self.out.progress(&format!("{text}\n")).and_then(|()| self.out.flush());
        }
    }

    fn keep_alive(&mut self) {
        if self.band {
            let _ = self.out.keepalive().and_then(|()| self.out.flush());
        }
    }
}
