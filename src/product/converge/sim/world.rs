//! The world of one history: its time, what happens next, the store, the engine, the people who ask, and Hythe while it
//! is up. One thread; the same seed and the same beats give the same history to the byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::calls::Step;
use super::dice::Dice;
use super::engine::{OURS, SimEngine};
use super::foreign::{self, Foreign};
use super::place::{Place, Stage};
use super::platform::Platform;
use super::script::{Act, Beat, Nature, PLACES};
use crate::base::clock::Timestamp;
use crate::base::model::{EnvironmentState, ReplicaState};
use crate::machinery::proxy::{Portion, RouteTable, Target, Upstream};

/// 2026-01-01T00:00:00Z.
const BEGAN: i64 = 1_767_225_600_000;
/// All must have settled this long after the last fault: every deployment in the queue may use up its patience.
const LONGEST_SETTLING: i64 = 4_000_000;
/// More events than any history needs.
const MOST_EVENTS: u64 = 3_000_000;

pub enum Ev {
    Beat(usize),
    Wake(u64),
    LookBegin(u64, i64),
    LookDecide(u64),
    LookWrite(u64),
    Step(u64, u64, Step),
    /// A process ends: by itself with 1, stopped with 143.
    Exit(String, i64),
    Job(usize, i64),
    Request(usize),
    Leave(u64, u64),
    Boot,
    Calm,
    Settled,
}

pub struct World {
    pub dice: Dice,
    pub now: i64,
    /// How far the wall clock was set.
    set: i64,
    queue: BTreeMap<(i64, u64), Ev>,
    pub serial: u64,
    pub places: Vec<Place>,
    pub engine: SimEngine,
    pub foreign: Foreign,
    pub platform: Option<Platform>,
    /// Which life of Hythe it is.
    pub epoch: u64,
    saved: Arc<RouteTable>,
    pub boots: Vec<i64>,
    /// When a replica left the table.
    pub left: BTreeMap<String, i64>,
    pub calls: u64,
    pub looks: u64,
    pub answered: u64,
    /// Of requests while a canary held: how many, and how many it was given; by app and percentage.
    pub shares: BTreeMap<(usize, u8), (u64, u64)>,
    beats: Vec<Beat>,
    pub is_calm: bool,
    calm_at: i64,
    pub log: String,
    pub fault: Option<String>,
}

impl World {
    pub fn new(seed: u64, beats: Vec<Beat>) -> Self {
        let calm_at = beats.iter().map(|beat| beat.at).max().unwrap_or(0) + 45_000;
        let places: Vec<Place> = (0..PLACES).map(Place::new).collect();
        let mut engine = SimEngine::default();
        foreign::settle_in(&mut engine, &places);
        let mut world = Self {
            dice: Dice::new(seed),
            now: 0,
            set: 0,
            queue: BTreeMap::new(),
            serial: 0,
            places,
            foreign: Foreign::of(&engine),
            engine,
            platform: None,
            epoch: 0,
            saved: Arc::new(RouteTable::default()),
            boots: Vec::new(),
            left: BTreeMap::new(),
            calls: 0,
            looks: 0,
            answered: 0,
            shares: BTreeMap::new(),
            beats,
            is_calm: false,
            calm_at,
            log: String::new(),
            fault: None,
        };
        world.at(0, Ev::Boot);
        for place in 0..PLACES {
            world.at(1_000, Ev::Request(place));
        }
        for beat in 0..world.beats.len() {
            world.at(world.beats[beat].at, Ev::Beat(beat));
        }
        world.at(calm_at, Ev::Calm);
        world
    }

    /// To the end of the history, or to the first fault.
    pub fn run(mut self) -> Self {
        let mut events = 0;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            events += 1;
            if events > MOST_EVENTS {
                self.broken("it spins: too much happens in too little time".into());
            }
            let is_over = self.happens(event);
            self.check_foreign();
            if is_over || self.fault.is_some() {
                break;
            }
        }
        let _ = writeln!(self.log, "{} events, {} looks, {} requests answered", events, self.looks, self.answered);
        self
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp(BEGAN + self.now + self.set)
    }

    /// As `SteadyClock`.
    pub fn steady(&self) -> Timestamp {
        Timestamp(BEGAN + self.now + self.platform.as_ref().map_or(self.set, |platform| platform.set))
    }

    pub fn at(&mut self, at: i64, event: Ev) {
        self.serial += 1;
        self.queue.insert((at.max(self.now), self.serial), event);
    }

    pub fn note(&mut self, text: String) {
        let _ = writeln!(self.log, "{:>7} ms  {text}", self.now);
    }

    pub fn broken(&mut self, text: String) {
        if self.fault.is_none() {
            self.note(format!("BROKEN: {text}"));
            self.fault = Some(text);
        }
    }

    /// How long a call takes, or a part of one.
    pub fn latency(&mut self, least: i64, most: i64) -> i64 {
        let slow = if self.now < self.engine.slow_until { 20 } else { 1 };
        self.dice.between(least, most) * slow
    }

    pub fn cured(&self, nature: Nature) -> Nature {
        match nature {
            Nature::Dies(_) | Nature::Errs if self.is_calm => Nature::Good(100),
            nature => nature,
        }
    }

    pub fn engine_event(&mut self) {
        if self.now >= self.engine.silent_until && !self.engine.is_away(self.now) {
            let wait = self.dice.between(1, 20);
            self.at(self.now + wait, Ev::Wake(self.epoch));
        }
    }

    pub fn work_in(&mut self, place: usize, least: i64, most: i64) {
        let at = self.now + self.dice.between(least, most);
        self.places[place].work_at = Some(at);
        self.at(at, Ev::Job(place, at));
    }

    /// True at the end.
    fn happens(&mut self, event: Ev) -> bool {
        let lives = |world: &Self, epoch: u64| world.epoch == epoch && world.platform.is_some();
        match event {
            Ev::Beat(number) => self.beat(self.beats[number]),
            Ev::Wake(epoch) if lives(self, epoch) => self.wake(),
            Ev::LookBegin(epoch, at) if lives(self, epoch) => self.look_begin(at),
            Ev::LookDecide(epoch) if lives(self, epoch) => self.look_decide(),
            Ev::LookWrite(epoch) if lives(self, epoch) => self.look_write(),
            Ev::Step(epoch, call, step) if lives(self, epoch) => self.step(call, step),
            Ev::Step(epoch, _, step) if epoch != self.epoch => self.takes_effect(step),
            Ev::Leave(epoch, guest) if lives(self, epoch) => self.leave(guest),
            Ev::Exit(id, code) => self.exit(&id, code),
            Ev::Job(place, at) if self.places[place].work_at == Some(at) => {
                self.places[place].work_at = None;
                self.work(place);
            }
            Ev::Request(place) => self.request(place),
            Ev::Boot => self.boot(),
            Ev::Calm => self.calm(),
            Ev::Settled => return self.settled(),
            _ => {}
        }
        false
    }

    fn boot(&mut self) {
        if self.platform.is_some() {
            return;
        }
        self.epoch += 1;
        self.boots.push(self.now);
        // The proxy serves the last table before the engine is asked; its upstreams are new ones.
        let routes: BTreeMap<_, _> =
            self.saved.routes().map(|(host, target)| (host.to_string(), (host.clone(), Arc::clone(target)))).collect();
        let anew = |all: &[Arc<Upstream>]| {
            all.iter().map(|u| Upstream::speaking(u.protocol(), u.address(), u.replica())).collect()
        };
        let fresh = |target: &Target| Target {
            app: target.app.clone(),
            upstreams: anew(&target.upstreams),
            canary: target.canary.as_ref().map(|c| Portion { percent: c.percent, upstreams: anew(&c.upstreams) }),
            state: target.state,
            bell: Arc::clone(&target.bell),
            meter: Arc::clone(&target.meter),
            rules: target.rules.clone(),
            https: target.https,
        };
        let routes = routes.into_values().map(|(host, target)| (host, Arc::new(fresh(&target))));
        self.platform = Some(Platform::new(Arc::new(RouteTable::new(None, routes)), self.set));
        self.note(format!("Hythe is up, life {}", self.epoch));
        self.wake();
        for place in 0..self.places.len() {
            match self.places[place].jobs.front().map(|job| job.at) {
                Some(Stage::Rollout) => self.begin(place),
                Some(_) => self.work_in(place, 1, 500),
                None => {}
            }
        }
    }

    fn crash(&mut self) {
        if let Some(platform) = self.platform.take() {
            self.saved = Arc::clone(&platform.table.borrow());
        }
        self.places.iter_mut().for_each(|place| place.work_at = None);
    }

    fn beat(&mut self, beat: Beat) {
        let Beat { place, act, .. } = beat;
        self.note(format!("> app {place}: {act:?}"));
        let (now, end) = (self.now, |millis: i64| self.now + millis);
        match act {
            Act::EngineAway(millis) => self.engine.away_until = end(millis),
            Act::EngineSlow(millis) => self.engine.slow_until = end(millis),
            Act::Silence(millis) => self.engine.silent_until = end(millis),
            Act::Trouble(millis) => self.engine.trouble_until = end(millis),
            Act::Crash(millis) => {
                let back = end(millis);
                self.crash();
                self.at(back, Ev::Boot);
            }
            Act::Jump(millis) => self.set += millis,
            _ if !self.places[place].exists => {}
            Act::Push(nature) => self.push(place, nature),
            Act::Rollback => self.rollback(place),
            Act::Scale { web, worker } => self.scale(place, web, worker),
            Act::Autoscale { min, max } => self.autoscale(place, Some((min, max))),
            Act::ScaleByHand => self.autoscale(place, None),
            Act::Restart => self.restart(place),
            Act::Stop => self.stop(place, true),
            Act::Start => self.stop(place, false),
            Act::Checks(on) => self.check(place, on),
            Act::Watch(seconds) => self.watch_for(place, seconds),
            Act::Strategy(way) => self.take_over(place, way),
            Act::Continue => self.proceed(place),
            Act::Abort => self.abort(place),
            Act::Mount(on) => self.mount(place, on),
            Act::Destroy => self.destroy(place),
            Act::ImageGone => {
                let all = self.places[place].releases.iter().map(|(release, _)| release.id.to_string());
                self.engine.missing.extend(all);
            }
            Act::Kill(n) | Act::Vanish(n) | Act::Freeze(n) | Act::Sicken(n) | Act::Tire(n, _) => {
                let environment = &self.places[place].environment;
                let checked = !environment.spec.checks.is_empty();
                let mine = self.engine.ours().filter(|b| b.replica.workload.environment == environment.id);
                let mine: Vec<String> = mine.filter(|b| b.is_running()).map(|b| b.replica.id.clone()).collect();
                let Some(id) = mine.get(usize::try_from(n).unwrap_or(0) % mine.len().max(1)).cloned() else { return };
                let wall = self.wall();
                match act {
                    Act::Kill(_) => self.engine.falls(&id, now, wall, 137),
                    Act::Vanish(_) => self.engine.remove(&id),
                    _ => {
                        let Some(body) = self.engine.bodies.get_mut(&id) else { return };
                        match act {
                            Act::Freeze(_) => {
                                body.replica.state = ReplicaState::Stranded;
                                body.replica.address = None;
                                body.broke_at = now;
                            }
                            // Without a check that asks on, nobody can know.
                            Act::Sicken(_) if checked && body.port => (body.sick, body.broke_at) = (true, now),
                            Act::Tire(_, millis) if checked => body.unready_until = now + millis,
                            _ => {}
                        }
                    }
                }
                self.engine_event();
            }
        }
    }

    fn exit(&mut self, id: &str, code: i64) {
        let wall = self.wall();
        let Some(body) = self.engine.bodies.get(id) else { return };
        let due = match code {
            143 => body.ends.is_some(),
            _ => body.is_running() && self.cured(body.nature) == body.nature,
        };
        if due {
            self.engine.falls(id, self.now, wall, code);
            self.engine_event();
        }
    }

    /// Nothing goes wrong from here on.
    fn calm(&mut self) {
        self.note("nothing goes wrong any more".into());
        self.is_calm = true;
        let now = self.now;
        let engine = &mut self.engine;
        for until in
            [&mut engine.away_until, &mut engine.slow_until, &mut engine.silent_until, &mut engine.trouble_until]
        {
            *until = (*until).min(now);
        }
        // What never ran before it became live, because nothing was to run, may be of any nature: it is good from now on.
        for place in &mut self.places {
            let (status, spec) = (&place.environment.status, &place.environment.spec);
            let mut serve: Vec<_> = status.live_release.iter().cloned().collect();
            serve.extend(spec.release.clone().filter(|_| place.jobs.is_empty()));
            let releases = place.releases.iter_mut().filter(|(release, _)| serve.contains(&release.id));
            releases.for_each(|(_, nature)| *nature = Nature::Good(100));
            let ours = self.engine.bodies.values_mut().filter(|b| b.owner == OURS);
            let live = |b: &&mut super::engine::Body| b.replica.generation == place.environment.status.live;
            // Who was found dead has its pause before it is replaced, and does not rise.
            let memory = self.platform.as_ref().map(|platform| &platform.mind.memory);
            let dead =
                |b: &&mut super::engine::Body| memory.is_some_and(|memory| memory.death(&b.replica.id).is_some());
            for body in ours.filter(|b| live(b) && !dead(b)) {
                if body.replica.workload.environment == place.environment.id {
                    body.nature = Nature::Good(100);
                    body.able_from = body.able_from.min(now + 100);
                }
            }
        }
        self.boot();
        self.at(now + 1_000, Ev::Settled);
    }

    fn settled(&mut self) -> bool {
        // People let go on what waits for them.
        for place in 0..self.places.len() {
            if self.places[place].exists {
                self.proceed(place);
            }
        }
        let open = self.open_ends();
        if open.is_empty() {
            self.check_shares();
            self.note("all has settled".into());
            return true;
        }
        if self.now - self.calm_at > LONGEST_SETTLING {
            self.broken(format!("it does not settle: {}", open.join("; ")));
            return true;
        }
        self.at(self.now + 1_000, Ev::Settled);
        false
    }

    /// Whether people asked for it to serve, and it could.
    pub fn shall_serve(&self, place: usize) -> bool {
        let environment = &self.places[place].environment;
        let asleep = matches!(environment.status.state, EnvironmentState::Asleep);
        self.places[place].exists && !environment.spec.stopped && !asleep && environment.status.live.0 > 0
    }

    /// Since when Hythe and the engine have been all right.
    pub fn well_since(&self) -> i64 {
        let engine = &self.engine;
        let ends = [engine.away_until, engine.slow_until, engine.silent_until, engine.trouble_until];
        ends.into_iter().chain(self.boots.last().copied()).max().unwrap_or(0)
    }
}
