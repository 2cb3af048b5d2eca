//! Commands as containers of their own: made with the name that their id gives them, attached before they start
//! when somebody holds their streams, and kept until somebody has taken note of their end.

use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum as Status};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder, LogsOptionsBuilder,
    ResizeContainerTTYOptions, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::{Attached, Channel, CommandSpec, Control, EngineError, LogLine, Result, SeenCommand};
use super::faults::{self, gone_is_fine, refused};
use super::rollout::confined;
use super::{Docker, QUICK, START, names};
use crate::base::model::{CommandId, Exit, Signal, Window};

/// Pieces of input, or other things told, that wait for a command to take them.
pub(super) const WAITING: usize = 16;
/// Before the engine is asked again for the end of a command after it failed to say.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) type Stdin = std::pin::Pin<Box<dyn AsyncWrite + Send>>;

impl Docker {
    pub(super) async fn run_command(&self, spec: &CommandSpec) -> Result<bool> {
        let name = names::command(&self.0.prefix, &spec.id);
        match self.find_command(&name).await? {
            None => {
                if self.make_command(&name, spec, self.command_body(spec, None, false).await?).await? {
                    self.start_command(&name, spec).await?;
                    return Ok(true);
                }
                Ok(false)
            }
            // Made by a process that died before it could start it.
            Some(found) if found.state.as_ref().and_then(|s| s.status) == Some(Status::CREATED) => {
                self.start_command(&name, spec).await?;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    pub(super) async fn run_with_streams(&self, spec: &CommandSpec, window: Option<Window>) -> Result<Attached> {
        let name = names::command(&self.0.prefix, &spec.id);
        let body = self.command_body(spec, window, true).await?;
        if !self.make_command(&name, spec, body).await? {
            return Err(refused("run", spec.id.to_string(), "a command of this id was started before"));
        }
        let attached = match self.attach(&name).await {
            Ok(attached) => attached,
            Err(error) => {
                let _ = self.discard(&name).await;
                return Err(error);
            }
        };
        self.start_command(&name, spec).await?;
        if let Some(window) = window {
            self.resize_command(&name, window).await;
        }
        let stdin = self.fed(attached.input);
        let (control, mut told) = mpsc::channel(WAITING);
        let (docker, of) = (self.clone(), name.clone());
        self.0.feeding.spawn(async move {
            while let Some(told) = told.recv().await {
                match told {
                    Control::Resize(window) => docker.resize_command(&of, window).await,
                    Control::Signal(signal) => docker.signal_command(&of, signal).await,
                }
            }
        });
        let exit = {
            let (docker, id) = (self.clone(), spec.id.clone());
            async move { docker.exit_of_command(&id).await }.boxed()
        };
        Ok(Attached { stdin, control, output: self.output(attached.output, window.is_some(), &name), exit })
    }

    pub(super) async fn list_commands(&self) -> Result<Vec<SeenCommand>> {
        let ours = vec![format!("{}={}", names::PREFIX, self.0.prefix), names::COMMAND.to_owned()];
        let found = self.list_containers(ours).await?;
        let seen = found.into_iter().filter_map(|container| {
            let labels = container.labels?;
            let running = matches!(
                container.state?,
                bollard::models::ContainerSummaryStateEnum::RUNNING
                    | bollard::models::ContainerSummaryStateEnum::PAUSED
                    | bollard::models::ContainerSummaryStateEnum::STOPPING
            );
            Some(SeenCommand {
                id: labels.get(names::COMMAND)?.parse().ok()?,
                environment: labels.get(names::COMMAND_OF)?.parse().ok()?,
                running,
            })
        });
        Ok(seen.collect())
    }

    pub(super) async fn output_of_command(&self, id: &CommandId) -> Result<BoxStream<'static, Result<LogLine>>> {
        let name = names::command(&self.0.prefix, id);
        match self.find_command(&name).await? {
            Some(_) => self.lines_of(&name, LogsOptionsBuilder::new().follow(true).tail("all")),
            None => Err(absent(id)),
        }
    }

    /// The engine may go away while it is asked: then it is asked again for as long as the command exists.
    pub(super) async fn exit_of_command(&self, id: &CommandId) -> Result<Exit> {
        let name = &names::command(&self.0.prefix, id);
        loop {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            let waited = self.api()?.wait_container(name, Some(options)).boxed().try_next().await;
            let code = match waited {
                Ok(Some(ended)) => Some(ended.status_code),
                Err(Error::DockerContainerWaitError { code, .. }) => Some(code),
                Err(error) if faults::status(&error) == Some(404) => return Err(absent(id)),
                Ok(None) | Err(_) => None,
            };
            match self.find_command(name).await {
                Ok(Some(found)) => {
                    let state = found.state.unwrap_or_default();
                    // One that was made and not started yet has not ended, whatever the wait says.
                    let over = state.running != Some(true) && state.status != Some(Status::CREATED);
                    if let Some(code) = code.filter(|_| over) {
                        let out_of_memory = state.oom_killed.unwrap_or(false);
                        return Ok(Exit { code: state.exit_code.unwrap_or(code), out_of_memory });
                    }
                }
                Ok(None) => return Err(absent(id)),
                Err(error) if error.is_temporary() => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn stop_command(&self, id: &CommandId, grace_seconds: u32) -> Result<()> {
        let name = &names::command(&self.0.prefix, id);
        let Some(found) = self.find_command(name).await? else { return Ok(()) };
        if found.state.unwrap_or_default().running == Some(true) {
            let options =
                StopContainerOptionsBuilder::new().t(i32::try_from(grace_seconds).unwrap_or(i32::MAX)).build();
            let within = Duration::from_secs(u64::from(grace_seconds)) + QUICK;
            let stopped =
                |api: bollard::Docker| async move { gone_is_fine(api.stop_container(name, Some(options)).await) };
            self.call("stop", name, within, stopped).await?;
        }
        self.discard(name).await
    }

    /// What bears a command's name, if it is ours.
    async fn find_command(&self, name: &str) -> Result<Option<ContainerInspectResponse>> {
        let found = match self.inspect(name).await {
            Err(EngineError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let labels = found.config.as_ref().and_then(|c| c.labels.as_ref());
        let ours = labels.is_some_and(|l| l.get(names::PREFIX) == Some(&self.0.prefix));
        if ours { Ok(Some(found)) } else { Err(refused("run", name, "a container that is not ours has its name")) }
    }

    /// False: one of this name exists already.
    async fn make_command(&self, name: &str, spec: &CommandSpec, body: ContainerCreateBody) -> Result<bool> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let made = |api: bollard::Docker| async move {
            match api.create_container(Some(options), body).await {
                Ok(_) => Ok(Ok(true)),
                Err(error) if faults::status(&error) == Some(409) => Ok(Ok(false)),
                Err(error) if faults::status(&error) == Some(404) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        };
        match self.call("create", name, START, made).await? {
            Ok(made) => Ok(made),
            Err(error) if faults::text(&error).to_ascii_lowercase().contains("no such image") => {
                Err(refused("create", name, format!("the image {} is not in the engine", spec.image)))
            }
            Err(error) => Err(refused("create", name, faults::text(&error))),
        }
    }

    async fn start_command(&self, name: &str, spec: &CommandSpec) -> Result<()> {
        if let Err(fault) = self.give_volumes(name, &spec.mounts).await {
            let _ = self.discard(name).await;
            return Err(fault);
        }
        let started = match self.start_container(name, name).await {
            // The network was removed behind our back.
            Err(EngineError::NotFound { .. }) => {
                self.forget_network(&names::space_network(&self.0.prefix, &spec.space)).await;
                self.space_network(&spec.space).await?;
                self.start_container(name, name).await
            }
            other => other,
        };
        if started.is_err() {
            let _ = self.discard(name).await;
        }
        started
    }

    async fn attach(&self, name: &str) -> Result<AttachContainerResults> {
        let options = AttachContainerOptionsBuilder::new().stream(true).stdin(true).stdout(true).stderr(true).build();
        self.call("attach to", name, QUICK, |api| async move { api.attach_container(name, Some(options)).await }).await
    }

    /// A command that has just ended has no window and hears no signal: nothing to tell.
    async fn resize_command(&self, name: &str, window: Window) {
        let size = ResizeContainerTTYOptions { h: i32::from(window.rows), w: i32::from(window.columns) };
        let resized =
            self.call("resize", name, QUICK, |api| async move { api.resize_container_tty(name, size).await }).await;
        if let Err(fault) = resized {
            tracing::debug!(container = name, error = &fault as &dyn std::error::Error, "a terminal kept its size");
        }
    }

    async fn signal_command(&self, name: &str, signal: Signal) {
        let options = KillContainerOptionsBuilder::new().signal(&format!("SIG{signal}")).build();
        let told =
            self.call("signal", name, QUICK, |api| async move { api.kill_container(name, Some(options)).await }).await;
        if let Err(fault) = told {
            tracing::debug!(container = name, error = &fault as &dyn std::error::Error, "a signal was not delivered");
        }
    }

    /// A way into `stdin` that ends it when it is dropped.
    pub(super) fn fed(&self, mut stdin: Stdin) -> mpsc::Sender<Bytes> {
        let (sender, mut pieces) = mpsc::channel::<Bytes>(WAITING);
        self.0.feeding.spawn(async move {
            while let Some(piece) = pieces.recv().await {
                if stdin.write_all(&piece).await.is_err() || stdin.flush().await.is_err() {
                    return;
                }
            }
            let _ = stdin.shutdown().await;
        });
        sender
    }

    pub(super) fn output(
        &self,
        output: BoxStream<'static, Result<LogOutput, Error>>,
        terminal: bool,
        name: &str,
    ) -> BoxStream<'static, Result<(Channel, Bytes)>> {
        let (docker, name) = (self.clone(), name.to_owned());
        let pieces = output.map(move |piece| match piece {
            Ok(LogOutput::StdOut { message } | LogOutput::StdIn { message }) => Ok((Channel::Out, message)),
            Ok(LogOutput::StdErr { message }) => Ok((Channel::Err, message)),
            Ok(LogOutput::Console { message }) => Ok((if terminal { Channel::Out } else { Channel::Err }, message)),
            Err(error) => Err(docker.fault("read the output of", &name, error)),
        });
        pieces.boxed()
    }

    async fn command_body(
        &self,
        spec: &CommandSpec,
        window: Option<Window>,
        streams: bool,
    ) -> Result<ContainerCreateBody> {
        let network = self.space_network(&spec.space).await?;
        let mut variables: Vec<_> = spec.variables.iter().map(|(name, v)| format!("{name}={}", v.reveal())).collect();
        variables.push(format!("HYTHE_PROCESS={}", spec.process));
        let mut host = confined(&spec.limits, &network);
        host.mounts = self.mounts(&spec.space, &spec.mounts).await?;
        host.console_size = window.map(|window| vec![usize::from(window.rows), usize::from(window.columns)]);
        Ok(ContainerCreateBody {
            image: Some(names::image(&self.0.prefix, &spec.image)),
            entrypoint: Some(spec.command.clone()),
            working_dir: spec.working_dir.clone(),
            env: Some(variables),
            hostname: Some(spec.process.replace('.', "-")),
            labels: Some(names::of_command(&self.0.prefix, spec)),
            stop_signal: Some("SIGTERM".into()),
            tty: Some(window.is_some()),
            open_stdin: Some(streams),
            stdin_once: Some(streams),
            attach_stdin: Some(streams),
            attach_stdout: Some(streams),
            attach_stderr: Some(streams),
            host_config: Some(host),
            ..Default::default()
        })
    }
}

fn absent(id: &CommandId) -> EngineError {
    EngineError::NotFound { subject: format!("command {id}") }
}
