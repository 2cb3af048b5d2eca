//! A webhook: an address elsewhere that the events of an app are posted to, and each such post.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{AppId, EnvironmentId, EventId, Happened, NameError, WebhookId};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone)]
pub struct Webhook {
    pub id: WebhookId,
    pub app_id: AppId,
    /// None: all environments of the app, and the app as a whole.
    pub environment_id: Option<EnvironmentId>,
    pub kinds: Kinds,
    /// The address as people see it, without what may be a secret.
    pub shown: String,
    pub created_at: Timestamp,
}

/// Which kinds of events: `deployment.failed`, or `deployment.*` for all that begin so. None named is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds(Vec<String>);

impl Kinds {
    pub fn new(words: &[String]) -> Result<Self, NameError> {
        let known = |word: &String| {
            Happened::KINDS.iter().any(|kind| match word.strip_suffix('*') {
                Some(group) => group.ends_with('.') && kind.starts_with(group),
                None => kind == word,
            })
        };
        match words.iter().find(|word| !known(word)) {
            Some(wrong) => Err(NameError::new(format!(
                "has no kind {wrong:?}; there are {}, and groups such as deployment.*",
                Happened::KINDS.join(", ")
            ))),
            None => Ok(Self(words.to_vec())),
        }
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// As it is stored: every word between spaces, so that one is found by `LIKE '% word %'`.
impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, " {word} "))
    }
}

impl FromStr for Kinds {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split_whitespace().map(str::to_owned).collect()))
    }
}

/// One event on its way to one webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub webhook_id: WebhookId,
    pub event_id: EventId,
    pub state: DeliveryState,
    /// How often it was tried since it began or was asked for again.
    pub attempts: i64,
    /// When it is tried next, while it waits.
    pub due_at: Timestamp,
    /// What came of the last attempt, when it failed.
    pub reason: Option<String>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Waiting,
    Delivered,
    /// Nothing more is tried unless somebody asks for it.
    Failed,
}

impl DeliveryState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_that_exist_and_groups_of_them() {
        let kinds = |words: &[&str]| Kinds::new(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let some = kinds(&["deployment.failed", "environment.*"]).expect("kinds");
        assert_eq!(some.to_string(), " deployment.failed  environment.* ");
        assert_eq!(some.to_string().parse::<Kinds>(), Ok(some));
        assert_eq!(kinds(&[]), Ok(Kinds::default()));
        for wrong in ["deployment", "deployment.*.*", "*", "deploy.*", "nonsense", "", "deployment.failed "] {
            assert!(kinds(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
