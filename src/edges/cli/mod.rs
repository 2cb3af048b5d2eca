//! The command line. `main` for a terminal; `run_remote` for the same verbs wherever there are
//! words, two outputs and an API, such as a session over SSH. Data goes to stdout, all else to
//! stderr; the exit code is 0 only when the verb was done.

mod account;
mod apps;
mod args;
mod attached;
mod bases;
mod buildpacks;
mod checks;
mod commands;
mod config;
mod contents;
mod delivery;
mod disk;
mod doctor;
mod domains;
mod environments;
mod failure;
mod io;
mod metrics;
mod near;
mod outlets;
mod processes;
mod remote;
mod rollouts;
mod seen;
mod serve;
mod settings;
mod sources;
mod terminal;
mod text;
mod traffic;
mod volumes;

use clap::Parser;

use crate::edges::api::types::{EnvironmentChangeBody, NewTokenBody, ScalingBody};
use crate::edges::client::{Client, Transport};
use args::{Arguments, Verb};
use failure::{Failure, Result};
use near::Near;

pub use io::Io;
pub use near::DEFAULT_URL;
pub use terminal::{Happenings, Mode, Terminal};

/// What a verb has at hand.
struct Session {
    client: Client,
    io: Io,
    /// This machine: its files and environment. None for a caller far away.
    near: Option<Near>,
    json: bool,
}

/// Runs the verb of `words` (without the program's name) for a caller far away: no files, no environment, no server of
/// this machine. Returns the exit code.
pub async fn run_remote(words: Vec<String>, transport: Transport, mut io: Io) -> u8 {
    let arguments = match parse(words) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&mut io, &error).await,
    };
    let mut session = Session { client: Client::new(transport), io, near: None, json: arguments.json };
    let outcome = match arguments.verb.only_near() {
        true => Err(Failure::usage("this verb needs your own machine; run it with the hythe command there")),
        false => run(&mut session, arguments.verb).await,
    };
    session.end(outcome).await
}

pub fn main() -> std::process::ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return (if error.use_stderr() { failure::USAGE } else { 0 }).into();
        }
    };
    match arguments.verb {
        Verb::Serve(verb) => serve::run(&verb, crate::daemon::serve),
        Verb::Prepare(verb) => serve::run(&verb.serve, |config| crate::daemon::prepare(config, verb.refresh)),
        verb => on_this_machine(verb, arguments.json),
    }
    .into()
}

fn on_this_machine(verb: Verb, json: bool) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!(" !     cannot start: {error}");
            return 1;
        }
    };
    let code = runtime.block_on(async {
        let mut io = Io::terminal();
        let near = match Near::look() {
            Ok(near) => near,
            Err(failure) => return failure.tell(&mut io).await,
        };
        let transport = match near.transport() {
            Ok(transport) => transport,
            Err(failure) => return failure.tell(&mut io).await,
        };
        let mut session = Session { client: Client::new(transport), io, near: Some(near), json };
        let outcome = run(&mut session, verb).await;
        session.end(outcome).await
    });
    // A read of the terminal that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    code
}

fn parse(words: impl IntoIterator<Item = String>) -> std::result::Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once("hythe".to_owned()).chain(words))
}

async fn usage(io: &mut Io, error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    let told = if error.use_stderr() { io.say(text.trim_end()).await } else { io.out(text.trim_end()).await };
    if told.is_ok() && !error.use_stderr() { 0 } else { failure::USAGE }
}

impl Session {
    async fn end(mut self, outcome: Result<()>) -> u8 {
        let code = match outcome {
            Ok(()) => 0,
            Err(failure) => failure.tell(&mut self.io).await,
        };
        self.io.end().await;
        code
    }
}

async fn run(s: &mut Session, verb: Verb) -> Result<()> {
    match verb {
        Verb::Serve(_) | Verb::Prepare(_) => Err(Failure::usage("serve and prepare run on their own")),
        Verb::Openapi => serve::openapi(s).await,
        Verb::Doctor(verb) => doctor::doctor(s, &verb).await,
        Verb::Setup(verb) => account::setup(s, verb).await,
        Verb::Login(verb) => account::login(s, verb).await,
        Verb::Logout => account::logout(s).await,
        Verb::Whoami => account::whoami(s).await,
        Verb::Keys => account::keys(s).await,
        Verb::KeysAdd(verb) => account::add_key(s, verb).await,
        Verb::KeysRemove { name } => account::remove_key(s, &name).await,
        Verb::Tokens => account::tokens(s).await,
        Verb::TokensCreate { name, expires, app, role } => {
            account::create_token(s, NewTokenBody { name, expires_in_days: expires, app, role }).await
        }
        Verb::TokensRemove { name } => account::remove_token(s, &name).await,
        Verb::Apps { with_package: None } => apps::list(s).await,
        Verb::Apps { with_package: Some(package) } => contents::find(s, &package).await,
        Verb::AppsCreate { name, org } => apps::create(s, name, org).await,
        Verb::AppsInfo(app) => apps::show(s, &app).await,
        Verb::AppsRename { app, name } => apps::rename(s, &app, name).await,
        Verb::AppsDestroy { app, confirm } => apps::destroy(s, &app, confirm.as_deref()).await,
        Verb::Open(app) => apps::open(s, &app).await,
        Verb::GitRemote { app, remote, https } => apps::git_remote(s, &app, &remote, https).await,
        Verb::Envs(app) => environments::list(s, &app).await,
        Verb::EnvsCreate { app, name, branch } => environments::create(s, &app, name, branch).await,
        Verb::EnvsDestroy { app, name, confirm } => environments::destroy(s, &app, &name, confirm.as_deref()).await,
        Verb::EnvsSet { at, branch, check, watch: watch_seconds, strategy, hold: hold_seconds } => {
            let change = EnvironmentChangeBody { branch, watch_seconds, strategy, hold_seconds, ..Default::default() };
            environments::change(s, &at, check, change).await
        }
        Verb::Promote { app, from, to } => environments::promote(s, &app, from, &to).await,
        Verb::Checks(at) => checks::list(s, &at).await,
        Verb::ChecksSet(verb) => checks::set(s, verb).await,
        Verb::ChecksUnset { at, kind, process } => checks::unset(s, &at, &kind, process).await,
        Verb::Config(at) => config::list(s, &at).await,
        Verb::ConfigGet { at, name } => config::get(s, &at, &name).await,
        Verb::ConfigSet { at, values } => config::set(s, &at, &values).await,
        Verb::ConfigUnset { at, names } => config::unset(s, &at, names).await,
        Verb::Ps(at) => processes::list(s, &at).await,
        Verb::PsAutoscale { at, process, min, max, in_flight, idle: idle_seconds, cpu, memory, latency, off } => {
            let (cpu_percent, memory_percent, latency_millis) = (cpu, memory, latency);
            let scaling = max.filter(|_| !off).map(|max| ScalingBody {
                min,
                max,
                in_flight,
                idle_seconds,
                cpu_percent,
                memory_percent,
                latency_millis,
            });
            processes::autoscale(s, &at, &process, scaling.as_ref()).await
        }
        Verb::PsScale { at, numbers } => processes::scale(s, &at, &numbers).await,
        Verb::Volume(verb) => volumes::run(s, verb).await,
        Verb::Sbom(sbom) => contents::show(s, &sbom).await,
        Verb::Disk(verb) => disk::run(s, verb).await,
        Verb::Domain(verb) => domains::run(s, verb).await,
        Verb::Base(verb) => bases::run(s, verb).await,
        Verb::Traffic(verb) => traffic::run(s, verb).await,
        Verb::Buildpacks(verb) => buildpacks::run(s, verb).await,
        Verb::PsRestart(at) => processes::restart(s, &at).await,
        Verb::PsStop(at) => processes::stop(s, &at, true).await,
        Verb::PsStart(at) => processes::stop(s, &at, false).await,
        Verb::Command(verb) => commands::run(s, verb).await,
        Verb::Outlet(verb) => outlets::run(s, verb).await,
        Verb::Logs { at, words } => seen::logs(s, &at, words).await,
        Verb::Metrics { at, words } => metrics::of_app(s, &at, &words).await,
        Verb::HostMetrics(words) => metrics::of_host(s, &words).await,
        Verb::Why(at) => seen::why(s, &at).await,
        Verb::Events { at, tail, number } => seen::events(s, &at, tail, number).await,
        Verb::Builds(app) => delivery::builds(s, &app).await,
        Verb::BuildsCreate { at, archive, elsewhere, manner } => {
            sources::create(s, &at, &archive, &elsewhere, manner).await
        }
        Verb::BuildsOutput { app, build } => delivery::build_output(s, &app, &build).await,
        Verb::BuildsCancel { app, build } => delivery::cancel(s, &app, &build).await,
        Verb::Releases { at, lines } => delivery::releases(s, &at, lines).await,
        Verb::ReleasesInfo { at, release } => delivery::release(s, &at, release.as_deref()).await,
        Verb::ReleasesDiff { at, from, to } => delivery::diff(s, &at, &from, to.as_deref()).await,
        Verb::ReleasesContinue(at) => rollouts::proceed(s, &at).await,
        Verb::ReleasesAbort(at) => rollouts::abort(s, &at).await,
        Verb::Rollback { at, release } => delivery::rollback(s, &at, release.as_deref()).await,
        Verb::Deployments(at) => delivery::deployments(s, &at).await,
        Verb::DeploymentsInfo { at, deployment } => delivery::deployment(s, &at, &deployment).await,
    }
}
