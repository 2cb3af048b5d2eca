//! What people do and what goes wrong in a history, drawn from its seed before it begins: beats can be left out one by
//! one, which is how a failing history is made short.

use std::fmt;

use super::dice::Dice;

/// Apps of one history.
pub const PLACES: usize = 2;
/// After this nothing goes wrong any more, and all has to settle.
pub const LONGEST: i64 = 240_000;

/// How the processes of a release behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Ready this long after the start.
    Good(i64),
    /// Exits this long after the start, before it is ready.
    Crashes(i64),
    NeverReady,
    /// Becomes ready, and exits this long after the start.
    Dies(i64),
    /// Becomes ready, and answers with errors.
    Errs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Push(Nature),
    Rollback,
    Scale {
        web: u32,
        worker: u32,
    },
    Autoscale {
        min: u32,
        max: u32,
    },
    ScaleByHand,
    Restart,
    Stop,
    Start,
    /// Readiness and liveness of `web` beside the default gate.
    Checks(bool),
    Watch(u32),
    Strategy(Way),
    /// `releases:continue`.
    Continue,
    /// `releases:abort`.
    Abort,
    /// A volume that `web` has to itself, from the next release on or not any more.
    Mount(bool),
    Destroy,
    /// One replica; the number chooses which.
    Kill(u64),
    Vanish(u64),
    Freeze(u64),
    Sicken(u64),
    Tire(u64, i64),
    ImageGone,
    EngineAway(i64),
    EngineSlow(i64),
    /// The engine's events do not arrive.
    Silence(i64),
    /// Calls to the engine are refused, lose their answers, or take effect after all when they were given up.
    Trouble(i64),
    /// Hythe dies and is back after so long.
    Crash(i64),
    /// The wall clock is set.
    Jump(i64),
}

/// How a rollout takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    BlueGreen,
    Rolling,
    /// Steps in percent, and seconds that each holds; without them people let it go on.
    Canary(&'static [u8], Option<u32>),
}

#[derive(Debug, Clone, Copy)]
pub struct Beat {
    pub at: i64,
    pub place: usize,
    pub act: Act,
}

impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  app {}  {:?}", self.at, self.place, self.act)
    }
}

/// Each app begins with a release that is good, or nearly always is, and most with several replicas and a strategy.
pub fn script(seed: u64) -> Vec<Beat> {
    let mut dice = Dice::new(seed ^ 0x5c21_9700);
    let mut beats = Vec::new();
    for place in 0..PLACES {
        let mut begins = |act| beats.push(Beat { at: 0, place, act });
        if !dice.one_in(3) {
            begins(Act::Strategy(way(&mut dice)));
        }
        if dice.one_in(2) {
            begins(Act::Scale { web: dice.pick(&[2, 3, 5]), worker: dice.pick(&[0, 1, 2]) });
        }
        let first = Act::Push(Nature::Good(dice.between(20, 1500)));
        beats.push(Beat { at: dice.between(1, 500), place, act: first });
    }
    let count = dice.between(3, 24);
    // Some histories are about haste, some about patience.
    let pause = dice.pick(&[300, 2_000, 12_000]);
    let mut at = dice.between(500, 6_000);
    for _ in 0..count {
        let place = usize::try_from(dice.below(PLACES as u64)).unwrap_or(0);
        let act = act(&mut dice);
        beats.push(Beat { at, place, act });
        // Something else while the new release is on its way.
        if matches!(act, Act::Push(_) | Act::Rollback | Act::Restart | Act::Mount(_)) && dice.one_in(2) {
            let (at, act) = (at + dice.between(200, 9_000), meanwhile(&mut dice));
            beats.push(Beat { at, place, act });
        }
        at = (at + dice.between(0, pause)).min(LONGEST);
    }
    beats
}

fn way(dice: &mut Dice) -> Way {
    match dice.below(6) {
        0 => Way::BlueGreen,
        1..=2 => Way::Rolling,
        _ => Way::Canary(dice.pick(&[&[10], &[50], &[10, 50], &[25, 50, 99]]), dice.pick(&[None, Some(1), Some(5)])),
    }
}

fn number(dice: &mut Dice) -> Act {
    Act::Scale { web: dice.pick(&[0, 1, 1, 2, 3, 5]), worker: dice.pick(&[0, 0, 1, 2]) }
}

fn bounds(dice: &mut Dice) -> Act {
    Act::Autoscale { min: dice.pick(&[0, 0, 1, 3]), max: dice.pick(&[1, 3, 5]) }
}

fn meanwhile(dice: &mut Dice) -> Act {
    let replica = dice.next() >> 8;
    match dice.below(11) {
        0..=2 => Act::Continue,
        3..=4 => Act::Abort,
        5..=6 => bounds(dice),
        7 => Act::ScaleByHand,
        8 => number(dice),
        9 => Act::Kill(replica),
        _ => Act::Crash(dice.pick(&[10, 300, 3_000])),
    }
}

fn nature(dice: &mut Dice) -> Nature {
    match dice.below(8) {
        0 => Nature::Crashes(dice.between(0, 2_000)),
        1 => Nature::NeverReady,
        2 => Nature::Dies(dice.between(500, 30_000)),
        3 => Nature::Errs,
        _ => Nature::Good(dice.between(10, 4_000)),
    }
}

fn act(dice: &mut Dice) -> Act {
    let replica = dice.next() >> 8;
    match dice.below(130) {
        0..=19 => Act::Push(nature(dice)),
        20..=24 => Act::Rollback,
        25..=31 => number(dice),
        32..=36 => bounds(dice),
        37..=38 => Act::ScaleByHand,
        39..=43 => Act::Restart,
        44..=46 => Act::Stop,
        47..=51 => Act::Start,
        52..=55 => Act::Checks(!dice.one_in(3)),
        56..=59 => Act::Watch(dice.pick(&[0, 3, 10])),
        60 => Act::Destroy,
        61..=67 => Act::Kill(replica),
        68..=69 => Act::Vanish(replica),
        70..=72 => Act::Freeze(replica),
        73..=75 => Act::Sicken(replica),
        76..=78 => Act::Tire(replica, dice.between(100, 30_000)),
        79 => Act::ImageGone,
        80..=82 => Act::EngineAway(dice.between(50, 40_000)),
        83..=85 => Act::EngineSlow(dice.between(500, 30_000)),
        86..=87 => Act::Silence(dice.between(500, 30_000)),
        88..=90 => Act::Trouble(dice.between(500, 30_000)),
        91..=95 => Act::Crash(dice.pick(&[10, 300, 3_000, 40_000])),
        96..=108 => Act::Continue,
        109..=112 => Act::Abort,
        113..=119 => Act::Strategy(way(dice)),
        120..=125 => Act::Mount(!dice.one_in(3)),
        _ => Act::Jump(dice.pick(&[3_600_000, -7_200_000, 90_000, -90_000, 1_500, -1_500])),
    }
}
