//! Asking replicas their checks, as `asking` does, with the real `Vital`: what the replica answers is of its nature.

use std::collections::BTreeSet;

use super::calls::{Call, Step, What};
use super::world::World;
use crate::base::model::{Check, CheckKind};
use crate::product::converge::vital::Standing;

impl World {
    /// As `asking::ask`, whose loop this is.
    pub fn next_question(&mut self, number: u64) {
        let now = self.steady();
        let Some(call) = self.platform.as_ref().and_then(|p| p.calls.get(&number)) else { return };
        let What::Ask { vital, until, stop, .. } = &call.what else { return };
        match vital.next_due(&BTreeSet::new()).filter(|_| !vital.is_settled() && !stop.is_cancelled()) {
            Some(due) => {
                let wait = due.min(*until).since(now).max(0) + 1;
                self.step_in(wait, number, Step::Ask);
            }
            None => self.end_call(number),
        }
    }

    pub fn ask(&mut self, number: u64) {
        let (now, world_now) = (self.steady(), self.now);
        let Some(call) = self.platform.as_mut().and_then(|p| p.calls.get_mut(&number)) else { return };
        let What::Ask { replica, vital, until, .. } = &mut call.what else { return };
        let body = self.engine.bodies.get(&replica.id);
        let before = vital.standing.clone();
        for (index, check) in vital.due(now) {
            let answer = match (&check.check, body) {
                (Check::Alive { millis }, _) => replica.started_at.is_some_and(|at| now.since(at) >= *millis),
                (_, None) => false,
                (Check::Tcp, Some(body)) => body.answers(world_now),
                (_, Some(body)) if check.kind == CheckKind::Readiness => body.is_ready(world_now),
                (_, Some(body)) => body.answers(world_now),
            };
            vital.answered(index, if answer { Ok(()) } else { Err("does not answer".into()) }, now);
        }
        let flags = |v: &Standing| (v.started, v.passed, v.ready, v.dead);
        if flags(&before) != flags(&vital.standing) || now >= *until {
            self.end_call(number);
        } else {
            self.next_question(number);
        }
    }

    /// Those that were told to stop.
    pub fn end_questions(&mut self) {
        let Some(platform) = &self.platform else { return };
        let stopped = |call: &Call| matches!(&call.what, What::Ask { stop, .. } if stop.is_cancelled());
        let ended: Vec<u64> = platform.calls.iter().filter(|(_, c)| stopped(c)).map(|(n, _)| *n).collect();
        for number in ended {
            self.end_call(number);
        }
    }
}
