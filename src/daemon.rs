//! Composition root: config → store → engine → jobs → converge → listeners → drain. The only file
//! that knows everybody; it decides nothing but the order.

mod succession;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::clock::{Clock, SystemClock};
use crate::base::config::Config;
use crate::base::model::Host;
use crate::edges::client::Transport;
use crate::edges::{api, cli, git, registry, ssh};
use crate::machinery::git::Repositories;
use crate::machinery::image::BlobStore;
use crate::machinery::outbound::Guard;
use crate::machinery::proxy::{self, AccessBook, Proxy, ProxySettings, RouteTable};
use crate::machinery::runtime::{Engine, docker::Docker};
use crate::product::builds::Builder;
use crate::product::converge::{Converger, EngineObservatory};
use crate::product::deploy::{
    ActivateWork, ClearWork, CommandKeeper, CronKeeper, Desk, FetchWork, ImageWork, PushWork, RebaseWork, Sources,
    Sweeper,
};
use crate::product::disk::{Disk, DiskKeeper};
use crate::product::insight::{self, Collector, Insight, Sampler};
use crate::product::routing::CertificateKeeper;
use crate::product::{Ctx, accounts};
use crate::state::jobs::{Queue, Runner};
use crate::state::logs::LogStore;
use crate::state::store::Store;
use crate::state::vault::Vault;
use succession::{Doors, Signals, give_state};

/// Deployments of different apps that may be worked on at once.
const PARALLEL_JOBS: usize = 4;
/// How long listeners may take to finish what they serve.
const DRAIN: Duration = Duration::from_secs(20);
/// The same when another process takes over: nobody is answered meanwhile, so what goes on for longer is cut.
const HAND_OVER: Duration = Duration::from_secs(5);
/// A route table is saved to the disk when it has not changed for so long.
const SETTLED: Duration = Duration::from_secs(1);
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const SETUP_TOKEN_FILE: &str = "setup-token";

/// As many open files as the system allows this process: each client, replica and log has one, and shells start with 1024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the bound of open files cannot be raised");
    }
}

/// Runs the platform until SIGTERM or SIGINT. Apps go on serving after it has ended. On SIGUSR2 the program's file is
/// started anew and takes over, while this process serves those who are connected to it to their end.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS provider was installed before"))?;
    raise_open_files();
    let mut signals = Signals::new()?;
    let mut doors = Doors::new()?;
    let dir = config.data.dir.clone();
    std::fs::create_dir_all(&dir).with_context(|| format!("the data directory {} cannot be made", dir.display()))?;
    let held = if doors.has_predecessor() { None } else { Some(lock(&dir, LOCK_PATIENCE).await?) };

    // Ports first: a start that cannot serve changes nothing.
    let http = &config.http;
    let proxy_listener = doors.open("proxy", http.proxy_listen, "http.proxy_listen", "HYTHE_HTTP_PROXY_LISTEN").await?;
    let tls_listener = match http.tls_listen {
        Some(address) => Some(doors.open("tls", address, "http.tls_listen", "HYTHE_HTTP_TLS_LISTEN").await?),
        None => None,
    };
    let api_listener = doors.open("api", http.api_listen, "http.api_listen", "HYTHE_HTTP_API_LISTEN").await?;
    let ssh_listener = doors.open("git", config.git.listen, "git.listen", "HYTHE_GIT_LISTEN").await?;
    doors.state().await?;
    let lock = match held {
        Some(lock) => lock,
        None => lock(&dir, LOCK_PATIENCE).await?,
    };
    let api_address = api_listener.local_addr()?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Store::open(config.data.database_url.as_deref(), &dir).await.map_err(told)?;
    let vault = Vault::open(&dir, &store).await.map_err(told)?;
    let logs = LogStore::open(&dir.join("logs")).map_err(told)?;
    let queue = Queue::new(store.clone(), Arc::clone(&clock), logs.clone());
    let engine: Arc<dyn Engine> = Arc::new(Docker::connect(&config.runtime.engine, &config.runtime.prefix)?);
    let blobs = BlobStore::open(&dir.join("blobs"))?;
    let repositories = Arc::new(Repositories::open(dir.join("repos"))?);
    let builder = Builder::new(Arc::clone(&engine), blobs.clone(), &config.build, &dir);
    let builder = builder.reaching(Guard { private: config.outbound.private });
    let builder = Arc::new(builder.keeping_free(config.disk.reserved_bytes, config.disk.reserved_files));
    let at_once = builder.at_once();
    let host_key = ssh::load_or_make_host_key(&dir.join("host_key")).map_err(told)?;
    let config = Arc::new(config);
    let observatory = EngineObservatory::new(Arc::clone(&engine));
    let board = observatory.board();
    let ctx = Ctx {
        store,
        clock,
        vault,
        queue: queue.clone(),
        logs,
        wake: Arc::new(Notify::new()),
        certificates: Arc::default(),
        config: Arc::clone(&config),
        observatory: Arc::new(observatory),
        desk: Arc::new(Desk::new(Arc::clone(&engine), Arc::clone(&builder))),
        sources: Arc::new(Sources::open(Arc::clone(&repositories), dir.join("uploads"))?),
        insight: Insight::open(&dir, &config).map_err(told)?,
        disk: Arc::new(Disk::new(Arc::clone(&engine), Arc::clone(&builder), blobs.clone(), dir.clone())),
    };

    // Listeners stop first, then the work behind them: what was accepted is still answered.
    let (front, edges, core) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());

    // The last table serves from the first moment, before the engine was asked.
    let table_file = dir.join("routes.json");
    let table = match proxy::load(&table_file) {
        Ok(table) => table.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "the saved route table cannot be read; starting with none");
            RouteTable::default()
        }
    };
    let (table_sender, table) = watch::channel(Arc::new(table));
    let mut certificates = CertificateKeeper::new(ctx.clone(), table_sender.clone());
    let tables = table_sender.clone();
    let api_host: Host = config.http.api_host().parse().map_err(|e| anyhow!("http.base_domain: {e}"))?;
    let converger = Converger::new(
        ctx.clone(),
        Arc::clone(&engine),
        Arc::clone(&builder),
        table_sender,
        Some((api_host, api_address)),
    )
    .showing(board);
    let handle = converger.handle();
    let collector = Collector::new(ctx.clone(), Arc::clone(&engine)).run(handle.clone(), core.clone());
    let (held, makes) = (Arc::clone(&repositories), Arc::clone(&builder));
    let push = Arc::new(PushWork::new(ctx.clone(), held, makes, handle.clone()));
    let runner = Runner::new(
        queue,
        vec![
            Arc::clone(&push) as _,
            Arc::new(FetchWork::new(push)),
            Arc::new(ImageWork::new(ctx.clone(), Arc::clone(&builder), handle.clone())),
            Arc::new(ActivateWork::new(ctx.clone(), Arc::clone(&builder), handle.clone())),
            Arc::new(RebaseWork::new(ctx.clone(), Arc::clone(&builder), handle)),
            Arc::new(ClearWork::new(ctx.clone(), Arc::clone(&repositories), Arc::clone(&builder))),
        ],
        PARALLEL_JOBS + at_once,
    );

    let registry = registry::Registry::new(ctx.clone(), blobs);
    let warm: git::Warm = {
        let builder = Arc::clone(&builder);
        let tasks = TaskTracker::new();
        Arc::new(move |app| {
            let builder = Arc::clone(&builder);
            tasks.spawn(async move { builder.warm(&app).await });
        })
    };
    let (held, stopping) = (Arc::clone(&repositories), edges.child_token());
    let git = git::Git { ctx: ctx.clone(), repositories: held, warm, stopping };
    let api_router = api::router(ctx.clone()).merge(registry.router()).merge(git::router(git.clone()));
    let ssh = ssh::SshServer::new(git, verbs(&api_router), host_key);
    let access = config.logs.access.then(|| Arc::new(AccessBook::new(insight::BOOK)));
    let settings = ProxySettings {
        public_port: config.http.public_port,
        public_tls_port: config.http.public_tls_port,
        tls_port: config.http.tls_listen.map(|tls| config.http.public_tls_port.unwrap_or(tls.port())),
        access: access.clone(),
        balancers: config.http.balancers.clone(),
        ..ProxySettings::default()
    };
    let proxy = Proxy::new(table.clone(), settings);

    let keeper = CommandKeeper::new(ctx.clone()).map_err(told)?;
    let crons = CronKeeper::new(ctx.clone());
    let sweeper = Sweeper::new(ctx.clone(), Arc::clone(&repositories), Arc::clone(&builder));
    sweeper.quarantines().await.map_err(told)?;
    announce_setup(&ctx, &dir, api_address).await?;
    // Before anybody is listened to who may ask for one.
    certificates.look().await.map_err(told)?;
    tracing::info!(
        proxy.address = %proxy_listener.local_addr()?, api.address = %api_address, ssh.address = %ssh_listener.local_addr()?,
        data.dir = %dir.display(), "hythe serves"
    );

    let (proxy_tasks, edge_tasks, core_tasks) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
    core_tasks.spawn(converger.run(core.clone()));
    core_tasks.spawn(collector);
    let sampler = Sampler::new(ctx.clone(), Arc::clone(&engine), table.clone());
    core_tasks.spawn(sampler.run(core.clone()));
    core_tasks.spawn(insight::follow_written(ctx.clone(), Arc::clone(&engine), core.clone()));
    core_tasks.spawn(insight::run_drains(ctx.clone(), core.clone()));
    core_tasks.spawn(insight::run_webhooks(ctx.clone(), core.clone()));
    if let Some(book) = access {
        core_tasks.spawn(insight::keep_access(ctx.clone(), book, core.clone()));
    }
    if let Some(lines) = ctx.logs.job_lines() {
        core_tasks.spawn(insight::keep_output(ctx.clone(), lines, core.clone()));
    }
    core_tasks.spawn(runner.run(core.clone()));
    core_tasks.spawn(sweeper.run(core.clone()));
    core_tasks.spawn(DiskKeeper::new(ctx.clone()).run(core.clone()));
    core_tasks.spawn(keeper.run(core.clone()));
    core_tasks.spawn(crons.run(core.clone()));
    core_tasks.spawn(registry.keep(core.clone()));
    core_tasks.spawn(save_tables(table.clone(), table_file, core.clone()));
    core_tasks.spawn(make_base(Arc::clone(&builder), core.clone()));
    core_tasks.spawn(certificates.run(core.clone()));
    if let Some(listener) = tls_listener {
        tracing::info!(proxy.tls_address = %listener.local_addr()?, "hythe serves TLS");
        proxy_tasks.spawn(tls_task(proxy.clone(), listener, front.clone()));
    }
    proxy_tasks.spawn(proxy_task(proxy.clone(), proxy_listener, front.clone()));
    edge_tasks.spawn(ssh.serve(ssh_listener, edges.clone()));
    edge_tasks.spawn(serve_api(api_router, api_listener, edges.clone()));

    match doors.serving()? {
        // The process before tells the supervisor who serves.
        Some(carrier) => drop(core_tasks.spawn(carrier.run(table, core.clone()))),
        None => tell_supervisor("READY=1"),
    }
    let successor = signals.end(&doors).await;
    drop(doors);
    proxy_tasks.close();
    edge_tasks.close();
    core_tasks.close();
    let Some(successor) = successor else {
        tell_supervisor("STOPPING=1");
        tracing::info!("stopping; apps go on running");
        front.cancel();
        edges.cancel();
        let all = futures_util::future::join(proxy_tasks.wait(), edge_tasks.wait());
        let _ = tokio::time::timeout(DRAIN, all).await;
        core.cancel();
        let _ = tokio::time::timeout(DRAIN, core_tasks.wait()).await;
        tracing::info!("stopped");
        return Ok(());
    };
    tracing::info!("handing over; clients wait for the next process or go on with the proxy of this one");
    edges.cancel();
    let _ = tokio::time::timeout(HAND_OVER, edge_tasks.wait()).await;
    core.cancel();
    let _ = tokio::time::timeout(DRAIN, core_tasks.wait()).await;
    drop(lock);
    let (next, farewell) = give_state(successor).await?;
    tell_supervisor(&format!("MAINPID={next}\nREADY=1"));
    tracing::info!(process = next, "handed over; staying for those who are connected");
    proxy.leave();
    farewell.wait(tables, &mut signals, proxy_tasks.wait()).await;
    front.cancel();
    let _ = tokio::time::timeout(DRAIN, proxy_tasks.wait()).await;
    tracing::info!("stopped");
    Ok(())
}

/// Makes the base image if it is not there, or anew, and ends. A server without the right to make one finds it at its start.
pub async fn prepare(config: Config, refresh: bool) -> anyhow::Result<()> {
    let dir = &config.data.dir;
    // A blob store is for one process at a time. Who prepares may be another user than who serves, so no lock is made.
    let _lock = if dir.join("lock").exists() { Some(lock(dir, LOCK_PATIENCE).await?) } else { None };
    std::fs::create_dir_all(dir).with_context(|| format!("the data directory {} cannot be made", dir.display()))?;
    let engine: Arc<dyn Engine> = Arc::new(Docker::connect(&config.runtime.engine, &config.runtime.prefix)?);
    let builder = Builder::new(engine, BlobStore::open(&dir.join("blobs"))?, &config.build, dir);
    let made = if refresh { builder.refresh().await.map(drop) } else { builder.ready().await };
    made.map_err(|failure| anyhow!("{failure}\n{}", failure.lines.join("\n")))
}

/// Two servers on one data directory would undo each other's work. One that was just killed may hold it a moment longer.
async fn lock(dir: &Path, patience: Duration) -> anyhow::Result<std::fs::File> {
    let path = dir.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    let until = tokio::time::Instant::now() + patience;
    while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        if tokio::time::Instant::now() >= until {
            return Err(anyhow!("another hythe serves from {}; stop it first, or set HYTHE_DATA_DIR", dir.display()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(file)
}

/// The first start has no user: whoever reads this token becomes the first administrator.
async fn announce_setup(ctx: &Ctx, dir: &Path, api: SocketAddr) -> anyhow::Result<()> {
    let path = dir.join(SETUP_TOKEN_FILE);
    match accounts::ensure_setup_token(ctx).await.map_err(told)? {
        Some(token) => {
            write_private(&path, &token)?;
            let host = if api.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { api.ip() };
            let url = format!("http://{}", SocketAddr::new(host, api.port()));
            let url = if url == cli::DEFAULT_URL { String::new() } else { format!("--url {url} ") };
            println!("set-up token: {token}");
            println!(
                "make the first administrator with: hythe setup {url}--token {token} --name NAME --email ADDRESS --key ~/.ssh/id_ed25519.pub"
            );
        }
        None => {
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// The verbs over ssh: the CLI's own code on the API's own router, as the caller that the key proved.
fn verbs(router: &axum::Router) -> ssh::Verbs {
    let router = router.clone();
    Arc::new(move |actor, words, io| {
        let transport = Transport::InProcess(api::in_process(router.clone(), actor));
        Box::pin(async move { u32::from(cli::run_remote(words, transport, io_of(io)).await) })
    })
}

fn io_of(io: ssh::VerbIo) -> cli::Io {
    let terminal = io.terminal.map(|terminal| cli::Terminal {
        name: Some(terminal.name).filter(|name| !name.is_empty()),
        window: terminal.window,
        mode: cli::Mode::Far(terminal.raw),
    });
    let happenings = cli::Happenings::Far(io.happenings);
    cli::Io { stdin: io.input, terminal, happenings, ..cli::Io::over(io.out, io.err) }
}

async fn proxy_task(proxy: Proxy, listener: TcpListener, shutdown: CancellationToken) {
    proxy.serve(listener, shutdown).await;
}

async fn tls_task(proxy: Proxy, listener: TcpListener, shutdown: CancellationToken) {
    if let Err(error) = proxy.serve_tls(listener, shutdown).await {
        tracing::error!(%error, "TLS is not served");
    }
}

async fn serve_api(router: axum::Router, listener: TcpListener, shutdown: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await {
        tracing::error!(%error, "the API ended");
    }
}

/// The base image, before the first push needs it.
async fn make_base(builder: Arc<Builder>, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        ready = builder.ready() => match ready {
            Ok(_) => tracing::info!("the base image is ready"),
            Err(error) => tracing::error!(%error, detail = error.lines.join(" "), "the base image could not be made; pushes will try again"),
        }
    }
}

/// Each table is noted at once, so that a server that is killed begins with what its clients saw last; and saved when no
/// other has come for a moment.
async fn save_tables(
    mut table: watch::Receiver<Arc<RouteTable>>,
    path: std::path::PathBuf,
    shutdown: CancellationToken,
) {
    let (mut is_saved, mut over) = (true, false);
    while !over {
        let still = tokio::select! {
            changed = table.changed() => {
                if changed.is_err() { return }
                false
            }
            () = tokio::time::sleep(SETTLED), if !is_saved => true,
            () = shutdown.cancelled() => {
                over = true;
                true
            }
        };
        if over && is_saved && !table.has_changed().unwrap_or(false) {
            return;
        }
        let (current, path) = (Arc::clone(&table.borrow_and_update()), path.clone());
        let write = move || if still { proxy::save(&current, &path) } else { proxy::note(&current, &path) };
        is_saved = still;
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(%error, "the route table could not be saved");
        }
    }
}

/// To the supervisor that started this process, if one wants to know (sd_notify(3)): what is started after the server finds
/// it serving.
fn tell_supervisor(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_encoded_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!(%error, "the supervisor could not be told: {state}");
    }
}

/// An error of the product with its causes, for whoever starts the server.
fn told(error: crate::base::Error) -> anyhow::Error {
    anyhow!(error.for_log())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_data_directory_serves_one() {
        let dir = tempfile::tempdir().expect("dir");
        let held = lock(dir.path(), Duration::ZERO).await.expect("free");
        let refused = lock(dir.path(), Duration::ZERO).await.expect_err("held");
        assert!(refused.to_string().contains("HYTHE_DATA_DIR"));
        drop(held);
        lock(dir.path(), Duration::ZERO).await.expect("free again");
    }
}
