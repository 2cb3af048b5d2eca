//! Checks. Times are seconds and may have a fraction.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::base::error::{Error, Result};
use crate::base::model::{Check, CheckKind, HealthCheck};
use crate::product::deploy::{CheckOrigin, CheckView};

/// A check in effect.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CheckItem {
    pub process: String,
    /// `startup`, `readiness` or `liveness`.
    pub kind: String,
    /// `set`, `app.json` or `default`.
    pub origin: String,
    #[serde(flatten)]
    pub check: CheckBody,
    /// For people.
    pub text: String,
}

/// One of `path`, `tcp`, `command` and `uptime` says how it is asked; the rest how often and with how much patience.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    /// `GET` of it must answer with `status`, or below 500 when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// It must accept connections on `PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<bool>,
    /// A program and its arguments, run inside the replica; it must exit with 0 within `timeout`, and is killed if it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// It must have run this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<f64>,
    /// From an answer to the next question, 0.1 to 3600; 5 when it is left out. Commands that are due wait where the engine has
    /// many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<f64>,
    /// 0.1 to 300; 5 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Failures in a row that count as one: 1 to 100; 3 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// From the start of a replica to the first question; 0 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<f64>,
}

/// What is left out stays as it is; null returns to what `app.json` has.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessChecksBody {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<CheckBody>)]
    pub startup: Option<Option<CheckBody>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<CheckBody>)]
    pub readiness: Option<Option<CheckBody>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<CheckBody>)]
    pub liveness: Option<Option<CheckBody>>,
}

impl ProcessChecksBody {
    pub fn of(kind: CheckKind, check: Option<CheckBody>) -> Self {
        let mut body = Self::default();
        match kind {
            CheckKind::Startup => body.startup = Some(check),
            CheckKind::Readiness => body.readiness = Some(check),
            CheckKind::Liveness => body.liveness = Some(check),
        }
        body
    }

    pub fn into_kinds(self) -> impl Iterator<Item = (CheckKind, Option<CheckBody>)> {
        let all = [self.startup, self.readiness, self.liveness];
        CheckKind::ALL.into_iter().zip(all).filter_map(|(kind, check)| Some((kind, check?)))
    }
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<CheckBody>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl CheckBody {
    /// `place` names it in a refusal. Whether the numbers are within their bounds is for the verb to say.
    pub fn read(self, place: &str, kind: CheckKind) -> Result<HealthCheck> {
        let check = match (self.path, self.tcp.unwrap_or(false), self.command, self.uptime) {
            (Some(path), false, None, None) => Check::Http { path, status: self.status },
            (None, true, None, None) => Check::Tcp,
            (None, false, Some(command), None) => Check::Command { command },
            (None, false, None, Some(seconds)) => Check::Alive { millis: millis(seconds) },
            _ => return Err(Error::invalid(place, "must have one of path, tcp, command and uptime")),
        };
        if self.status.is_some() && !matches!(check, Check::Http { .. }) {
            return Err(Error::invalid(place, "has a status without a path"));
        }
        let plain = HealthCheck::new(kind, check);
        Ok(HealthCheck {
            every_millis: self.every.map_or(plain.every_millis, millis),
            timeout_millis: self.timeout.map_or(plain.timeout_millis, millis),
            attempts: self.attempts.unwrap_or(plain.attempts),
            delay_millis: self.delay.map_or(plain.delay_millis, millis),
            ..plain
        })
    }
}

impl From<&CheckView> for CheckItem {
    fn from(view: &CheckView) -> Self {
        let check = &view.check;
        let seconds = |millis: i64| Some(millis as f64 / 1000.0);
        let mut body = CheckBody {
            every: seconds(check.every_millis),
            timeout: seconds(check.timeout_millis),
            attempts: Some(check.attempts),
            delay: seconds(check.delay_millis),
            ..CheckBody::default()
        };
        match &check.check {
            Check::Tcp => body.tcp = Some(true),
            Check::Http { path, status } => (body.path, body.status) = (Some(path.clone()), *status),
            Check::Command { command } => body.command = Some(command.clone()),
            Check::Alive { millis } => body.uptime = seconds(*millis),
        }
        let origin = match view.origin {
            CheckOrigin::Set => "set",
            CheckOrigin::Manifest => "app.json",
            CheckOrigin::Default => "default",
        };
        // The default gate is asked until it passes or time is up.
        let text = match view.origin {
            CheckOrigin::Default => check.check.to_string(),
            _ => check.to_string(),
        };
        Self {
            process: view.process.to_string(),
            kind: check.kind.to_string(),
            origin: origin.into(),
            check: body,
            text,
        }
    }
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
