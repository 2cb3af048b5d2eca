//! Further commands inside a running replica. The engine can start one and size its terminal, and no more: it
//! neither signals it nor ends it when its client goes. So every process of it carries the command's id in its
//! environment, and a signal is sent by a small script inside the same replica that looks for the id. The script
//! is constant, the id and the signal's name are arguments of their own grammars; an image without a shell gets none.

use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::super::{Attached, Control, EngineError, EnterSpec, Result};
use super::commands::WAITING;
use super::{Docker, QUICK, START, faults};
use crate::base::model::{CommandId, Exit, Id, Signal, Window};

const MARK: &str = "HYTHE_COMMAND";

/// The shells of images, each with a script of its own: `$1` is the signal, `$2` what stands in the environment of the
/// processes that shall get it. That of bash starts no program; the other needs `tr` and `grep`, as small images have them.
const FIND_AND_SIGNAL: [(&str, &str); 2] = [
    (
        "bash",
        r#"shopt -s nullglob
for each in /proc/[0-9]*/environ; do
  { while IFS= read -r -d '' variable; do
    if [[ $variable == "$2" ]]; then
      process=${each#/proc/}
      kill -s "$1" "${process%/environ}"
      break
    fi
  done < "$each"; } 2>/dev/null
done"#,
    ),
    (
        "sh",
        r#"for each in /proc/[0-9]*/environ; do
  if tr '\0' '\n' <"$each" | grep -qxF -e "$2"; then
    process=${each#/proc/}
    kill -s "$1" "${process%/environ}"
  fi
done 2>/dev/null"#,
    ),
];

/// What the engine says for a program that it did not find, or could not start.
const NO_PROGRAM: [i64; 2] = [126, 127];

impl Docker {
    pub(super) async fn enter_replica(
        &self,
        replica: &str,
        spec: EnterSpec,
        window: Option<Window>,
    ) -> Result<Attached> {
        self.inspect_ours(replica).await?;
        let subject = spec.command.first().cloned().unwrap_or_default();
        let mut variables: Vec<_> = spec.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (name, value) = mark(&spec.id);
        variables.push(format!("{name}={value}"));
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(window.is_some()),
            console_size: window.map(|window| vec![usize::from(window.rows), usize::from(window.columns)]),
            env: Some(variables),
            cmd: Some(spec.command),
            ..Default::default()
        };
        let made =
            self.call("enter", &subject, QUICK, |api| async move { api.create_exec(replica, config).await }).await;
        let id = match made {
            Err(EngineError::NotFound { .. }) => {
                return Err(EngineError::NotFound { subject: format!("replica {replica:?}") });
            }
            other => other?.id,
        };
        let options = StartExecOptions { tty: window.is_some(), output_capacity: Some(64 << 10), ..Default::default() };
        let started = |api: bollard::Docker| {
            let id = id.clone();
            async move { api.start_exec(&id, Some(options)).await }
        };
        let StartExecResults::Attached { output, input } = self.call("enter", &subject, START, started).await? else {
            return Err(faults::refused("enter", subject, "the engine attached no streams"));
        };
        if let Some(window) = window {
            self.resize_entered(&id, window).await;
        }
        let (control, mut told) = mpsc::channel(WAITING);
        let (docker, container, exec, command) = (self.clone(), replica.to_owned(), id.clone(), spec.id);
        self.0.feeding.spawn(async move {
            while let Some(told) = told.recv().await {
                match told {
                    Control::Resize(window) => docker.resize_entered(&exec, window).await,
                    Control::Signal(signal) => docker.signal_entered(&container, &command, signal).await,
                }
            }
        });
        let exit = self.exit_of(id, subject.clone());
        let exit = async move { exit.await.map(|code| Exit { code, out_of_memory: false }) }.boxed();
        let output = self.output(output.boxed(), window.is_some(), &subject);
        Ok(Attached { stdin: self.fed(input), control, output, exit })
    }

    async fn resize_entered(&self, exec: &str, window: Window) {
        let size = ResizeExecOptions { height: window.rows, width: window.columns };
        let resized = self.call("resize", exec, QUICK, |api| async move { api.resize_exec(exec, size).await }).await;
        if let Err(fault) = resized {
            tracing::debug!(exec, error = &fault as &dyn std::error::Error, "a terminal kept its size");
        }
    }

    pub(super) async fn signal_entered(&self, replica: &str, id: &CommandId, signal: Signal) {
        let (name, value) = mark(id);
        let mark = format!("{name}={value}");
        for (shell, script) in FIND_AND_SIGNAL {
            let words = [shell, "-c", script, "signal", signal.name(), &mark];
            match self.ran_inside(replica, &words).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(fault) => {
                    let error = &fault as &dyn std::error::Error;
                    tracing::debug!(container = replica, shell, error, "a signal was not delivered");
                }
            }
        }
    }

    /// False when there is no such program in it.
    async fn ran_inside(&self, replica: &str, words: &[&str]) -> Result<bool> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            ..Default::default()
        };
        let id = self.call("signal in", replica, START, |api| async move {
            let made = api.create_exec(replica, config).await?;
            if let StartExecResults::Attached { output, .. } = api.start_exec(&made.id, None).await? {
                // Whatever it says: it has ended when its output has.
                output.try_for_each(|_| std::future::ready(Ok(()))).await?;
            }
            Ok(made.id)
        });
        let code = self.exit_of(id.await?, replica.to_owned()).await?;
        Ok(!NO_PROGRAM.contains(&code))
    }
}

pub(super) fn mark(id: &CommandId) -> (&'static str, &str) {
    (MARK, id.as_str())
}
