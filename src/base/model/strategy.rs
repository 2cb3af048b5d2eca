//! How a new rollout takes over from the one that is live, and how far a canary has come.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Generation, NameError};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Strategy {
    /// All new replicas come up beside the old ones; then one switch.
    #[default]
    BlueGreen,
    /// One replica after the other: at no time more than one beyond the formation, at no time fewer ready than it asks.
    Rolling,
    /// A part of the requests first, in steps; each holds until people, or its time, let it go on.
    Canary {
        /// Percent of the requests, rising.
        steps: Vec<u8>,
        /// After this long a step goes on by itself; without it people say so.
        #[serde(default)]
        hold_seconds: Option<u32>,
    },
}

/// The strategy of one rollout, whatever the environment's is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    pub rollout: Generation,
    pub strategy: Strategy,
}

/// A step that holds longer, and that nobody let go on, goes back.
pub const LONGEST_HOLD_SECONDS: u32 = 86_400;
const MOST_STEPS: usize = 10;

impl Strategy {
    /// The same with a hold; only a canary has one.
    pub fn holding(self, seconds: Option<u32>) -> Result<Self, NameError> {
        match self {
            Self::Canary { .. } if seconds.is_some_and(|s| !(1..=LONGEST_HOLD_SECONDS).contains(&s)) => {
                Err(NameError::new(format!("must hold 1 to {LONGEST_HOLD_SECONDS} s")))
            }
            Self::Canary { steps, .. } => Ok(Self::Canary { steps, hold_seconds: seconds }),
            _ if seconds.is_some() => Err(NameError::new("holds only as a canary, such as canary=10,50")),
            other => Ok(other),
        }
    }

    pub fn hold_seconds(&self) -> Option<u32> {
        match self {
            Self::Canary { hold_seconds, .. } => *hold_seconds,
            _ => None,
        }
    }
}

/// `blue-green`, `rolling`, `canary=10,50`; the hold is said apart.
impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlueGreen => f.write_str("blue-green"),
            Self::Rolling => f.write_str("rolling"),
            Self::Canary { steps, .. } => {
                let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
                write!(f, "canary={}", steps.join(","))
            }
        }
    }
}

impl FromStr for Strategy {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('=') {
            None if text == "blue-green" => return Ok(Self::BlueGreen),
            None if text == "rolling" => return Ok(Self::Rolling),
            Some(("canary", steps)) => {
                let steps: Option<Vec<u8>> = steps.split(',').map(|step| step.trim().parse().ok()).collect();
                let well = |steps: &Vec<u8>| {
                    steps.len() <= MOST_STEPS
                        && steps.iter().all(|p| (1..=99).contains(p))
                        && steps.windows(2).all(|two| two[0] < two[1])
                };
                match steps.filter(well) {
                    Some(steps) => return Ok(Self::Canary { steps, hold_seconds: None }),
                    None => {
                        let text = format!("must be rising percents of 1 to 99, at most {MOST_STEPS}: canary=10,50");
                        return Err(NameError::new(text));
                    }
                }
            }
            _ => {}
        }
        Err(NameError::new("must be blue-green, rolling, or a canary with its percents such as canary=10,50"))
    }
}

/// What people said of the rollout that is under way. Of another one it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guidance {
    pub rollout: Generation,
    /// Steps of its canary that need hold no longer.
    #[serde(default)]
    pub steps: u32,
    /// It shall not become live, or not stay so.
    #[serde(default)]
    pub aborted: bool,
}

/// A canary that receives requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    pub rollout: Generation,
    /// From 0 on.
    pub step: u32,
    pub steps: u32,
    pub percent: u8,
    pub since: Timestamp,
    pub until: Timestamp,
    /// At `until` it goes on by itself; else it goes back then.
    pub goes_on: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_one_word() {
        for text in ["blue-green", "rolling", "canary=10", "canary=1,50,99"] {
            assert_eq!(text.parse::<Strategy>().expect(text).to_string(), text);
        }
        for text in
            ["", "blue", "canary", "canary=", "canary=0", "canary=100", "canary=50,10", "canary=5,5", "rolling=1"]
        {
            assert!(text.parse::<Strategy>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_canary_holds() {
        let canary = || "canary=10".parse::<Strategy>().expect("canary");
        assert_eq!(canary().holding(Some(60)).expect("holds").hold_seconds(), Some(60));
        assert!(canary().holding(Some(0)).is_err() && canary().holding(Some(LONGEST_HOLD_SECONDS + 1)).is_err());
        assert!(Strategy::Rolling.holding(Some(60)).is_err());
        assert_eq!(Strategy::Rolling.holding(None), Ok(Strategy::Rolling));
    }
}
