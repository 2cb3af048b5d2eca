//! `app.json` of a pushed tree: what its developer says of how the app runs. Pure: text in, manifest or faults out.
//! The keys are those that users of the field know (Heroku's and Dokku's `app.json`); keys of no meaning here are left alone.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::health::MOST_CHECKS;
use super::{
    BuildpackRef, Check, CheckKind, Checks, HealthCheck, Https, MOST_BUILDPACKS, ProcessName, Protocol, Sizes, Traffic,
    VariableName,
};

/// Every part may be missing; none at all is an app without the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    pub env: BTreeMap<VariableName, Wish>,
    /// Replicas that a first release starts with.
    pub formation: BTreeMap<ProcessName, u32>,
    /// And their sizes; whether there are such is for the configuration to say.
    pub sizes: Sizes,
    pub scripts: Scripts,
    pub cron: Vec<CronEntry>,
    pub healthchecks: Checks,
    /// One group, in the order of building; none is the platform's choice.
    pub buildpacks: Vec<BuildpackRef>,
    /// The tree is built by its Dockerfile.
    pub build: Option<BuildWish>,
    pub https: Https,
    /// Rules of requests, where people set none.
    #[serde(skip_serializing_if = "Traffic::is_plain")]
    pub traffic: Traffic,
    /// What `web` speaks.
    pub protocol: Protocol,
}

/// How a Dockerfile is to be built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildWish {
    /// Its path in the tree; none is the usual one.
    pub dockerfile: Option<String>,
    /// Name of the stage; none is the last one.
    pub target: Option<String>,
    /// Build arguments; one without a value has that of the app's variable of its name.
    pub args: BTreeMap<VariableName, Option<String>>,
    /// Secrets of the build, by the name that the Dockerfile has for each; their values are those of these variables.
    pub secrets: BTreeMap<String, VariableName>,
}

/// A variable that the app wants to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Taken when the environment has no such variable.
    pub value: Option<String>,
    /// Without a value, of whatever origin, there is no release.
    pub required: bool,
    /// A random value is made when the environment has none.
    pub generate: bool,
    pub description: Option<String>,
}

/// Commands of a deployment, each an argument vector inside a container of the new image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scripts {
    /// Before the new release receives traffic.
    pub predeploy: Option<String>,
    /// After it does.
    pub postdeploy: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronEntry {
    pub name: Option<String>,
    /// Five fields (POSIX crontab) or a word such as `@daily`; whoever schedules it judges it.
    pub schedule: String,
    pub command: String,
    /// IANA name; none is UTC.
    pub timezone: Option<String>,
}

/// What is wrong with the file: where, and what is expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("app.json: {0}")]
pub struct ManifestFault(String);

const MOST_REPLICAS: u32 = 100;
const MOST_CRON: usize = 100;
const LONGEST_COMMAND: usize = 4096;
const LONGEST_PATH: usize = 255;

impl Manifest {
    /// Faults name the place as a path of keys, such as `formation.web.quantity`.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestFault> {
        let said = |error: serde_json::Error| ManifestFault(error.to_string());
        // An array would pass for a file without keys.
        let object: serde_json::Map<String, Value> = serde_json::from_slice(text).map_err(said)?;
        let file: File = serde_json::from_value(Value::Object(object)).map_err(said)?;
        let mut manifest = Self::default();
        for (name, value) in file.env {
            let at = format!("env.{name}");
            let name = name.parse().map_err(|error| fault(&at, error))?;
            manifest.env.insert(name, wish(&at, value)?);
        }
        for (name, value) in file.formation {
            let at = format!("formation.{name}");
            let name: ProcessName = name.parse().map_err(|error| fault(&at, error))?;
            let said = read::<Formation>(&at, value)?;
            if let Some(size) = said.size {
                let size = size.parse().map_err(|error| fault(&format!("{at}.size"), error))?;
                manifest.sizes.insert(name.clone(), size);
            }
            if let Some(protocol) = said.protocol {
                let at = format!("{at}.protocol");
                if name.as_str() != "web" {
                    return Err(fault(&at, "is for web alone; no other process receives requests"));
                }
                manifest.protocol = protocol.parse().map_err(|error| fault(&at, error))?;
            }
            let Some(count) = said.quantity else { continue };
            if count > MOST_REPLICAS {
                return Err(fault(&format!("{at}.quantity"), format!("must be 0 to {MOST_REPLICAS}")));
            }
            manifest.formation.insert(name, count);
        }
        let command =
            |name: &str, text: Option<String>| text.map(|t| command(&format!("scripts.{name}"), t)).transpose();
        manifest.scripts = Scripts {
            predeploy: command("predeploy", file.scripts.predeploy)?,
            postdeploy: command("postdeploy", file.scripts.postdeploy)?,
        };
        if file.cron.len() > MOST_CRON {
            return Err(fault("cron", format!("has {} entries, the limit is {MOST_CRON}", file.cron.len())));
        }
        for (index, value) in file.cron.into_iter().enumerate() {
            let at = format!("cron[{index}]");
            let mut entry: CronEntry = read(&at, value)?;
            entry.command = self::command(&format!("{at}.command"), entry.command)?;
            if entry.schedule.trim().is_empty() {
                return Err(fault(&format!("{at}.schedule"), "must not be empty"));
            }
            manifest.cron.push(entry);
        }
        for (name, value) in file.healthchecks {
            let at = format!("healthchecks.{name}");
            let name: ProcessName = name.parse().map_err(|error| fault(&at, error))?;
            let list: Vec<Value> = read(&at, value)?;
            if list.len() > MOST_CHECKS {
                return Err(fault(&at, format!("has {} checks, the limit is {MOST_CHECKS}", list.len())));
            }
            let checks =
                list.into_iter().enumerate().map(|(index, value)| health_check(&format!("{at}[{index}]"), value));
            manifest.healthchecks.insert(name, checks.collect::<Result<_, _>>()?);
        }
        if let Some(value) = file.https {
            manifest.https = read("https", value)?;
            if let Some(text) = manifest.https.fault() {
                return Err(fault("https.hsts_seconds", text));
            }
        }
        for (name, value) in file.traffic {
            rule(&mut manifest.traffic, &name, value).map_err(|text| fault(&format!("traffic.{name}"), text))?;
        }
        manifest.build = file.build.map(build).transpose()?;
        for (index, value) in file.buildpacks.into_iter().enumerate() {
            let at = format!("buildpacks[{index}]");
            let reference = read::<Buildpack>(&at, value)?.url.parse();
            manifest.buildpacks.push(reference.map_err(|error| fault(&format!("{at}.url"), error))?);
        }
        if manifest.buildpacks.len() > MOST_BUILDPACKS {
            return Err(fault("buildpacks", format!("has more than {MOST_BUILDPACKS} entries")));
        }
        Ok(manifest)
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct File {
    env: BTreeMap<String, Value>,
    formation: BTreeMap<String, Value>,
    scripts: Scripts,
    cron: Vec<Value>,
    healthchecks: BTreeMap<String, Value>,
    build: Option<Value>,
    buildpacks: Vec<Value>,
    https: Option<Value>,
    traffic: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct LongBuild {
    dockerfile: Option<String>,
    target: Option<String>,
    args: BTreeMap<String, Option<String>>,
    secrets: Secrets,
}

/// `{"npm_token": "NPM_TOKEN"}`, or `["NPM_TOKEN"]` where both are called the same.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of names of variables, or an object of such names by the secrets' ids")]
enum Secrets {
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

impl Default for Secrets {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

fn build(value: Value) -> Result<BuildWish, ManifestFault> {
    let long: LongBuild = read("build", value)?;
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let sane = |text: &str| text.len() <= LONGEST_PATH && !text.chars().any(char::is_control);
    if long.dockerfile.as_ref().is_some_and(|path| !sane(path) || !path.split('/').all(part)) {
        return Err(fault("build.dockerfile", "must be a path in the repository, such as docker/Dockerfile"));
    }
    let stage = |name: &str| sane(name) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if long.target.as_ref().is_some_and(|name| name.is_empty() || !stage(name)) {
        return Err(fault("build.target", "must be the name of a stage"));
    }
    let mut args = BTreeMap::new();
    for (name, value) in long.args {
        let at = format!("build.args.{name}");
        let name = name.parse().map_err(|error| fault(&at, error))?;
        if value.as_ref().is_some_and(|value| value.len() > LONGEST_COMMAND || value.contains('\0')) {
            return Err(fault(&at, format!("must be at most {LONGEST_COMMAND} bytes without a NUL character")));
        }
        args.insert(name, value);
    }
    let named = match long.secrets {
        Secrets::List(names) => names.into_iter().map(|name| (name.clone(), name)).collect(),
        Secrets::Map(named) => named,
    };
    let mut secrets = BTreeMap::new();
    for (id, variable) in named {
        let at = format!("build.secrets.{id}");
        if !is_secret_id(&id) {
            return Err(fault(&at, "the id of a secret is 1 to 64 letters, digits, -, _ and ."));
        }
        secrets.insert(id, variable.parse().map_err(|error| fault(&at, error))?);
    }
    Ok(BuildWish { dockerfile: long.dockerfile, target: long.target, args, secrets })
}

/// A name in a directory, and nothing else of a path.
pub fn is_secret_id(id: &str) -> bool {
    let well = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(well)
}

#[derive(Deserialize)]
struct Buildpack {
    url: String,
}

#[derive(Deserialize)]
struct Formation {
    quantity: Option<u32>,
    size: Option<String>,
    protocol: Option<String>,
}

/// In the words of `hythe traffic:set`; what is a number, a list or true in JSON may be written so.
fn rule(traffic: &mut Traffic, name: &str, value: Value) -> Result<(), String> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        _ => None,
    };
    let text = match &value {
        Value::Array(list) => list.iter().map(plain).collect::<Option<Vec<_>>>().map(|list| list.join(",")),
        other => plain(other),
    };
    let verb = match name {
        "users" => Some("hythe traffic:users:set"),
        "pages" => Some("hythe traffic:pages:set"),
        "maintenance" => Some("hythe maintenance:on"),
        "protocol" => {
            return Err("stands with the process type: {\"formation\": {\"web\": {\"protocol\": \"h2c\"}}}".into());
        }
        _ => None,
    };
    if let Some(verb) = verb {
        return Err(format!("is not for a release to say; use {verb}"));
    }
    let text = text.ok_or("write it as hythe traffic:set takes it, such as \"20/100\", a number, true or a list")?;
    // Judged alone, so that the fault is told at its own key.
    let mut one = Traffic::default();
    one.say(name, &text)?;
    if let Some((_, text)) = one.faults().into_iter().next() {
        return Err(text);
    }
    traffic.say(name, &text)?;
    traffic.without.clear();
    match traffic.faults().into_iter().next() {
        None => Ok(()),
        Some((_, text)) => Err(text),
    }
}

/// Heroku's long form; the short one is the value alone.
#[derive(Deserialize)]
struct LongWish {
    value: Option<String>,
    #[serde(default = "yes")]
    required: bool,
    generator: Option<String>,
    description: Option<String>,
}

fn yes() -> bool {
    true
}

fn wish(at: &str, value: Value) -> Result<Wish, ManifestFault> {
    if let Value::String(value) = value {
        return Ok(Wish { value: Some(value), required: true, ..Wish::default() });
    }
    let long: LongWish = read(at, value)?;
    let generate = match long.generator.as_deref() {
        None => false,
        Some("secret") => true,
        Some(other) => {
            return Err(fault(&format!("{at}.generator"), format!("is \"{other}\"; there is only \"secret\"")));
        }
    };
    Ok(Wish { value: long.value, required: long.required, generate, description: long.description })
}

/// Dokku's keys and defaults; times are seconds and may have a fraction. `status` is ours.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LongCheck {
    #[serde(rename = "type")]
    kind: Option<CheckKind>,
    path: Option<String>,
    status: Option<u16>,
    command: Option<Words>,
    listening: Option<bool>,
    uptime: Option<f64>,
    wait: Option<f64>,
    timeout: Option<f64>,
    attempts: Option<u32>,
    initial_delay: Option<f64>,
    /// Known to the field and not done here: better refused than left out in silence.
    content: Option<Value>,
    port: Option<Value>,
    http_headers: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<String>),
    Line(String),
}

fn health_check(at: &str, value: Value) -> Result<HealthCheck, ManifestFault> {
    let long: LongCheck = read(at, value)?;
    for (key, value) in [("content", &long.content), ("port", &long.port), ("httpHeaders", &long.http_headers)] {
        if value.is_some() {
            return Err(fault(&format!("{at}.{key}"), "is not supported; a path can have a status, and PORT is asked"));
        }
    }
    let check = match (long.path, long.command, long.listening.unwrap_or(false), long.uptime) {
        (Some(path), None, false, None) => Check::Http { path, status: long.status },
        (None, Some(Words::List(command)), false, None) => Check::Command { command },
        (None, Some(Words::Line(line)), false, None) => {
            let command = shlex::split(&line).ok_or_else(|| fault(&format!("{at}.command"), "has an open quote"))?;
            Check::Command { command }
        }
        (None, None, true, None) => Check::Tcp,
        (None, None, false, Some(seconds)) => Check::Alive { millis: millis(seconds) },
        _ => return Err(fault(at, "must have one of path, command, listening and uptime")),
    };
    let plain = HealthCheck::new(long.kind.unwrap_or(CheckKind::Startup), check);
    let check = HealthCheck {
        every_millis: long.wait.map_or(plain.every_millis, millis),
        timeout_millis: long.timeout.map_or(plain.timeout_millis, millis),
        attempts: long.attempts.unwrap_or(plain.attempts),
        delay_millis: long.initial_delay.map_or(plain.delay_millis, millis),
        ..plain
    };
    match check.fault() {
        None => Ok(check),
        Some((field, text)) => {
            let key = match field {
                "every" => "wait",
                "delay" => "initialDelay",
                other => other,
            };
            Err(fault(&format!("{at}.{key}"), text))
        }
    }
}

/// Out of range stays out of range.
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn command(at: &str, text: String) -> Result<String, ManifestFault> {
    if text.trim().is_empty() {
        return Err(fault(at, "must not be empty"));
    }
    if text.len() > LONGEST_COMMAND || text.contains('\0') {
        return Err(fault(at, format!("must be at most {LONGEST_COMMAND} bytes without a NUL character")));
    }
    Ok(text)
}

fn read<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, ManifestFault> {
    serde_json::from_value(value).map_err(|error| fault(at, error))
}

fn fault(at: &str, what: impl fmt::Display) -> ManifestFault {
    ManifestFault(format!("{at}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Manifest::parse(text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn all_that_is_known_is_read_and_the_rest_left_alone() {
        let text = r#"{
            "name": "shop", "buildpacks": [{"url": "x"}],
            "env": {"PLAIN": "a", "SECRET": {"generator": "secret"}, "MAY": {"required": false}, "MUST": {"description": "why"}},
            "formation": {"web": {"quantity": 2, "size": "small", "protocol": "h2c"}, "worker": {}},
            "scripts": {"postdeploy": "bin/seed", "test": "x"},
            "https": {"redirect": false, "hsts_seconds": 31536000},
            "traffic": {"rate": "20/100", "timeout": 90, "sticky": true, "compression": false, "allow": ["10.0.0.0/8", "192.0.2.7"],
                "response-header.x-frame-options": "DENY"},
            "cron": [{"command": "bin/tidy", "schedule": "@daily", "timezone": "Europe/Zurich"}],
            "healthchecks": {"web": [
                {"type": "readiness", "name": "up", "path": "/up", "status": 204, "wait": 0.1, "attempts": 2, "initialDelay": 1},
                {"command": "test -f '/tmp/a b'"}, {"type": "liveness", "listening": true}
            ]}
        }"#;
        let manifest = Manifest::parse(text.as_bytes()).expect("manifest");
        let wish = |name: &str| manifest.env[&name.parse::<VariableName>().expect("name")].clone();
        assert_eq!(wish("PLAIN").value.as_deref(), Some("a"));
        assert!(wish("SECRET").generate && wish("MUST").required && !wish("MAY").required);
        assert_eq!(manifest.formation.values().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(manifest.sizes.values().map(super::super::SizeName::as_str).collect::<Vec<_>>(), ["small"]);
        assert_eq!(manifest.protocol, Protocol::H2c);
        assert_eq!(manifest.scripts.postdeploy.as_deref(), Some("bin/seed"));
        assert_eq!(manifest.https, Https { redirect: Some(false), hsts_seconds: Some(31_536_000) });
        let rules: Vec<_> =
            manifest.traffic.words().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            rules,
            [
                "allow=10.0.0.0/8,192.0.2.7/32",
                "rate=20/100",
                "timeout=90",
                "sticky=on",
                "response-header.x-frame-options=DENY"
            ]
        );
        assert_eq!(manifest.cron[0].timezone.as_deref(), Some("Europe/Zurich"));
        let web = &manifest.healthchecks[&"web".parse::<ProcessName>().expect("name")];
        let up = Check::Http { path: "/up".into(), status: Some(204) };
        let ready = HealthCheck::new(CheckKind::Readiness, up);
        assert_eq!(web[0], HealthCheck { every_millis: 100, attempts: 2, delay_millis: 1000, ..ready });
        let command = ["test", "-f", "/tmp/a b"].map(str::to_owned).to_vec();
        assert_eq!(web[1], HealthCheck::new(CheckKind::Startup, Check::Command { command }));
        assert_eq!(web[2], HealthCheck::new(CheckKind::Liveness, Check::Tcp));
        assert_eq!(manifest.buildpacks, ["x".parse().expect("reference")]);
        let stored = serde_json::to_string(&manifest).expect("json");
        assert_eq!(serde_json::from_str::<Manifest>(&stored).expect("manifest"), manifest);
        assert_eq!(serde_json::from_str::<Manifest>("{}").expect("of an older row"), Manifest::default());
    }

    #[test]
    fn a_fault_names_its_place() {
        for (text, place) in [
            ("{", "line 1"),
            ("[]", "expected"),
            (r#"{"env": {"PORT": "1"}}"#, "env.PORT"),
            (r#"{"env": {"A": 7}}"#, "env.A"),
            (r#"{"env": {"A": {"generator": "uuid"}}}"#, "env.A.generator"),
            (r#"{"formation": {"We b": {"quantity": 1}}}"#, "formation.We b"),
            (r#"{"formation": {"web": {"quantity": -1}}}"#, "formation.web"),
            (r#"{"formation": {"web": {"quantity": 1000}}}"#, "formation.web.quantity"),
            (r#"{"formation": {"web": {"size": "../x"}}}"#, "formation.web.size"),
            (r#"{"scripts": {"predeploy": " "}}"#, "scripts.predeploy"),
            (r#"{"formation": {"web": {"protocol": "h2"}}}"#, "formation.web.protocol: must be http1, h2c or https"),
            (r#"{"formation": {"web": {"protocol": 2}}}"#, "formation.web"),
            (r#"{"formation": {"worker": {"protocol": "h2c"}}}"#, "formation.worker.protocol"),
            (r#"{"cron": [{"command": "x"}]}"#, "cron[0]"),
            (r#"{"buildpacks": [{"url": "a"}, {"url": "../b"}]}"#, "buildpacks[1].url"),
            (r#"{"cron": [{"command": "x", "schedule": ""}]}"#, "cron[0].schedule"),
            (r#"{"healthchecks": {"web": [{"path": "/", "type": "health"}]}}"#, "healthchecks.web[0]"),
            (r#"{"healthchecks": {"web": [{"path": "/", "wait": 0.01}]}}"#, "healthchecks.web[0].wait"),
            (r#"{"healthchecks": {"web": [{"path": "/ x"}]}}"#, "healthchecks.web[0].path"),
            (r#"{"healthchecks": {"web": [{"path": "/", "uptime": 3}]}}"#, "one of path"),
            (r#"{"healthchecks": {"web": [{"path": "/", "content": "ok"}]}}"#, "healthchecks.web[0].content"),
            (r#"{"https": {"hsts_seconds": 99999999}}"#, "https.hsts_seconds"),
            (r#"{"https": {"redirect": "yes"}}"#, "https"),
            (r#"{"https": {"hsts": 1}}"#, "https"),
            (r#"{"traffic": []}"#, "a map"),
            (r#"{"traffic": {"colour": "red"}}"#, "traffic.colour: there is no such rule; rules are allow"),
            (r#"{"traffic": {"rate": "fast"}}"#, "traffic.rate: write PER_SECOND"),
            (r#"{"traffic": {"rate": 0}}"#, "traffic.rate: must be 1 to 100000"),
            (r#"{"traffic": {"rate": {"per_second": 1}}}"#, "traffic.rate: write it as hythe traffic:set"),
            (r#"{"traffic": {"timeout": 1.5}}"#, "traffic.timeout: write seconds"),
            (r#"{"traffic": {"timeout": null}}"#, "traffic.timeout: write it as"),
            (r#"{"traffic": {"deny": ["10.0.0.0/33"]}}"#, "traffic.deny: \"10.0.0.0/33\" is no network"),
            (r#"{"traffic": {"deny": [["10.0.0.0/8"]]}}"#, "traffic.deny: write it as"),
            (r#"{"traffic": {"request-header.host": "evil"}}"#, "traffic.request-header.host: is the platform's own"),
            (r#"{"traffic": {"response-header.x": "a\r\nb: c"}}"#, "traffic.response-header.x: must be at most"),
            (r#"{"traffic": {"protocol": "h2c"}}"#, "traffic.protocol: stands with the process type"),
            (r#"{"traffic": {"users": {"ann": "x"}}}"#, "traffic.users: is not for a release to say; use hythe"),
            (r#"{"traffic": {"maintenance": true}}"#, "hythe maintenance:on"),
            (r#"{"build": {"dockerfile": "../Dockerfile"}}"#, "build.dockerfile"),
            (r#"{"build": {"dockerfile": "/etc/passwd"}}"#, "build.dockerfile"),
            (r#"{"build": {"target": "--privileged x"}}"#, "build.target"),
            (r#"{"build": {"args": {"A B": "x"}}}"#, "build.args.A B"),
            (r#"{"build": {"secrets": {"../x": "A"}}}"#, "build.secrets.../x"),
            (r#"{"build": {"secrets": ["A B"]}}"#, "build.secrets.A B"),
            (r#"{"build": {"secrets": "A"}}"#, "a list of names"),
            (r#"{"build": {"privileged": true}}"#, "privileged"),
        ] {
            let said = refused(text);
            assert!(said.starts_with("app.json: ") && said.contains(place), "{text}: {said}");
        }
    }
}
