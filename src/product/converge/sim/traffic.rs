//! Requests to the apps, through the real table and its upstreams: each draws its lot once, and is answered, held or lost.

use std::sync::Arc;
use std::time::Duration;

use super::platform::Guest;
use super::script::Nature;
use super::world::{Ev, World};
use crate::machinery::proxy::{Target, TargetState, Upstream};

/// A request waits this long for a replica.
const HOLD: i64 = 30_000;

impl World {
    pub fn request(&mut self, place: usize) {
        let next = self.now + if self.is_calm { self.dice.between(200, 900) } else { self.dice.between(20, 250) };
        // Some apps are idle for a while, so that they may fall asleep.
        let idle = (self.now / 12_000 + place as i64) % 4 == 3;
        self.at(next, Ev::Request(place));
        if !idle && self.places[place].exists {
            self.ask_app(place, self.now);
        }
    }

    fn ask_app(&mut self, place: usize, since: i64) {
        let Some(platform) = &mut self.platform else { return };
        let table = Arc::clone(&platform.table.borrow());
        let Some(target) = table.target(&self.places[place].host) else { return };
        if target.state == TargetState::Stopped {
            return self.check_unserved(place, "503: stopped");
        }
        let lot = u8::try_from(self.dice.below(100)).unwrap_or(0);
        let (first, second) = target.groups(lot);
        let (mut first, mut second): (Vec<_>, Vec<_>) = (first.iter().collect(), second.iter().collect());
        while !(first.is_empty() && second.is_empty()) {
            let group = if first.is_empty() { &mut second } else { &mut first };
            let chosen = usize::try_from(self.dice.below(group.len() as u64)).unwrap_or(0);
            let upstream = group.swap_remove(chosen);
            let Some(pass) = upstream.enter() else { continue };
            let body = self.engine.bodies.get(upstream.replica());
            let Some(body) = body.filter(|body| body.answers(self.now)) else {
                upstream.failed();
                continue;
            };
            let errs = self.cured(body.nature) == Nature::Errs;
            upstream.answered(if errs { 500 } else { 200 }, Duration::from_millis(1));
            self.answered += 1;
            self.tell_share(place, target, upstream);
            let stays = match self.dice.below(300) {
                0 => 20_000,
                1..=10 => self.dice.between(1_000, 4_000),
                _ => self.dice.between(2, 300),
            };
            let guest = Guest { replica: upstream.replica().to_owned(), since: self.now, pass };
            let Some(platform) = &mut self.platform else { return };
            self.serial += 1;
            let number = self.serial;
            platform.guests.insert(number, guest);
            return self.at(self.now + stays, Ev::Leave(self.epoch, number));
        }
        let holds =
            matches!(target.state, TargetState::Starting | TargetState::Asleep) && target.all().next().is_none();
        if holds && self.now - since < HOLD {
            if target.state == TargetState::Asleep {
                target.bell.ring();
                self.wake();
            }
            let Some(platform) = &mut self.platform else { return };
            if platform.waiting.len() < 50 {
                platform.waiting.push((place, since));
            }
            return;
        }
        self.check_unserved(place, if holds { "it waited for too long" } else { "502 or 503" });
    }

    /// Where all of a canary and all of the others answer, what a request was given is by its lot alone.
    fn tell_share(&mut self, place: usize, target: &Target, upstream: &Arc<Upstream>) {
        let Some(canary) = &target.canary else { return };
        let answers = |u: &Arc<Upstream>| self.engine.bodies.get(u.replica()).is_some_and(|b| b.answers(self.now));
        if target.all().all(answers) {
            let share = self.shares.entry((place, canary.percent)).or_default();
            share.0 += 1;
            share.1 += u64::from(canary.upstreams.iter().any(|u| Arc::ptr_eq(u, upstream)));
        }
    }

    /// A table was published: who waits tries again.
    pub fn serve_waiting(&mut self) {
        let Some(platform) = &mut self.platform else { return };
        for (place, since) in std::mem::take(&mut platform.waiting) {
            if self.places[place].exists {
                self.ask_app(place, since);
            }
        }
    }

    pub fn leave(&mut self, guest: u64) {
        let Some(platform) = &mut self.platform else { return };
        drop(platform.guests.remove(&guest).map(|guest| guest.pass));
    }
}
