//! `RUN --mount=…`: its options read (Dockerfile reference, "RUN --mount"). Values may hold variables, which are put in
//! when the command is about to run; where they lead is judged then as well. Pure.

use std::collections::BTreeMap;

use super::Fault;
use super::parse;
use crate::base::model::is_secret_id;

/// Where the secrets of a command are.
const SECRETS: &str = "/run/secrets";
const MOST_TMPFS: i64 = 1 << 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
}

/// Where what is mounted comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The tree that was pushed.
    Context,
    /// A stage before this one.
    Stage(usize),
    Image(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub kind: Kind,
    pub id: String,
    pub target: String,
    pub source: String,
    /// Of a cache: what it begins with, if anything.
    pub from: Option<Origin>,
    pub owner: (u64, u64),
    pub mode: u32,
    pub bytes: Option<i64>,
    /// Of a secret: the build fails without it.
    pub required: bool,
    /// Of a secret: the variable that has it.
    pub variable: Option<String>,
}

/// `options` is what follows `--mount=`; `from` finds a stage or an image.
pub fn read(line: usize, options: &str, from: &mut dyn FnMut(&str) -> Result<Origin, Fault>) -> Result<Mount, Fault> {
    let flag = format!("RUN --mount={options}");
    let refused = |cause: &str, remedy: &str| Err(Fault::at(line, format!("{flag} {cause}")).remedy(remedy));
    let mut given = BTreeMap::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let name = match name.to_ascii_lowercase().as_str() {
            "dst" | "destination" => "target".to_owned(),
            "src" => "source".to_owned(),
            "ro" => "readonly".to_owned(),
            "rw" => "readwrite".to_owned(),
            other => other.to_owned(),
        };
        if given.insert(name.clone(), value).is_some() {
            return refused(&format!("says {name} twice"), "Say it once.");
        }
    }
    let text = |name: &str| given.get(name).copied().flatten();
    let (kind, known) = match text("type").unwrap_or("bind") {
        "bind" => (Kind::Bind, &["type", "target", "source", "from", "readwrite", "readonly"][..]),
        "cache" => (
            Kind::Cache,
            &["type", "id", "target", "source", "from", "sharing", "mode", "uid", "gid", "readonly", "readwrite"][..],
        ),
        "tmpfs" => (Kind::Tmpfs, &["type", "target", "size"][..]),
        "secret" => (Kind::Secret, &["type", "id", "target", "source", "required", "mode", "uid", "gid", "env"][..]),
        "ssh" => {
            return refused(
                "is refused: there is no agent of yours here that would sign for the build",
                "Use a token of the repository as a secret: --mount=type=secret,id=… and build.secrets in app.json.",
            );
        }
        _ => return refused("is of an unknown type", "There are bind, cache, secret and tmpfs."),
    };
    if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
        return refused(&format!("has the option {name}, which is not known"), "Leave the option out.");
    }
    if !matches!(text("sharing"), None | Some("shared" | "private" | "locked")) {
        return refused("has an unknown sharing", "There are shared, private and locked.");
    }
    let number = |name: &str, radix: u32, most: u64| match text(name) {
        None => Ok(None),
        Some(value) => match u64::from_str_radix(value, radix) {
            Ok(value) if value <= most => Ok(Some(value)),
            _ => Err(Fault::at(line, format!("{flag}: {name} is no such number"))),
        },
    };
    let owner = |name: &str| Ok::<_, Fault>(number(name, 10, 0x1f_ffff)?.unwrap_or_default());
    let usual = if kind == Kind::Secret { 0o400 } else { 0o755 };
    let bytes = text("size").map(size).map(|size| size.ok_or_else(|| Fault::at(line, format!("{flag}: what size?"))));
    // A secret's source names it on the machine where others build; here its id does.
    let id = text("id").or(if kind == Kind::Secret { text("source").or(text("target")) } else { None });
    let from = match text("from") {
        Some(named) => Some(from(named)?),
        None if kind == Kind::Bind => Some(Origin::Context),
        None => None,
    };
    let required = given.contains_key("required") && !matches!(text("required"), Some("false" | "0"));
    let mount = Mount {
        kind,
        id: id.map(|id| id.rsplit('/').next().unwrap_or(id)).unwrap_or_default().to_owned(),
        target: text("target").unwrap_or_default().to_owned(),
        source: text("source").unwrap_or_default().to_owned(),
        from,
        owner: (owner("uid")?, owner("gid")?),
        mode: u32::try_from(number("mode", 8, 0o7777)?.unwrap_or(usual)).unwrap_or(0o755),
        bytes: bytes.transpose()?,
        required,
        variable: text("env").map(str::to_owned),
    };
    if kind == Kind::Secret && !is_secret_id(&mount.id) {
        return refused("has no id that could be a secret's", "Write id=NAME, of letters, digits, -, _ and .");
    }
    if kind != Kind::Secret && mount.target.is_empty() {
        return refused("has no target", "Write target=PATH.");
    }
    let well = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if mount.variable.as_deref().is_some_and(|name| !well(name)) {
        return refused("names no variable", "Write env=NAME.");
    }
    Ok(mount)
}

impl Mount {
    /// Where it is mounted, as an absolute path.
    pub fn place(&self, values: &BTreeMap<String, String>, escape: char, directory: &str) -> Result<String, String> {
        if self.kind == Kind::Secret && self.target.is_empty() {
            return Ok(format!("{SECRETS}/{}", self.id));
        }
        let target = parse::expand(&self.target, values, escape);
        let whole = if target.starts_with('/') { target } else { format!("{directory}/{target}") };
        let path = clean(&whole).ok_or("leads out of every directory")?;
        let below = |top: &str| path == top || path.starts_with(&format!("{top}/"));
        let shm = self.kind == Kind::Tmpfs && path == "/dev/shm";
        if path == "/" || ["/proc", "/sys", "/dev"].into_iter().any(below) && !shm {
            return Err(format!("{path} is no place to mount anything at"));
        }
        if self.kind != Kind::Secret && below(SECRETS) {
            return Err(format!("{path} is where secrets are"));
        }
        Ok(path)
    }

    /// The path of what is mounted, from the top of where it comes from, without a slash before it.
    pub fn path(&self, values: &BTreeMap<String, String>, escape: char) -> Result<String, String> {
        let source = parse::expand(&self.source, values, escape);
        if source.contains(['*', '?', '[', '\\', '$', '"']) {
            return Err("source is one path, without patterns".into());
        }
        let path = clean(&format!("/{source}")).ok_or("source leads out of where it is taken from")?;
        Ok(path[1..].to_owned())
    }

    /// By what name the app's cache is kept.
    pub fn cache_id(&self, values: &BTreeMap<String, String>, escape: char, place: &str) -> String {
        if self.id.is_empty() { place.to_owned() } else { parse::expand(&self.id, values, escape) }
    }
}

/// An absolute path without `.`, `..` and doubled slashes; none where it leads above the top.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part if part.contains(['\0', '\n', ',']) => return None,
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// `100m`, `2GiB`, `4096`.
fn size(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let text = text.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<i64>().ok()?.checked_mul(1 << shift)?;
    (1..=MOST_TMPFS).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(options: &str) -> Result<Mount, Fault> {
        read(1, options, &mut |name| Ok(Origin::Image(name.to_owned())))
    }

    #[test]
    fn options_are_read_by_all_their_names() {
        let values = BTreeMap::from([("V".to_owned(), "3".to_owned())]);
        let cache = mount("type=cache,dst=/root/.cache/$V,id=pip-${V},sharing=locked,uid=1000,mode=0700").unwrap();
        assert_eq!(cache.place(&values, '\\', "/").unwrap(), "/root/.cache/3");
        assert_eq!((cache.cache_id(&values, '\\', "x").as_str(), cache.owner, cache.mode), ("pip-3", (1000, 0), 0o700));
        let bind = mount("src=./go.sum,target=go.sum,ro").unwrap();
        assert_eq!((bind.from.clone(), bind.path(&values, '\\').unwrap().as_str()), (Some(Origin::Context), "go.sum"));
        assert_eq!(bind.place(&values, '\\', "/src").unwrap(), "/src/go.sum");
        assert_eq!(mount("target=.").unwrap().path(&values, '\\').unwrap(), "");
        let secret = mount("type=secret,id=npm,required,env=NPM").unwrap();
        assert!(secret.required && secret.variable.as_deref() == Some("NPM"));
        assert_eq!(secret.place(&values, '\\', "/").unwrap(), "/run/secrets/npm");
        assert_eq!(mount("type=tmpfs,target=/x,size=2GiB").unwrap().bytes, Some(2 << 30));
    }

    #[test]
    fn hostile_options_mount_nothing() {
        for options in [
            "type=ssh",
            "type=devices,target=/x",
            "type=bind",
            "type=cache",
            "type=secret",
            "type=secret,id=../../etc/shadow.",
            "type=secret,id=.,target=/x",
            "type=secret,id=a,env=A=B",
            "type=cache,target=/x,sharing=all",
            "type=cache,target=/x,uid=-1",
            "type=cache,target=/x,mode=99999",
            "type=bind,target=/x,propagation=shared",
            "type=bind,target=/x,target=/y",
            "type=tmpfs,target=/x,size=-1",
            "type=tmpfs,target=/x,size=99999999999999999999",
        ] {
            // The last part of a path may be a name.
            let judged = mount(options);
            if options.contains("shadow") {
                assert_eq!(judged.unwrap().id, "shadow.");
                continue;
            }
            assert!(judged.is_err(), "{options}");
        }
        let none = BTreeMap::new();
        for target in ["/", "/..", "/a/../..", "/proc/1", "/sys", "/dev/../dev/kmsg", "/run/secrets", "/a,b", ".."] {
            let bound = mount(&format!("type=bind,target={target}"));
            assert!(bound.is_err() || bound.is_ok_and(|m| m.place(&none, '\\', "/").is_err()), "{target}");
        }
        for source in ["../x", "/../etc", "a/*", "a/../../b"] {
            assert!(mount(&format!("source={source},target=/x")).unwrap().path(&none, '\\').is_err(), "{source}");
        }
    }
}
