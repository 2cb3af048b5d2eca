//! One reader per kind of file. None fails: what is not understood names nothing.

use serde::Deserialize;

use super::{Ecosystem, Package};

type Reader = fn(&str, &str) -> Vec<Package>;

/// The reader of the file at `path`.
pub(super) fn of(path: &str) -> Option<Reader> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = above.rsplit('/').next().unwrap_or("");
    match name {
        "status" if above.ends_with("var/lib/dpkg") => Some(dpkg),
        _ if above.ends_with("var/lib/dpkg/status.d") => Some(dpkg),
        "package.json" if is_npm(above) => Some(npm),
        "METADATA" if parent.ends_with(".dist-info") => Some(python),
        "PKG-INFO" if parent.ends_with(".egg-info") => Some(python),
        "installed.json" if above.ends_with("vendor/composer") || above == "vendor/composer" => Some(composer),
        _ if name.ends_with(".gemspec") && parent == "specifications" => Some(gem),
        // In a layer it is of what was compiled; in a tree, of what may have been.
        "Cargo.lock" if above.starts_with("layers/") => Some(cargo),
        _ => None,
    }
}

/// `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME`.
fn is_npm(above: &str) -> bool {
    let mut parts = above.rsplit('/');
    let (_, parent) = (parts.next(), parts.next().unwrap_or(""));
    parent == "node_modules" || parent.starts_with('@') && parts.next() == Some("node_modules")
}

pub(super) fn package(ecosystem: Ecosystem, name: impl Into<String>, version: impl Into<String>) -> Package {
    let (name, version) = (shown(name), shown(version));
    Package { ecosystem, name, version, source: None, architecture: None, license: None }
}

/// No control characters, bounded.
fn shown(text: impl Into<String>) -> String {
    text.into().chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Stanzas of deb822 (deb-control(5)); only those that are installed.
fn dpkg(path: &str, text: &str) -> Vec<Package> {
    let stanza = |stanza: &str| {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
            Some(line.trim().to_owned())
        };
        let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        let mut found = package(Ecosystem::Deb, field("Package")?, field("Version")?);
        // `Source: openssl (3.0.11-1)`
        found.source = field("Source").and_then(|source| Some(shown(source.split_whitespace().next()?)));
        found.architecture = field("Architecture").map(shown);
        (installed && !path.ends_with(".md5sums")).then_some(found)
    };
    text.split("\n\n").filter_map(stanza).collect()
}

fn npm(_: &str, text: &str) -> Vec<Package> {
    #[derive(Deserialize)]
    struct Manifest {
        name: String,
        version: String,
        #[serde(default)]
        license: serde_json::Value,
    }
    let Ok(manifest) = serde_json::from_str::<Manifest>(text) else { return Vec::new() };
    let license = manifest.license.as_str().or_else(|| manifest.license.get("type")?.as_str()).map(shown);
    vec![Package { license, ..package(Ecosystem::Npm, manifest.name, manifest.version) }]
}

/// Core metadata: headers up to the first empty line.
fn python(_: &str, text: &str) -> Vec<Package> {
    let head = text.split("\n\n").next().unwrap_or("").replace('\r', "");
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty() && value != "UNKNOWN")
    };
    let (Some(name), Some(version)) = (field("Name"), field("Version")) else { return Vec::new() };
    let license = field("License-Expression").or_else(|| field("License")).map(shown);
    vec![Package { license, ..package(Ecosystem::Pypi, name, version) }]
}

/// RubyGems writes its specifications as code of one shape.
fn gem(_: &str, text: &str) -> Vec<Package> {
    let quoted = |key: &str| {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(key))?;
        let (_, rest) = line.split_once('"')?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let (Some(name), Some(version)) = (quoted("s.name ="), quoted("s.version =")) else { return Vec::new() };
    let license = quoted("s.licenses =").map(shown);
    vec![Package { license, ..package(Ecosystem::Gem, name, version) }]
}

fn composer(_: &str, text: &str) -> Vec<Package> {
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        version: String,
        #[serde(default)]
        license: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Installed {
        Second { packages: Vec<Entry> },
        First(Vec<Entry>),
    }
    let entries = match serde_json::from_str(text) {
        Ok(Installed::Second { packages } | Installed::First(packages)) => packages,
        Err(_) => return Vec::new(),
    };
    let one = |entry: Entry| {
        let license = Some(entry.license.join(" OR ")).filter(|text| !text.is_empty()).map(shown);
        let version = entry.version.strip_prefix('v').unwrap_or(&entry.version).to_owned();
        Package { license, ..package(Ecosystem::Composer, entry.name, version) }
    };
    entries.into_iter().map(one).collect()
}

/// Cargo.lock; what has no source is the app's own.
fn cargo(_: &str, text: &str) -> Vec<Package> {
    let crates = text.split("[[package]]").skip(1).map(|stanza| {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            line.strip_suffix('"')
        };
        field("source")?;
        Some(package(Ecosystem::Cargo, field("name")?, field("version")?))
    });
    crates.flatten().collect()
}
