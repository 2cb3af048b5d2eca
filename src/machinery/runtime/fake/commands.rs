//! Commands in memory. `true`, `false`, `echo`, `printenv` print and end; `cat` repeats its input and ends with it;
//! every other command runs until a signal, `finish_command` or its end by the engine. At a terminal, the byte that
//! Ctrl-C sends is a signal, as a terminal makes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{mpsc, watch};

use super::super::{Attached, Channel, CommandSpec, Control, EngineError, EnterSpec, LogLine, Result, SeenCommand};
use super::{FakeEngine, refused, toybox};
use crate::base::model::{CommandId, EnvironmentId, Exit, ImageDigest, Signal, Window};

/// ETX (ECMA-48), what a terminal sends for Ctrl-C.
const CTRL_C: u8 = 3;

pub(super) struct Commanded {
    pub(super) image: ImageDigest,
    environment: EnvironmentId,
    lines: Vec<LogLine>,
    exit: watch::Sender<Option<Exit>>,
    window: Option<Window>,
}

impl Commanded {
    pub(super) fn seen(&self, id: &CommandId) -> SeenCommand {
        let running = self.exit.borrow().is_none();
        SeenCommand { id: id.clone(), environment: self.environment.clone(), running }
    }
}

impl FakeEngine {
    /// Ends a running command as if by itself, after it printed `lines`.
    pub fn finish_command(&self, id: &CommandId, code: i64, lines: &[&str]) {
        let at = self.clock.now();
        if let Some(command) = self.lock().commands.get_mut(id) {
            let line =
                |text: &&str| LogLine { at, nanos: at.0 * 1_000_000, channel: Channel::Out, text: (*text).to_owned() };
            command.lines.extend(lines.iter().map(line));
            command.exit.send_replace(Some(Exit { code, out_of_memory: false }));
        }
    }

    /// Ids of the commands that run now.
    pub fn running_commands(&self) -> Vec<CommandId> {
        let state = self.lock();
        state.commands.iter().filter(|(_, c)| c.exit.borrow().is_none()).map(|(id, _)| id.clone()).collect()
    }

    /// The size of a command's terminal now.
    pub fn window(&self, id: &CommandId) -> Option<Window> {
        self.lock().commands.get(id).and_then(|command| command.window)
    }

    pub(super) fn run_command(&self, spec: &CommandSpec) -> Result<bool> {
        if self.lock().commands.contains_key(&spec.id) {
            return Ok(false);
        }
        self.begin(spec, None)?;
        if let Some((lines, code)) = toybox::replica(&spec.command, &variables(spec)) {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            self.finish_command(&spec.id, code, &lines);
        }
        Ok(true)
    }

    pub(super) fn run_with_streams(&self, spec: &CommandSpec, window: Option<Window>) -> Result<Attached> {
        if self.lock().commands.contains_key(&spec.id) {
            return Err(refused("run", spec.id.to_string(), "a command of this id was started before"));
        }
        let exit = self.begin(spec, window)?;
        Ok(self.attached(spec.id.clone(), &spec.command, &variables(spec), exit, window.is_some()))
    }

    pub(super) fn enter_replica(&self, replica: &str, spec: EnterSpec, window: Option<Window>) -> Result<Attached> {
        let mut variables = {
            let state = self.lock();
            let found = state.replicas.get(replica);
            let found = found.ok_or_else(|| EngineError::NotFound { subject: format!("replica {replica:?}") })?;
            found.variables.clone()
        };
        variables.extend(spec.variables);
        let exit = watch::Sender::new(None);
        Ok(self.attached(spec.id, &spec.command, &variables, exit, window.is_some()))
    }

    pub(super) fn output_of_command(&self, id: &CommandId) -> Result<BoxStream<'static, Result<LogLine>>> {
        let ended = self.ended(id)?;
        let (engine, id) = (self.clone(), id.clone());
        let lines = async move {
            let _ = ended.await;
            let state = engine.lock();
            let lines = state.commands.get(&id).map(|command| command.lines.clone()).unwrap_or_default();
            stream::iter(lines.into_iter().map(Ok))
        };
        Ok(lines.flatten_stream().boxed())
    }

    pub(super) fn kill_command(&self, id: &CommandId) {
        if let Some(command) = self.lock().commands.remove(id) {
            command.exit.send_if_modified(|exit| {
                let runs = exit.is_none();
                exit.get_or_insert(Exit { code: 128 + Signal::Term.number(), out_of_memory: false });
                runs
            });
        }
    }

    pub(super) async fn exit_of_command(&self, id: &CommandId) -> Result<Exit> {
        let ended = self.ended(id)?;
        ended.await.ok_or_else(|| absent(id))
    }

    fn begin(&self, spec: &CommandSpec, window: Option<Window>) -> Result<watch::Sender<Option<Exit>>> {
        let mut state = self.lock();
        if !state.images.contains(&spec.image) {
            let cause = format!("the image {} is not in the engine", spec.image);
            return Err(refused("create", spec.id.to_string(), cause));
        }
        for mount in &spec.mounts {
            state.volumes.entry(mount.id.clone()).or_default();
        }
        let exit = watch::Sender::new(None);
        let (environment, image) = (spec.environment.clone(), spec.image.clone());
        let command = Commanded { image, environment, lines: Vec::new(), exit: exit.clone(), window };
        state.commands.insert(spec.id.clone(), command);
        Ok(exit)
    }

    /// None when it was ended from outside.
    fn ended(&self, id: &CommandId) -> Result<impl Future<Output = Option<Exit>> + Send + use<>> {
        let state = self.lock();
        let mut exit = state.commands.get(id).ok_or_else(|| absent(id))?.exit.subscribe();
        Ok(async move { exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit) })
    }

    fn attached(
        &self,
        id: CommandId,
        words: &[String],
        variables: &BTreeMap<String, String>,
        exit: watch::Sender<Option<Exit>>,
        terminal: bool,
    ) -> Attached {
        let (stdin, pieces) = mpsc::channel(16);
        let (control, told) = mpsc::channel(16);
        let (out, output) = mpsc::channel(16);
        let mut ended = exit.subscribe();
        let program = Program { engine: self.clone(), id, terminal, repeats: words == ["cat"], pieces, told, out };
        let at_once = at_once(words, variables);
        self.programs.spawn(async move {
            let mut killed = exit.subscribe();
            let code = tokio::select! {
                code = program.run(at_once) => code,
                _ = killed.wait_for(Option::is_some) => return,
            };
            exit.send_replace(Some(Exit { code, out_of_memory: false }));
        });
        let output = stream::unfold(output, |mut output| async move { Some((output.recv().await?, output)) });
        let exit = async move {
            let exit = ended.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
            exit.ok_or_else(|| EngineError::NotFound { subject: "the command".into() })
        };
        Attached { stdin, control, output: output.map(Ok).boxed(), exit: exit.boxed() }
    }
}

struct Program {
    engine: FakeEngine,
    id: CommandId,
    terminal: bool,
    repeats: bool,
    pieces: mpsc::Receiver<Bytes>,
    told: mpsc::Receiver<Control>,
    out: mpsc::Sender<(Channel, Bytes)>,
}

impl Program {
    /// Its exit code.
    async fn run(mut self, at_once: Option<(Vec<(Channel, String)>, i64)>) -> i64 {
        if let Some((lines, code)) = at_once {
            for (channel, line) in lines {
                let _ = self.out.send((channel, Bytes::from(line + "\n"))).await;
            }
            return code;
        }
        let mut open = true;
        loop {
            tokio::select! {
                piece = self.pieces.recv(), if open => match piece {
                    Some(piece) if self.terminal && piece.contains(&CTRL_C) => return 128 + Signal::Int.number(),
                    Some(piece) if self.repeats => drop(self.out.send((Channel::Out, piece)).await),
                    None if self.repeats => return 0,
                    Some(_) => {}
                    None => open = false,
                },
                Some(told) = self.told.recv() => match told {
                    Control::Signal(signal) => return 128 + signal.number(),
                    Control::Resize(window) => {
                        if let Some(command) = self.engine.lock().commands.get_mut(&self.id) {
                            command.window = Some(window);
                        }
                    }
                },
                else => std::future::pending().await,
            }
        }
    }
}

/// What a command prints that ends by itself.
fn at_once(words: &[String], variables: &BTreeMap<String, String>) -> Option<(Vec<(Channel, String)>, i64)> {
    if let [cat, path] = words
        && cat == "cat"
    {
        return Some((vec![(Channel::Err, format!("cat: {path}: No such file or directory"))], 1));
    }
    let (lines, code) = toybox::replica(words, variables)?;
    Some((lines.into_iter().map(|line| (Channel::Out, line)).collect(), code))
}

fn variables(spec: &CommandSpec) -> BTreeMap<String, String> {
    let mut all: BTreeMap<_, _> = spec.variables.iter().map(|(n, value)| (n.clone(), value.reveal().clone())).collect();
    all.insert("HYTHE_PROCESS".into(), spec.process.clone());
    all
}

fn absent(id: &CommandId) -> EngineError {
    EngineError::NotFound { subject: format!("command {id}") }
}
