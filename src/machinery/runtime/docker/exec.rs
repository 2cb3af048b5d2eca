//! Commands in a sandbox or a replica: made, started with its streams attached, and asked for its exit code once the
//! output has ended. Three calls; the middle one is nearly all of the time.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::super::{ByteStream, Channel, Ended, EngineError, Exec, ExecSpec, LONGEST_TAIL, Result};
use super::{Docker, QUICK, START, enter, faults, names};
use crate::base::model::{CommandId, Id, Signal};

/// For the end of a command that was killed: one in an image without a shell cannot be, and is left to itself.
const LAST_WORDS: Duration = Duration::from_secs(5);

type Input = std::pin::Pin<Box<dyn AsyncWrite + Send>>;

impl Docker {
    pub(super) async fn exec_sandbox(&self, sandbox: &str, spec: ExecSpec) -> Result<Exec> {
        let name = names::sandbox(&self.0.prefix, sandbox)?;
        self.exec_container(&name, &format!("sandbox {sandbox}"), spec).await
    }

    /// A command that does not end in time is killed, and its end awaited, so that the next one does not run beside it.
    pub(super) async fn exec_replica(&self, replica: &str, command: &[String], within: Duration) -> Result<Ended> {
        if !names::is_container_id(replica) {
            return Err(EngineError::NotFound { subject: format!("replica {replica:?}") });
        }
        let id = CommandId::fresh();
        let (name, value) = enter::mark(&id);
        let spec = ExecSpec {
            command: command.to_vec(),
            user: None,
            working_dir: None,
            variables: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            stdin: None,
        };
        let mut tail = Vec::new();
        let code = {
            let ran = async {
                let mut exec = self.exec_container(replica, &format!("replica {replica}"), spec).await?;
                while let Some(piece) = exec.output.next().await {
                    tail.extend_from_slice(&piece?.1);
                    let surplus = tail.len().saturating_sub(LONGEST_TAIL);
                    tail.drain(..surplus);
                }
                exec.exit.await
            };
            let mut ran = std::pin::pin!(ran);
            match tokio::time::timeout(within, &mut ran).await {
                Ok(code) => Some(code?),
                Err(_) => {
                    // However long a busy engine takes for it: what is not killed now is never found again.
                    self.signal_entered(replica, &id, Signal::Kill).await;
                    let _ = tokio::time::timeout(LAST_WORDS, ran).await;
                    None
                }
            }
        };
        Ok(Ended { code, tail: String::from_utf8_lossy(&tail).into_owned() })
    }

    pub(super) async fn exec_container(&self, name: &str, place: &str, spec: ExecSpec) -> Result<Exec> {
        let subject = format!("{} in {place}", spec.command.first().map_or("", String::as_str));
        let config = ExecConfig {
            attach_stdin: Some(spec.stdin.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(spec.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(spec.command),
            user: spec.user,
            working_dir: spec.working_dir,
            ..Default::default()
        };
        let made = self.call("run", &subject, QUICK, |api| async move { api.create_exec(name, config).await }).await;
        let id = match made {
            Err(EngineError::NotFound { .. }) => {
                return Err(EngineError::NotFound { subject: place.to_owned() });
            }
            other => other?.id,
        };
        let options = StartExecOptions { output_capacity: Some(64 << 10), ..Default::default() };
        let started = |api: bollard::Docker| {
            let id = id.clone();
            async move { api.start_exec(&id, Some(options)).await }
        };
        let StartExecResults::Attached { output, input } = self.call("run", &subject, START, started).await? else {
            return Err(faults::refused("run", subject, "the engine attached no streams"));
        };
        let feed = spec.stdin.map(|stdin| feed(stdin, input).boxed());
        Ok(Exec { output: self.piped(output.boxed(), feed, subject.clone()), exit: self.exit_of(id, subject).boxed() })
    }

    /// The output, with the input fed while it is read; a command that ends early leaves the rest unread.
    fn piped(
        &self,
        output: BoxStream<'static, Result<LogOutput, bollard::errors::Error>>,
        feed: Option<BoxFuture<'static, std::io::Result<()>>>,
        subject: String,
    ) -> BoxStream<'static, Result<(Channel, Bytes)>> {
        let docker = self.clone();
        stream::unfold((output, feed), move |(mut output, mut feed)| {
            let (docker, subject) = (docker.clone(), subject.clone());
            async move {
                loop {
                    let fed = async {
                        match feed.as_mut() {
                            Some(feed) => feed.await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        part = output.next() => {
                            let part = match part? {
                                Ok(LogOutput::StdOut { message } | LogOutput::StdIn { message }) => Ok((Channel::Out, message)),
                                // Without a channel: the engine itself says why the command did not start.
                                Ok(LogOutput::StdErr { message } | LogOutput::Console { message }) => Ok((Channel::Err, message)),
                                Err(error) => Err(docker.fault("read the output of", &subject, error)),
                            };
                            return Some((part, (output, feed)));
                        }
                        fed = fed => {
                            feed = None;
                            if let Err(source) = fed {
                                let fault = EngineError::Refused { operation: "feed", subject: subject.clone(), source: source.into() };
                                return Some((Err(fault), (output, feed)));
                            }
                        }
                    }
                }
            }
        })
        .boxed()
    }

    /// The engine may still call a command running for a moment after its output has ended.
    pub(super) fn exit_of(&self, id: String, subject: String) -> impl Future<Output = Result<i64>> + Send + use<> {
        let docker = self.clone();
        async move {
            let mut pause = Duration::from_millis(1);
            loop {
                let asked = |api: bollard::Docker| {
                    let id = id.clone();
                    async move { api.inspect_exec(&id).await }
                };
                let seen = docker.call("ask the exit code of", &subject, QUICK, asked).await?;
                if let (Some(false), Some(code)) = (seen.running, seen.exit_code) {
                    return Ok(code);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }
}

/// Writes all of `stdin` and closes it. A command that does not read to the end is no fault; a source that breaks is.
async fn feed(mut stdin: ByteStream, mut input: Input) -> std::io::Result<()> {
    while let Some(piece) = stdin.next().await {
        if input.write_all(&piece?).await.is_err() {
            return Ok(());
        }
    }
    let _ = input.shutdown().await;
    Ok(())
}
