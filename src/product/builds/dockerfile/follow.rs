//! What the engine says while it builds, told to the pusher: steps as they stand in the file, output, and how it ended.
//! Nothing that is a secret's value is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;

use super::super::lines::{Lines, clean};
use super::super::mask::{Hidden, Mask};
use super::super::messages::{self, dockerfile as texts};
use super::super::{BuildFailure, BuildLog, bounds::Bounds};
use super::stages::Step;
use crate::machinery::runtime::{RecipeFault, RecipeLine, RecipeLines};

/// Lines of output that a message about a failure may show.
const EVIDENCE: usize = 15;

pub struct Follower<'a> {
    path: &'a str,
    lines: Lines<'a>,
    bounds: Bounds,
    memory_bytes: i64,
    mask: Mask,
    evidence: VecDeque<String>,
    partial: Vec<u8>,
    printed: u64,
}

impl<'a> Follower<'a> {
    pub fn new(path: &'a str, log: &'a dyn BuildLog, (bounds, memory_bytes): (Bounds, i64), hidden: Hidden) -> Self {
        Self {
            path,
            lines: Lines::new(log),
            bounds,
            memory_bytes,
            mask: Mask::new(Arc::new(hidden)),
            evidence: VecDeque::new(),
            partial: Vec::new(),
            printed: 0,
        }
    }

    /// To the end; the image that came of it. `now` is under way already, and told where it is `shown`.
    pub async fn follow(
        &mut self,
        mut said: RecipeLines,
        steps: &[Option<Step>],
        (mut now, shown): (Option<&Step>, bool),
    ) -> Result<String, BuildFailure> {
        let mut pending = now.filter(|_| shown);
        let mut image = None;
        let around = now;
        let failed = loop {
            let Some(next) = said.next().await else { break None };
            if let (Some(step), false) = (pending, matches!(next, Ok(RecipeLine::Step(_)))) {
                self.tell(step, matches!(next, Ok(RecipeLine::Cached)));
                pending = None;
            }
            match next {
                Ok(RecipeLine::Step(number)) => {
                    if let Some(step) = pending.take() {
                        self.tell(step, false);
                    }
                    self.end_line();
                    let named = number.checked_sub(1).and_then(|at| steps.get(at)?.as_ref());
                    now = named.or(around);
                    pending = named;
                    self.evidence.clear();
                }
                Ok(RecipeLine::Cached) => {}
                Ok(RecipeLine::Image(id)) => image = Some(id),
                Ok(RecipeLine::Output(bytes)) => self.print(&bytes)?,
                Err(fault) => break Some(fault),
            }
        };
        self.end_line();
        match (failed, image) {
            (None, Some(image)) => Ok(image),
            (None, None) => Err(messages::platform("building", "the engine names no image")),
            (Some(fault), _) => Err(self.failure(fault, now)),
        }
    }

    fn tell(&mut self, step: &Step, cached: bool) {
        self.lines.push(format!("{}\n", texts::step(step, cached)).as_bytes(), Instant::now());
    }

    fn print(&mut self, bytes: &[u8]) -> Result<(), BuildFailure> {
        self.printed = self.printed.saturating_add(bytes.len() as u64);
        if self.printed > self.bounds.output_bytes {
            return Err(messages::flooded(self.bounds.output_bytes));
        }
        let bytes = self.mask.pass(bytes);
        self.show(&bytes);
        Ok(())
    }

    fn show(&mut self, bytes: &[u8]) {
        self.lines.push(bytes, Instant::now());
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.partial);
                    self.keep(&line);
                }
                byte if self.partial.len() < 4000 => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let rest = self.mask.rest();
        self.show(&rest);
        if !self.partial.is_empty() {
            self.show(b"\n");
        }
    }

    fn keep(&mut self, line: &[u8]) {
        let line = clean(line);
        if line.trim().is_empty() {
            return;
        }
        if self.evidence.len() == EVIDENCE {
            self.evidence.pop_front();
        }
        self.evidence.push_back(line);
    }

    fn failure(&mut self, fault: RecipeFault, now: Option<&Step>) -> BuildFailure {
        let evidence: Vec<String> = std::mem::take(&mut self.evidence).into();
        let path = self.path;
        match fault {
            RecipeFault::Exit(code) => match now {
                Some(step) => texts::exited(path, step, code, &evidence, self.memory_bytes),
                None => texts::undone(path, None, &format!("a command ended with code {code}"), &evidence),
            },
            RecipeFault::Said(cause) => {
                let cause = [self.mask.pass(cause.as_bytes()), self.mask.rest()].concat();
                texts::undone(path, now, &String::from_utf8_lossy(&cause), &evidence)
            }
            RecipeFault::Crowded => messages::too_many_processes(self.bounds.processes),
            RecipeFault::Outgrown(size) => messages::outgrown(size, self.bounds.disk_bytes),
            RecipeFault::TooLong => messages::timed_out(self.bounds.seconds),
            RecipeFault::Engine(error) => messages::engine(&error),
        }
    }

    pub fn finish(mut self) {
        self.lines.finish(Instant::now());
    }
}
