//! Questions asked of replicas. Startup: has it come up? Readiness: may it receive traffic? Liveness: is it beyond
//! help? Startup and readiness gate a rollout; readiness and liveness are asked as long as a replica lives.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NameError, ProcessName};

/// How a question is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Check {
    /// Accepts a TCP connection on its port.
    Tcp,
    /// `GET path` answers with this status; below 500 when none is named.
    Http {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// Runs for this many milliseconds without exiting: for processes without a port.
    Alive { millis: i64 },
    /// An argument vector that exits with 0 inside the replica.
    Command { command: Vec<String> },
}

impl Check {
    pub fn http(path: impl Into<String>) -> Self {
        Self::Http { path: path.into(), status: None }
    }

    /// What it makes of an answer with this status.
    pub fn is_met_by(&self, status: u16) -> bool {
        match self {
            Self::Http { status: Some(wanted), .. } => status == *wanted,
            _ => status < 500,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    Startup,
    Readiness,
    Liveness,
}

impl CheckKind {
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CheckKind {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| NameError::new("must be startup, readiness or liveness"))
    }
}

/// One question with its patience. The defaults are those of the field (Dokku's `app.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub kind: CheckKind,
    pub check: Check,
    /// From one answer to the next question.
    pub every_millis: i64,
    pub timeout_millis: i64,
    /// Failures in a row that count as one.
    pub attempts: u32,
    /// From the start of the replica to the first question.
    pub delay_millis: i64,
}

/// Per process type; several of one kind must all hold.
pub type Checks = BTreeMap<ProcessName, Vec<HealthCheck>>;

const HOUR: i64 = 3_600_000;
/// The longest time that a rollout may be held up by a startup check.
const LONGEST_STARTUP: i64 = HOUR / 2;
pub const MOST_CHECKS: usize = 10;

impl HealthCheck {
    pub fn new(kind: CheckKind, check: Check) -> Self {
        Self { kind, check, every_millis: 5_000, timeout_millis: 5_000, attempts: 3, delay_millis: 0 }
    }

    /// Longest time from the start of a replica within which a startup check must have passed.
    pub fn budget_millis(&self) -> i64 {
        self.delay_millis + i64::from(self.attempts) * self.every_millis + self.timeout_millis
    }

    /// Field and what is wrong with it.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let within = |field, value: i64, least: i64, most: i64| {
            let text = format!("must be {} s to {} s", least as f64 / 1000.0, most / 1000);
            (!(least..=most).contains(&value)).then_some((field, text))
        };
        check_fault(&self.check)
            .or_else(|| within("every", self.every_millis, 100, HOUR))
            .or_else(|| within("timeout", self.timeout_millis, 100, 300_000))
            .or_else(|| within("delay", self.delay_millis, 0, LONGEST_STARTUP))
            .or_else(|| (!(1..=100).contains(&self.attempts)).then(|| ("attempts", "must be 1 to 100".to_owned())))
            .or_else(|| {
                let long = self.kind == CheckKind::Startup && self.budget_millis() > LONGEST_STARTUP;
                long.then(|| ("attempts", "delay and attempts together must be at most 30 minutes".to_owned()))
            })
    }
}

fn check_fault(check: &Check) -> Option<(&'static str, String)> {
    match check {
        Check::Tcp => None,
        Check::Http { path, status } => {
            let plain = |b: u8| b.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(&b);
            if !path.starts_with('/') || path.len() > 500 || !path.bytes().all(plain) {
                let text = "must be a path such as /healthz, without spaces and at most 500 characters long";
                return Some(("path", text.into()));
            }
            status
                .is_some_and(|s| !(100..=599).contains(&s))
                .then(|| ("status", "must be a status of HTTP, 100 to 599".into()))
        }
        Check::Alive { millis } => {
            (!(0..=LONGEST_STARTUP).contains(millis)).then(|| ("uptime", "must be 0 s to 1800 s".into()))
        }
        Check::Command { command } => {
            let length: usize = command.iter().map(|word| word.len() + 1).sum();
            let well = command.first().is_some_and(|program| !program.is_empty())
                && length <= 4096
                && !command.iter().any(|word| word.contains('\0'));
            (!well).then(|| ("command", "must be a program and its arguments, at most 4096 bytes together".into()))
        }
    }
}

/// What `said` names for a process type and kind takes the place of all that `wished` has for it.
pub fn overlaid(wished: &Checks, said: &Checks) -> Checks {
    let mut all = wished.clone();
    for (process, checks) in said {
        let place = all.entry(process.clone()).or_default();
        place.retain(|wish| !checks.iter().any(|check| check.kind == wish.kind));
        place.extend(checks.iter().cloned());
        place.sort_by_key(|check| check.kind);
    }
    all.retain(|_, checks| !checks.is_empty());
    all
}

/// For people: `GET /up is 200, every 5 s, 3 attempts`.
impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, every {} s, {} s each", self.check, seconds(self.every_millis), seconds(self.timeout_millis))?;
        write!(f, ", {} {}", self.attempts, if self.attempts == 1 { "attempt" } else { "attempts" })?;
        if self.delay_millis > 0 {
            write!(f, ", first after {} s", seconds(self.delay_millis))?;
        }
        Ok(())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("accepts connections on PORT"),
            Self::Http { path, status: None } => write!(f, "GET {path} answers below 500"),
            Self::Http { path, status: Some(status) } => write!(f, "GET {path} answers {status}"),
            Self::Alive { millis } => write!(f, "runs for {} s", seconds(*millis)),
            Self::Command { command } => {
                let words = shlex::try_join(command.iter().map(String::as_str)).unwrap_or_default();
                write!(f, "{words} exits with 0")
            }
        }
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_a_row_written_before_still_reads() {
        let old: Check = serde_json::from_str(r#"{"kind":"http","path":"/up"}"#).expect("reads");
        assert_eq!(old, Check::http("/up"));
    }

    #[test]
    fn patience_has_bounds() {
        let well = HealthCheck::new(CheckKind::Startup, Check::http("/up"));
        assert_eq!(well.fault(), None);
        let often = Check::Command { command: vec!["a".into()] };
        assert_eq!(HealthCheck { check: often, every_millis: 100, ..well.clone() }.fault(), None);
        let faults = [
            HealthCheck { every_millis: 99, ..well.clone() },
            HealthCheck { timeout_millis: 300_001, ..well.clone() },
            HealthCheck { attempts: 0, ..well.clone() },
            HealthCheck { delay_millis: -1, ..well.clone() },
            HealthCheck { every_millis: HOUR, ..well.clone() },
            HealthCheck { check: Check::http("/a\r\nX: y"), ..well.clone() },
            HealthCheck { check: Check::Http { path: "/".into(), status: Some(700) }, ..well.clone() },
            HealthCheck { check: Check::Command { command: vec![] }, ..well.clone() },
            HealthCheck { check: Check::Command { command: vec!["a".into()] }, every_millis: 99, ..well.clone() },
            HealthCheck { check: Check::Command { command: vec!["a\0".into()] }, ..well },
        ];
        for check in faults {
            assert!(check.fault().is_some(), "{check}");
        }
    }

    #[test]
    fn what_people_say_takes_the_place_of_that_kind_only() {
        let web: ProcessName = "web".parse().expect("name");
        let [start, ready] = [CheckKind::Startup, CheckKind::Readiness].map(|k| HealthCheck::new(k, Check::Tcp));
        let said = HealthCheck::new(CheckKind::Readiness, Check::http("/up"));
        let wished = Checks::from([(web.clone(), vec![start.clone(), ready.clone(), ready])]);
        let all = overlaid(&wished, &Checks::from([(web.clone(), vec![said.clone()])]));
        assert_eq!(all[&web], [start, said]);
    }
}
