//! What the checks have shown of one replica. Pure: questions due, answers in, standing out.
//!
//! Startup checks are asked first, then readiness until all have passed once: that is the gate of a rollout. From then
//! on readiness and liveness are asked as long as the replica lives, and a failure counts only after as many attempts
//! in a row as the check allows.

use std::collections::BTreeSet;

use crate::base::clock::Timestamp;
use crate::base::model::{Check, CheckKind, HealthCheck};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vital {
    pub standing: Standing,
    /// It serves, or shall, and had all the time that a replica has to become ready: it is asked for life all the same.
    pub had_its_time: bool,
    tracks: Vec<Track>,
}

/// As far as the planner needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Every startup check has passed.
    pub started: bool,
    /// It has been ready once.
    pub passed: bool,
    pub ready: bool,
    /// Why it has to be replaced, if it has.
    pub dead: Option<Death>,
    /// Kind and words of the last answer that was no pass; completes the sentence "the process …".
    pub fault: Option<(CheckKind, String)>,
}

/// Of what still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// A liveness check failed as often as it may.
    Check,
    /// It is live and had not passed its startup check within that time.
    Late { millis: i64 },
    /// It wrote more to its own file system than it may.
    Overfull { bytes: u64, most: u64 },
}

/// Completes a sentence that begins with its name.
pub fn overfull_text(bytes: u64, most: u64) -> String {
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!("wrote {:.0} MB to its own file system, of at most {:.0} MB", megabytes(bytes).ceil(), megabytes(most))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Track {
    check: HealthCheck,
    due: Timestamp,
    failures: u32,
    holds: bool,
}

/// While a replica comes up it is asked more often than its check says, so that a rollout is not longer than the app is slow.
const EAGER_TCP_MILLIS: i64 = 10;
const EAGER_HTTP_MILLIS: i64 = 50;
const EAGER_COMMAND_MILLIS: i64 = 250;

impl Vital {
    /// Takes over the checks; with other checks than before the counts start anew, and what was ready stays so until told otherwise.
    pub fn follow(&mut self, checks: &[HealthCheck], started_at: Timestamp) {
        if self.tracks.len() == checks.len() && self.tracks.iter().zip(checks).all(|(t, c)| t.check == *c) {
            return;
        }
        let passed = self.standing.passed;
        let track = |check: &HealthCheck| {
            let least = match check.check {
                Check::Alive { millis } => millis.max(check.delay_millis),
                _ => check.delay_millis,
            };
            Track { check: check.clone(), due: started_at.plus_millis(least), failures: 0, holds: passed }
        };
        self.tracks = checks.iter().map(track).collect();
        // Where nobody asked whether it started, it has not said so.
        self.standing.started &= passed;
        self.settle();
    }

    /// Nothing is left to ask.
    pub fn is_settled(&self) -> bool {
        self.standing.dead.is_some() || self.asked().next().is_none()
    }

    /// Beside the questions that are open, by their place in the list of checks.
    pub fn next_due(&self, open: &BTreeSet<usize>) -> Option<Timestamp> {
        self.asked().filter(|(index, _)| !open.contains(index)).map(|(_, track)| track.due).min()
    }

    /// The questions that are due, by their place in the list of checks.
    pub fn due(&self, now: Timestamp) -> Vec<(usize, HealthCheck)> {
        self.asked().filter(|(_, t)| t.due <= now).map(|(index, t)| (index, t.check.clone())).collect()
    }

    pub fn answered(&mut self, index: usize, answer: Result<(), String>, now: Timestamp) {
        let coming_up = !self.standing.passed;
        let Some(track) = self.tracks.get_mut(index) else { return };
        let kind = track.check.kind;
        let pause = if coming_up && answer.is_err() { eager(&track.check) } else { track.check.every_millis };
        track.due = now.plus_millis(pause);
        match answer {
            Ok(()) => {
                track.failures = 0;
                track.holds = true;
                if self.standing.fault.as_ref().is_some_and(|(of, _)| *of == kind) {
                    self.standing.fault = None;
                }
            }
            Err(text) => {
                track.failures = track.failures.saturating_add(1);
                if coming_up || track.failures >= track.check.attempts {
                    track.holds = false;
                    if kind == CheckKind::Liveness {
                        self.standing.dead = Some(Death::Check);
                    }
                }
                self.standing.fault = Some((kind, text));
            }
        }
        self.settle();
    }

    /// It could not be asked, which says nothing of it.
    pub fn unanswered(&mut self, index: usize, now: Timestamp) {
        if let Some(track) = self.tracks.get_mut(index) {
            track.due = now.plus_millis(track.check.every_millis);
        }
    }

    fn settle(&mut self) {
        let holds = |kind| self.tracks.iter().filter(|t| t.check.kind == kind).all(|t| t.holds);
        let standing = &self.standing;
        let started = standing.started || standing.passed || holds(CheckKind::Startup);
        let able = holds(CheckKind::Readiness);
        let (passed, ready) = (standing.passed || started && able, started && able && standing.dead.is_none());
        self.standing = Standing { started, passed, ready, ..std::mem::take(&mut self.standing) };
    }

    fn asked(&self) -> impl Iterator<Item = (usize, &Track)> {
        let Standing { started, passed, .. } = self.standing;
        let wanted = move |kind| match kind {
            CheckKind::Startup => !started && !passed,
            CheckKind::Readiness => started || passed,
            CheckKind::Liveness => passed || self.had_its_time,
        };
        // What has started is not asked again whether it has.
        self.tracks
            .iter()
            .enumerate()
            .filter(move |(_, t)| wanted(t.check.kind) && !(t.holds && t.check.kind == CheckKind::Startup))
    }
}

fn eager(check: &HealthCheck) -> i64 {
    let eager = match check.check {
        Check::Tcp | Check::Alive { .. } => EAGER_TCP_MILLIS,
        Check::Http { .. } => EAGER_HTTP_MILLIS,
        Check::Command { .. } => EAGER_COMMAND_MILLIS,
    };
    eager.min(check.every_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn check(kind: CheckKind) -> HealthCheck {
        HealthCheck { every_millis: 1_000, attempts: 2, ..HealthCheck::new(kind, Check::http("/up")) }
    }

    fn no() -> Result<(), String> {
        Err("answers GET /up with 500".into())
    }

    /// Due questions as kinds.
    fn due(vital: &Vital, at: Timestamp) -> Vec<CheckKind> {
        vital.due(at).into_iter().map(|(_, check)| check.kind).collect()
    }

    #[test]
    fn startup_comes_first_then_readiness_then_both_that_stay() {
        let mut vital = Vital::default();
        let all = [check(CheckKind::Startup), check(CheckKind::Readiness), check(CheckKind::Liveness)];
        vital.follow(&all, T0);
        assert_eq!(due(&vital, T0), [CheckKind::Startup]);
        vital.answered(0, no(), T0);
        assert_eq!(vital.next_due(&BTreeSet::new()), Some(T0.plus_millis(EAGER_HTTP_MILLIS)), "asked again soon");
        vital.answered(0, Ok(()), T0);
        assert!(vital.standing.started && !vital.standing.ready);
        assert_eq!(due(&vital, T0), [CheckKind::Readiness]);
        vital.answered(1, Ok(()), T0);
        assert!(vital.standing.ready && vital.standing.fault.is_none());
        assert_eq!(due(&vital, T0.plus_millis(1_000)), [CheckKind::Readiness, CheckKind::Liveness]);
    }

    #[test]
    fn without_readiness_and_liveness_nothing_is_asked_after_the_gate() {
        let mut vital = Vital::default();
        vital.follow(&[check(CheckKind::Startup)], T0);
        assert!(!vital.is_settled());
        vital.answered(0, Ok(()), T0);
        assert!(vital.is_settled() && vital.standing.ready);
    }

    #[test]
    fn readiness_is_lost_after_all_attempts_and_won_back_by_one() {
        let mut vital = Vital::default();
        vital.follow(&[check(CheckKind::Readiness)], T0);
        vital.answered(0, Ok(()), T0);
        vital.answered(0, no(), T0);
        assert!(vital.standing.ready, "one of two attempts");
        vital.answered(0, no(), T0);
        assert!(!vital.standing.ready && vital.standing.passed && vital.standing.dead.is_none());
        assert_eq!(vital.standing.fault, Some((CheckKind::Readiness, "answers GET /up with 500".into())));
        vital.answered(0, Ok(()), T0);
        assert!(vital.standing.ready && vital.standing.fault.is_none());
    }

    #[test]
    fn liveness_that_fails_is_final() {
        let mut vital = Vital::default();
        vital.follow(&[check(CheckKind::Startup), check(CheckKind::Liveness)], T0);
        vital.answered(0, Ok(()), T0);
        assert!(vital.standing.ready, "liveness does not hold a rollout up");
        vital.answered(1, no(), T0);
        assert!(vital.standing.dead.is_none());
        vital.answered(1, no(), T0);
        assert!(vital.standing.dead.is_some() && !vital.standing.ready && vital.is_settled());
    }

    #[test]
    fn what_could_not_be_asked_counts_for_nothing() {
        let mut vital = Vital::default();
        vital.follow(&[check(CheckKind::Liveness)], T0);
        let before = vital.standing.clone();
        for _ in 0..9 {
            vital.unanswered(0, T0);
        }
        assert_eq!((vital.standing.clone(), vital.next_due(&BTreeSet::new())), (before, Some(T0.plus_millis(1_000))));
    }

    #[test]
    fn other_checks_start_anew_and_leave_what_is_ready() {
        let mut vital = Vital::default();
        vital.follow(&[check(CheckKind::Startup)], T0);
        vital.answered(0, Ok(()), T0);
        vital.follow(&[check(CheckKind::Startup), check(CheckKind::Readiness)], T0);
        assert!(vital.standing.ready);
        assert_eq!(due(&vital, T0), [CheckKind::Readiness]);
        vital.answered(1, no(), T0);
        vital.answered(1, no(), T0);
        assert!(!vital.standing.ready);
    }

    #[test]
    fn checks_taken_away_leave_one_that_was_never_ready_to_prove_itself() {
        let mut vital = Vital::default();
        vital.follow(&[check(CheckKind::Readiness)], T0);
        vital.answered(0, no(), T0);
        vital.follow(&[HealthCheck::new(CheckKind::Startup, Check::Tcp)], T0);
        assert!(!vital.standing.passed && !vital.standing.ready);
        assert_eq!(due(&vital, T0), [CheckKind::Startup]);
        vital.answered(0, Ok(()), T0);
        assert!(vital.standing.ready);
    }

    #[test]
    fn a_process_without_a_port_is_asked_when_it_has_run_long_enough() {
        let mut vital = Vital::default();
        vital.follow(&[HealthCheck::new(CheckKind::Startup, Check::Alive { millis: 1_000 })], T0);
        assert!(vital.due(T0).is_empty());
        assert_eq!(vital.next_due(&BTreeSet::new()), Some(T0.plus_millis(1_000)));
    }
}
