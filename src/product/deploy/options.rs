//! What somebody asks of one build beside its tree: with a push (`git push -o …`), an archive, or what lies elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::model::{Strategy, VariableName};
use crate::base::secret::Secret;
use crate::product::apps::VariableChanges;

/// As a push that asks for another one is told.
const KNOWN: &str = "env=ENVIRONMENT, dry-run, detach, no-cache, skip, message=TEXT, config.KEY=VALUE, \
     strategy=blue-green|rolling|canary=10,50, wait=built|live";
const LONGEST_MESSAGE: usize = 500;

/// What a job has to know; stored with its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manner {
    pub course: Course,
    pub no_cache: bool,
    /// Of the release, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For this rollout alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Variables that are set with the release, as the vault sealed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// How far it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    #[default]
    Deploy,
    /// It is built, and nothing else becomes of it.
    DryRun,
    /// The branch moves, and nothing is built.
    Skip,
}

/// What a pusher waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Until {
    #[default]
    Live,
    Built,
    /// Nothing but that the push is taken.
    Taken,
}

/// The options of one push.
#[derive(Debug, Default)]
pub struct PushOptions {
    /// Where to deploy, instead of where the branch does.
    pub environment: Option<String>,
    pub until: Until,
    pub manner: Manner,
    pub variables: VariableChanges,
}

impl Manner {
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Of no more than that: what is made already is not built.
    pub(super) fn check_for_image(&self) -> Result<()> {
        match (self.course, self.no_cache) {
            (Course::Deploy, false) => self.check(),
            (Course::Deploy, true) => Err(Error::invalid("no_cache", "is for what is built; this is an image already")),
            _ => Err(Error::invalid("dry_run", "is for what is built; this is an image already")),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        match &self.message {
            Some(text) => message(text).map(drop).map_err(|fault| Error::invalid("message", fault)),
            None => Ok(()),
        }
    }
}

impl PushOptions {
    /// For people, why they cannot be; of a variable its name alone is repeated.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut given: BTreeMap<&str, &str> = BTreeMap::new();
        for word in words {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            if given.insert(name, value.unwrap_or_default()).is_some() {
                return Err(format!("push option {name:?} is given twice"));
            }
            options.take(name, value)?;
        }
        options.agree(&given)
    }

    fn take(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let flags = ["dry-run", "detach", "no-cache", "skip"];
        if flags.contains(&name) && value.is_some() {
            return Err(format!("push option {name:?} takes no value"));
        }
        let valued = ["env", "message", "strategy", "wait"];
        if (valued.contains(&name) || name.starts_with("config.")) && value.is_none() {
            return Err(format!("push option {name:?} needs a value: -o {name}=…"));
        }
        let value = value.unwrap_or_default();
        match name {
            "dry-run" => self.manner.course = Course::DryRun,
            "skip" => self.manner.course = Course::Skip,
            "detach" => self.until = Until::Taken,
            "no-cache" => self.manner.no_cache = true,
            "env" => self.environment = Some(value.to_owned()),
            "message" => self.manner.message = Some(message(value)?),
            "strategy" => {
                let strategy = value.parse().map_err(|fault| format!("push option \"strategy\" {fault}"))?;
                self.manner.strategy = Some(strategy);
            }
            "wait" => {
                self.until = match value {
                    "built" => Until::Built,
                    "live" => Until::Live,
                    _ => return Err("push option \"wait\" is built or live".into()),
                }
            }
            _ => match name.strip_prefix("config.") {
                Some(key) => {
                    let key: VariableName = key.parse().map_err(|fault| format!("push option {name:?}: {fault}"))?;
                    self.variables.insert(key, Some(Secret::new(value.to_owned())));
                }
                None => return Err(format!("push option {name:?} is not known; known are: {KNOWN}")),
            },
        }
        Ok(())
    }

    fn agree(self, given: &BTreeMap<&str, &str>) -> Result<Self, String> {
        let both = |a: &str, b: &str| given.contains_key(a) && given.contains_key(b);
        let apart =
            [("dry-run", "skip"), ("detach", "skip"), ("detach", "wait"), ("dry-run", "wait"), ("dry-run", "strategy")];
        if let Some((a, b)) = apart.into_iter().find(|(a, b)| both(a, b)) {
            return Err(format!("push options {a:?} and {b:?} do not go together"));
        }
        let of_builds = ["no-cache", "strategy", "wait", "message"];
        let other = of_builds.into_iter().find(|name| given.contains_key(name));
        match other.or_else(|| (!self.variables.is_empty()).then_some("config")) {
            Some(other) if self.manner.course == Course::Skip => {
                Err(format!("push options \"skip\" and {other:?} do not go together: nothing is built or released"))
            }
            _ => Ok(self),
        }
    }
}

fn message(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST_MESSAGE || text.chars().any(char::is_control) {
        return Err(format!("a message is one line of at most {LONGEST_MESSAGE} bytes"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<PushOptions, String> {
        PushOptions::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_option_is_understood() {
        let words =
            ["env=staging", "no-cache", "message=a = b", "strategy=canary=10,50", "config.A_B=x=y", "wait=built"];
        let options = parse(&words).expect("options");
        assert_eq!(options.environment.as_deref(), Some("staging"));
        assert!(options.manner.no_cache && options.until == Until::Built);
        assert_eq!(options.manner.message.as_deref(), Some("a = b"));
        assert_eq!(options.manner.strategy.expect("a strategy").to_string(), "canary=10,50");
        let value = options.variables.values().next().and_then(Option::as_ref).expect("a value");
        assert_eq!(value.reveal(), "x=y");
        assert_eq!(parse(&["dry-run"]).expect("options").manner.course, Course::DryRun);
        assert_eq!(parse(&["skip", "env=x"]).expect("options").manner.course, Course::Skip);
        assert_eq!(parse(&["detach"]).expect("options").until, Until::Taken);
    }

    #[test]
    fn others_are_refused_and_values_of_variables_are_not_repeated() {
        for (words, text) in [
            (&["frobnicate"][..], "\"frobnicate\" is not known; known are: env="),
            (&["Env=x"], "is not known"),
            (&[""], "is not known"),
            (&["dry-run=yes"], "takes no value"),
            (&["message"], "needs a value"),
            (&["config.A"], "needs a value"),
            (&["message=\u{7}"], "one line"),
            (&["strategy=magic"], "strategy"),
            (&["wait=ever"], "built or live"),
            (&["dry-run", "skip"], "do not go together"),
            (&["skip", "config.A=secret"], "do not go together"),
            (&["detach", "wait=live"], "do not go together"),
            (&["no-cache", "no-cache"], "given twice"),
            (&["config.1 A=secret"], "config.1 A"),
        ] {
            let fault = parse(words).expect_err("refused");
            assert!(fault.contains(text) && !fault.contains("secret"), "{words:?}: {fault}");
        }
    }
}
