//! From facts to causes. Pure.

use super::{Facts, Link, Side, Why};
use crate::base::clock::Timestamp;
use crate::base::model::{
    Check, CheckKind, EnvironmentState, Event, Generation, Happened, ReplicaExited, ReplicaState, overlaid, seconds,
};

/// Exits that lie further back say nothing about an app that is well.
const LATELY_MILLIS: i64 = 600_000;
/// Exits that belong to one story.
const STORY_MILLIS: i64 = 3_600_000;
const MOST_EVIDENCE: usize = 12;

pub(super) fn explain(facts: &Facts) -> Why {
    let status = &facts.environment.status;
    let spec = &facts.environment.spec;
    let wanted = Side {
        release: facts.wanted.as_ref().map(|r| r.number),
        processes: facts.processes.clone(),
        urls: facts.urls.clone(),
    };
    let routed = facts.last_route().is_some_and(|(published, _)| published);
    let seen = Side {
        release: facts.live.as_ref().map(|r| r.number),
        processes: status.ready.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
        urls: if routed && !spec.stopped { facts.urls.clone() } else { Vec::new() },
    };
    let drift = drift(&wanted, &seen);
    let mut why = Why { well: false, summary: String::new(), chain: Vec::new(), wanted, seen, drift, next: None };
    if !facts.engine_answers {
        why.drift.push("the engine does not answer: what runs there is not known".into());
        why.summary = format!("{}: the engine does not answer; what is routed stays routed", facts.name());
        why.next = Some("See whether the engine runs: hythe doctor, on the server.".into());
        return why;
    }
    match status.state {
        EnvironmentState::Empty => facts.nothing_runs(&mut why),
        EnvironmentState::Stopped => facts.stopped(&mut why),
        EnvironmentState::Asleep => {
            why.well = true;
            why.summary = format!("{} sleeps, as nobody asked for it lately; the next request wakes it", facts.name());
        }
        EnvironmentState::Blocked => facts.blocked(&mut why),
        EnvironmentState::Holding => facts.held(&mut why),
        EnvironmentState::Live | EnvironmentState::Watching if why.drift.is_empty() => facts.lives(&mut why),
        EnvironmentState::Live | EnvironmentState::Watching | EnvironmentState::Converging => facts.converges(&mut why),
    }
    why
}

fn drift(wanted: &Side, seen: &Side) -> Vec<String> {
    let mut drift = Vec::new();
    let name = |release: Option<i64>| release.map_or_else(|| "none".to_owned(), |n| format!("v{n}"));
    if wanted.release != seen.release {
        drift.push(format!("release: {} wanted, {} live", name(wanted.release), name(seen.release)));
    }
    for (process, count) in &wanted.processes {
        let ready = seen.processes.get(process).copied().unwrap_or(0);
        if ready != *count {
            drift.push(format!("{process}: {count} wanted, {ready} ready"));
        }
    }
    drift
}

impl Facts {
    fn name(&self) -> String {
        format!("{} {}", self.app, self.environment.name)
    }

    fn rollout(&self) -> Generation {
        self.environment.spec.rollout
    }

    fn nothing_runs(&self, why: &mut Why) {
        why.summary = format!("{}: nothing was deployed yet; push with: git push hythe main", self.name());
        if let Some(failure) = self.last_failure() {
            why.summary = format!("{}: nothing runs, as no deployment has succeeded yet", self.name());
            why.chain.push(failure);
            why.next = Some("Mend what it says and push again; all that the build printed: hythe builds:output".into());
        } else {
            why.well = true;
        }
    }

    fn stopped(&self, why: &mut Why) {
        why.well = true;
        let asked = self.events.iter().rev().find(|e| matches!(e.happened, Happened::Stopped {}));
        let by = asked.map_or_else(String::new, |e| format!("{}, {}", by(e), minute(e.at)));
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.trim_start_matches(", ")) };
        why.summary = format!("{} is stopped, as was asked for{by}; start it with: hythe ps:start", self.name());
    }

    fn lives(&self, why: &mut Why) {
        let ready: Vec<_> = why.seen.processes.iter().filter(|(_, n)| **n > 0).collect();
        let ready: Vec<_> = ready.iter().map(|(p, n)| format!("{p} {n} of {n} ready")).collect();
        let since = self.events.iter().rev().find(|e| {
            matches!(e.happened, Happened::EnvironmentLive { rollout, .. } if rollout == self.environment.status.live.0)
        });
        let since = since.map_or_else(String::new, |e| format!(" since {}", minute(e.at)));
        let release = why.seen.release.map_or_else(String::new, |n| format!("v{n} "));
        why.summary = format!("{} is well: {release}live{since}, {}", self.name(), or(ready.join(", "), "no process"));
        why.well = true;
        // What went wrong lately and is over is worth a word.
        let exits = self.exits(self.environment.status.live);
        let lately: Vec<_> = exits.into_iter().filter(|(event, _)| self.now.since(event.at) <= LATELY_MILLIS).collect();
        why.chain.extend(story(&lately));
        why.chain.extend(self.unhealthy());
        if let Some(failure) = self.last_failure() {
            why.chain.push(failure);
        }
        if !why.chain.is_empty() {
            why.summary.push_str("; but lately:");
        }
    }

    fn blocked(&self, why: &mut Why) {
        let release = why.wanted.release.map_or_else(|| "the release".to_owned(), |n| format!("v{n}"));
        let serves = match (why.seen.release, &self.environment.status.live) {
            (Some(n), live) if live.0 > 0 => format!("v{n} serves on"),
            _ => "nothing serves".to_owned(),
        };
        let reason = self.environment.status.reason.clone().unwrap_or_default();
        let cause = reason.lines().next().unwrap_or("it did not become ready").to_owned();
        why.summary = format!("{}: {release} cannot become live, {serves}: {cause}", self.name());
        self.origin(why);
        why.chain.extend(story(&self.exits(self.rollout())));
        let blocked = self.events.iter().rev().find(|e| matches!(e.happened, Happened::EnvironmentBlocked { .. }));
        let mut evidence: Vec<String> = reason.lines().skip(1).map(|line| line.trim().to_owned()).collect();
        let next = evidence.pop();
        // The same lines stand below the exit already.
        if why.chain.iter().any(|link| !link.evidence.is_empty()) {
            evidence.clear();
        }
        let at = blocked.map_or(self.now, |e| e.at);
        why.chain.push(Link { at, text: format!("given up: {cause}"), evidence });
        self.route(why);
        why.next =
            next.filter(|text| !text.is_empty()).or_else(|| Some("Push a mended version, or: hythe rollback".into()));
    }

    /// Two releases answer, as was asked for, and somebody has to say how it ends.
    fn held(&self, why: &mut Why) {
        let reason = self.environment.status.reason.clone().unwrap_or_default();
        let mut lines = reason.lines();
        why.summary = format!("{}: {}", self.name(), lines.next().unwrap_or("a canary is held"));
        self.origin(why);
        let held = self.events.iter().rev().find(|e| matches!(e.happened, Happened::CanaryHeld(_)));
        why.chain.extend(held.map(|e| Link { at: e.at, text: e.happened.text(), evidence: Vec::new() }));
        why.next = lines.next().map(str::to_owned);
    }

    fn converges(&self, why: &mut Why) {
        let exits = self.exits(self.rollout());
        let release = why.wanted.release.map_or_else(String::new, |n| format!("v{n} "));
        let serves = match self.last_route() {
            Some((true, _)) => "traffic is answered",
            _ => "nothing answers",
        };
        self.origin(why);
        why.chain.extend(story(&exits));
        self.delay(why, exits.last().map(|(event, _)| event.at));
        self.unready(why);
        self.route(why);
        let reason = self.environment.status.reason.as_deref().and_then(|r| r.lines().next()).map(str::to_owned);
        why.summary = match exits.last() {
            Some((_, exited)) => {
                let what = if exited.out_of_memory { "runs out of memory" } else { "does not stay up" };
                format!("{}: {} {what}, {serves}", self.name(), exited.process)
            }
            None => format!("{}: {release}is being brought up, {serves}", self.name()),
        };
        why.next = match exits.last() {
            Some((_, exited)) if exited.out_of_memory => Some("Give it more memory, or make it use less.".into()),
            Some((_, exited)) => {
                Some(format!("Its last words are above; more of them: hythe logs {} -p {}", self.app, exited.process))
            }
            None => reason.map(|text| format!("The engine says: {text}")),
        };
    }

    /// What brought the wanted rollout about.
    fn origin(&self, why: &mut Why) {
        let rollout = self.rollout().0;
        let began = self
            .events
            .iter()
            .position(|e| matches!(e.happened, Happened::RolloutStarted { rollout: number, .. } if number == rollout));
        let Some(place) = began else { return };
        let asked = self.events[..place]
            .iter()
            .rev()
            .find(|e| matches!(e.happened, Happened::DeploymentStarted { .. } | Happened::Restarted {}));
        let event = asked.unwrap_or(&self.events[place]);
        let text = match (&event.happened, why.wanted.release) {
            (Happened::DeploymentStarted { .. }, Some(n)) => format!("v{n}: {}{}", event.happened.text(), by(event)),
            _ => format!("{}{}", event.happened.text(), by(event)),
        };
        why.chain.push(Link { at: event.at, text, evidence: Vec::new() });
    }

    fn delay(&self, why: &mut Why, last_exit: Option<Timestamp>) {
        let Some(last_exit) = last_exit else { return };
        let delay = self.events.iter().rev().find_map(|e| match &e.happened {
            Happened::RestartDelayed { until, .. } if e.at >= last_exit => Some((e.at, *until)),
            _ => None,
        });
        let Some((at, until)) = delay else { return };
        let left = until.since(self.now);
        let text = if left > 0 {
            format!("restarts wait, longer each time: the next in {} s", (left + 999) / 1000)
        } else {
            "restarting now".into()
        };
        why.chain.push(Link { at, text, evidence: Vec::new() });
    }

    /// Replicas that run and are not ready.
    fn unready(&self, why: &mut Why) {
        for (process, wanted) in &self.processes {
            let ready = why.seen.processes.get(process).copied().unwrap_or(0);
            let running = self.replicas.iter().filter(|r| {
                r.process.as_str() == process && r.generation == self.rollout() && r.state == ReplicaState::Running
            });
            let Some(oldest) = running.clone().filter_map(|r| r.started_at).min() else { continue };
            // The status may be of the rollout before.
            let live = self.environment.status.live == self.rollout();
            if (live && ready >= *wanted) || running.clone().count() == 0 {
                continue;
            }
            let waits_for = self.waits_for(process);
            let text = format!("{process} runs for {} and is not ready: {waits_for}", seconds(self.now.since(oldest)));
            let evidence = running.filter_map(|r| r.fault.clone()).collect();
            why.chain.push(Link { at: oldest, text, evidence });
        }
    }

    /// What a replica has not done yet that it shall do before it counts as ready.
    fn waits_for(&self, process: &str) -> String {
        let wished = self.wanted.as_ref().map(|release| release.manifest.healthchecks.clone()).unwrap_or_default();
        let all = overlaid(&wished, &self.environment.spec.checks);
        let of_process = all.iter().find(|(name, _)| name.as_str() == process);
        let gate = of_process.and_then(|(_, checks)| checks.iter().find(|c| c.kind != CheckKind::Liveness));
        match gate.map(|gate| &gate.check) {
            Some(Check::Http { path, status: Some(status) }) => format!("GET {path} has not answered {status}"),
            Some(Check::Http { path, status: None }) => format!("GET {path} has not answered below 500"),
            Some(Check::Command { .. }) => "the command of its check has not exited with 0".into(),
            None | Some(Check::Alive { .. }) if process != "web" => "it has just started".into(),
            _ => "it has not accepted a connection on PORT".into(),
        }
    }

    fn route(&self, why: &mut Why) {
        let Some((false, event)) = self.last_route() else { return };
        why.chain.push(Link {
            at: event.at,
            text: format!("route withdrawn: {} answers 503 since {}", hosts(event), minute(event.at)),
            evidence: Vec::new(),
        });
    }

    /// Whether the newest word about the route is that there is one.
    fn last_route(&self) -> Option<(bool, &Event)> {
        self.events.iter().rev().find_map(|e| match e.happened {
            Happened::RoutePublished(_) => Some((true, e)),
            Happened::RouteWithdrawn(_) => Some((false, e)),
            _ => None,
        })
    }

    /// The newest deployment, if it failed.
    fn last_failure(&self) -> Option<Link> {
        let last =
            self.events.iter().rev().find(|e| {
                matches!(e.happened, Happened::DeploymentFailed { .. } | Happened::DeploymentSucceeded { .. })
            })?;
        let Happened::DeploymentFailed { reason, .. } = &last.happened else { return None };
        let evidence: Vec<_> = reason.lines().skip(1).take(MOST_EVIDENCE).map(str::to_owned).collect();
        Some(Link { at: last.at, text: format!("{}{}", last.happened.text(), by(last)), evidence })
    }

    /// The newest replica of the live rollout that was lately replaced for its liveness check.
    fn unhealthy(&self) -> Option<Link> {
        let live = self.environment.status.live.0;
        let lately = self.events.iter().rev().filter(|e| self.now.since(e.at) <= LATELY_MILLIS);
        let found = lately.into_iter().find_map(|event| match &event.happened {
            Happened::ReplicaFailed(failed) if failed.rollout == live => Some((event, failed)),
            _ => None,
        });
        found.map(|(event, failed)| {
            let kept = failed.lines.len().saturating_sub(MOST_EVIDENCE);
            Link { at: event.at, text: failed.text(), evidence: failed.lines[kept..].to_vec() }
        })
    }

    /// Exits of a rollout that belong to one story, oldest first.
    fn exits(&self, rollout: Generation) -> Vec<(&Event, &ReplicaExited)> {
        let mut exits: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match &event.happened {
                Happened::ReplicaExited(exited) if exited.rollout == rollout.0 => Some((event, exited)),
                _ => None,
            })
            .collect();
        let newest = exits.last().map_or(self.now, |(event, _)| event.at);
        exits.retain(|(event, _)| newest.since(event.at) <= STORY_MILLIS);
        exits
    }
}

/// One link for each way in which a process ended.
fn story(exits: &[(&Event, &ReplicaExited)]) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut told: Vec<(&str, i64, bool)> = Vec::new();
    for (event, exited) in exits.iter().rev() {
        let way = (exited.process.as_str(), exited.code, exited.out_of_memory);
        if told.contains(&way) {
            continue;
        }
        told.push(way);
        let same: Vec<_> = exits.iter().filter(|(_, e)| (e.process.as_str(), e.code, e.out_of_memory) == way).collect();
        let span = event.at.since(same.first().map_or(event.at, |(first, _)| first.at));
        let times = match same.len() {
            1 => String::new(),
            n => format!(", {n} times in {}", seconds(span)),
        };
        let kept = exited.lines.len().saturating_sub(MOST_EVIDENCE);
        let evidence = exited.lines[kept..].to_vec();
        links.push(Link { at: event.at, text: format!("{}{times}", exited.text()), evidence });
    }
    links.sort_by_key(|link| link.at);
    links
}

fn hosts(event: &Event) -> String {
    match &event.happened {
        Happened::RoutePublished(route) | Happened::RouteWithdrawn(route) => route.hosts.join(", "),
        _ => String::new(),
    }
}

fn by(event: &Event) -> String {
    event.actor_name.as_ref().map_or_else(String::new, |name| format!(", by {name}"))
}

fn or(text: String, none: &str) -> String {
    if text.is_empty() { none.to_owned() } else { text }
}

/// `2026-01-31 12:00:00`, UTC.
pub(super) fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).map_or_else(|| text.clone(), |t| t.replace('T', " "))
}
