//! `git-receive-pack`: takes the objects into quarantine, hands the push to its job, follows the
//! job's log until it ends, reports. The job does not need this session: when the client goes away,
//! only the following ends.

use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::{Git, git_reason, reason};
use crate::base::access::Actor;
use crate::base::model::{App, BuildId, CommitId, Id, JobId, JobState};
use crate::machinery::git::{self, Command, GitError, Limits, Moved, Part, Quarantine, Repository, Sideband};
use crate::product::deploy::{self, Course, LogEvent, PushOptions, RefUpdate, Until};

/// The longest silence that a pusher sees.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A silence after which all has been told of what was.
const SETTLED: Duration = Duration::from_millis(200);

pub(super) struct Session {
    pub(super) git: Git,
    pub(super) actor: Actor,
    pub(super) app: App,
    pub(super) made: bool,
    pub(super) handle: Handle,
}

/// What a session that follows hears of.
enum Next {
    /// None is silence.
    Event(Option<Option<LogEvent>>),
    Built,
    Stopping,
}

impl Session {
    pub(super) fn run(
        &self,
        mut input: impl std::io::BufRead,
        mut output: impl Write,
        (part, v1): (Part, bool),
    ) -> git::Result<()> {
        let repository = self.git.repositories.create(self.app.id.as_str())?;
        if part.advertises() {
            git::advertise(&repository, v1, &mut output)?;
            output.flush().map_err(GitError::Disconnected)?;
        }
        if !part.answers() {
            return Ok(());
        }
        let request = git::read_request(&mut input)?;
        if request.commands.is_empty() {
            return Ok(());
        }
        let band = request.capabilities.side_band_64k;
        let options = PushOptions::parse(&request.options);
        let mut progress = Progress { out: Sideband::new(&mut output), band };
        let (unpack, outcomes) = self.take(&repository, &request, options, (&mut input, &mut progress))?;
        let unpack = unpack.as_ref().copied().map_err(String::as_str);
        git::report(&mut output, &request.capabilities, unpack, &outcomes)?;
        output.flush().map_err(GitError::Disconnected)
    }

    /// Policy, quarantine, job: what became of the pack and of each ref.
    fn take<W: Write>(
        &self,
        repository: &Repository,
        request: &git::Request,
        options: Result<PushOptions, String>,
        (input, progress): (&mut impl std::io::BufRead, &mut Progress<W>),
    ) -> git::Result<(Result<(), String>, git::Outcomes)> {
        let commands = &request.commands;
        let updates: Vec<RefUpdate> =
            commands.iter().map(|c| RefUpdate { name: c.name.clone(), deletes: c.is_delete() }).collect();
        let (options, refused) = options.map_or_else(|text| (PushOptions::default(), Some(text)), |o| (o, None));
        let named = options.environment.as_deref();
        let decided = deploy::decide(&self.git.ctx, &self.actor, &self.app, &updates, named);
        let decided = self.handle.block_on(decided);
        let (accepted, mut reasons) = match decided {
            Ok(decided) => decided,
            Err(error) => (None, vec![Some(reason(&error)); commands.len()]),
        };
        if request.capabilities.atomic && reasons.iter().any(Option::is_some) {
            for reason in &mut reasons {
                reason.get_or_insert_with(|| "atomic push: another ref was refused".into());
            }
        }
        if let Some(text) = refused {
            reasons.iter_mut().for_each(|reason| *reason = Some(text.clone()));
        }
        let accepted = accepted.filter(|a| reasons[a.index].is_none());
        let (mut unpack, mut moved) = (Ok(()), None);
        if request.expects_pack() {
            // A pack for refused refs is read to its end all the same, else git shows a broken pipe and no reason.
            match self.quarantine(repository, request, accepted.as_ref().map(|a| a.index), input, progress) {
                Ok(key) => {
                    if let (Some(accepted), Some(key)) = (accepted, key) {
                        let command = &commands[accepted.index];
                        match self.deploy(&accepted, command, (&key, &options), progress) {
                            Ok(other) => moved = other,
                            Err(reason) => reasons[accepted.index] = Some(reason),
                        }
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
        let outcome = |(command, reason): (&Command, Option<String>)| {
            // One update at most deploys, and no other is accepted.
            (command.name.clone(), reason.map_or_else(|| Ok(moved.clone()), Err))
        };
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
        let config = &self.git.ctx.config.git;
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

    /// Hands the push over and follows it; the reason if it was refused, and what moved if that is not what was asked for.
    fn deploy<W: Write>(
        &self,
        accepted: &deploy::Accepted,
        command: &Command,
        (key, options): (&str, &PushOptions),
        progress: &mut Progress<W>,
    ) -> Result<Option<Moved>, String> {
        if self.made {
            progress.line(&format!("-----> App {} created", self.app.name));
        }
        let id = |oid: &git::ObjectId| oid.to_string().parse::<CommitId>().ok();
        let Some(new) = id(&command.new) else { return Err("not a SHA-1 object id".into()) };
        let name = format!("refs/heads/{}", accepted.environment.branch);
        // A push to an environment by name moves the branch that it follows, from wherever that is.
        let before = match command.name == name {
            true => command.old,
            false => self.tip(accepted.environment.branch.as_str())?,
        };
        let old = (!before.is_null()).then(|| id(&before)).flatten();
        let after = if options.manner.course == Course::DryRun { before } else { command.new };
        let moved = (name != command.name || after != command.new).then_some(Moved { name, old: before, new: after });
        let ctx = &self.git.ctx;
        let (at, commits) = (&accepted.environment, (old, new));
        let accept = deploy::accept(ctx, &self.actor, &self.app, at, commits, key, options);
        match self.handle.block_on(accept) {
            Ok((job, build)) => match self.follow(&job, &build.id, options.until, progress) {
                None => Ok(moved.filter(|moved| !moved.new.is_null())),
                Some(reason) => Err(reason),
            },
            Err(error) => {
                if let Ok(repository) = self.git.repositories.create(self.app.id.as_str())
                    && let Ok(Some(quarantine)) = Quarantine::reopen(&repository, key)
                {
                    let _ = quarantine.discard();
                }
                Err(reason(&error))
            }
        }
    }

    /// The null id where there is no such branch yet.
    fn tip(&self, branch: &str) -> Result<git::ObjectId, String> {
        let repository = self.git.repositories.create(self.app.id.as_str());
        let tip = repository.and_then(|repository| repository.head_of(branch)).map_err(git_reason)?;
        Ok(tip.unwrap_or_else(git::null_id))
    }

    fn follow<W: Write>(
        &self,
        job: &JobId,
        build: &BuildId,
        until: Until,
        progress: &mut Progress<W>,
    ) -> Option<String> {
        let ctx = &self.git.ctx;
        let goes_on = format!("       it goes on; see it with: hythe builds:output -a {} {build}", self.app.name);
        if until == Until::Taken {
            progress.line("-----> Push taken");
            progress.line(&goes_on);
            return None;
        }
        let mut events = deploy::follow(ctx, job);
        let mut built = Box::pin(deploy::built(ctx, job));
        let mut is_built = false;
        loop {
            let (watches, silence) = (until == Until::Built && !is_built, if is_built { SETTLED } else { KEEP_ALIVE });
            let next = self.handle.block_on(async {
                tokio::select! {
                    biased;
                    () = self.git.stopping.cancelled() => Next::Stopping,
                    // What was written before the image was made is told before it.
                    next = tokio::time::timeout(silence, events.next()) => Next::Event(next.ok()),
                    _ = &mut built, if watches => Next::Built,
                }
            });
            match next {
                Next::Event(Some(Some(LogEvent::Line(text)))) => progress.line(&text),
                Next::Event(Some(Some(LogEvent::End) | None)) => break,
                Next::Event(None) if is_built => {
                    progress.line(&goes_on);
                    return None;
                }
                Next::Event(None) => progress.keep_alive(),
                Next::Built => is_built = true,
                Next::Stopping => return Some("the server is stopping; the push goes on when it is back".into()),
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
