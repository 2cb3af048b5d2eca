//! The rules of the house, each a function from sources to violations.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::source::{self, Kind, Source, Target, module_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    Bands,
    MachineryRooms,
    ProductOrder,
    EngineCallers,
    EdgeImports,
    EdgeReach,
    PureBase,
    PurePlan,
    CrateOwners,
    Processes,
    Shells,
    Sizes,
    HeadDocs,
    Words,
    RegistryNames,
    Migrations,
}

impl Rule {
    pub const ALL: [Self; 16] = [
        Self::Bands,
        Self::MachineryRooms,
        Self::ProductOrder,
        Self::EngineCallers,
        Self::EdgeImports,
        Self::EdgeReach,
        Self::PureBase,
        Self::PurePlan,
        Self::CrateOwners,
        Self::Processes,
        Self::Shells,
        Self::Sizes,
        Self::HeadDocs,
        Self::Words,
        Self::RegistryNames,
        Self::Migrations,
    ];
}

#[derive(Debug)]
pub struct Violation {
    pub rule: Rule,
    pub path: String,
    pub line: usize,
    pub text: String,
}

/// Reading order; a room may import only the rooms before it. Routing stands before apps: making, renaming and
/// destroying an app claims and frees its host.
const PRODUCT: [&str; 13] = [
    "accounts", "routing", "apps", "images", "builds", "addons", "servers", "sites", "plans", "converge", "deploy",
    "insight", "disk",
];

/// What edges may import beside base, product and themselves.
const EDGE_EXCEPTIONS: [(&str, &[&str]); 10] = [
    ("git", &["machinery", "git"]),
    ("git", &["edges", "credentials"]),
    ("ssh", &["machinery", "git"]),
    ("ssh", &["edges", "git"]),
    ("registry", &["edges", "credentials"]),
    ("registry", &["machinery", "image"]),
    ("client", &["edges", "api", "types"]),
    ("cli", &["edges", "client"]),
    ("cli", &["edges", "api", "types"]),
    ("cli", &["daemon"]),
];

/// Product rooms that may name the room of a machine; who is not listed asks one of them.
const ENGINE_CALLERS: [&str; 7] = ["builds", "addons", "servers", "converge", "deploy", "insight", "disk"];
const PROVIDER_CALLERS: [&str; 1] = ["servers"];

const OWNERS: [(&str, &[&str]); 23] = [
    ("sqlx", &["src/state/store"]),
    ("bollard", &["src/machinery/runtime"]),
    ("russh", &["src/edges/ssh", "src/machinery/remote"]),
    ("gix", &["src/machinery/git"]),
    ("gix_pack", &["src/machinery/git"]),
    ("gix_packetline", &["src/machinery/git"]),
    ("oci_spec", &["src/machinery/image"]),
    // An uploaded archive is read entry by entry into git objects, and never to a file of its own.
    ("tar", &["src/machinery/image", "src/machinery/git/import"]),
    (
        "flate2",
        &[
            "src/machinery/image",
            "src/machinery/git/import",
            "src/machinery/git/stateless",
            "src/machinery/proxy/compression",
        ],
    ),
    ("zstd", &["src/machinery/image", "src/machinery/proxy/compression"]),
    ("brotli", &["src/machinery/proxy/compression"]),
    ("zip", &["src/machinery/git/import"]),
    // The API takes over a connection that becomes one of a command's streams.
    ("hyper", &["src/machinery/proxy", "src/machinery/runtime", "src/edges/api/attach"]),
    ("hyper_util", &["src/machinery/proxy", "src/machinery/runtime", "src/edges/api/attach"]),
    ("h2", &["src/machinery/proxy"]),
    ("socket2", &["src/machinery/proxy"]),
    ("rustls", &["src/machinery/proxy", "src/machinery/certs", "src/machinery/outbound", "src/daemon"]),
    ("rcgen", &["src/machinery/certs"]),
    ("instant_acme", &["src/machinery/certs"]),
    ("x509_parser", &["src/machinery/certs"]),
    (
        "axum",
        &[
            "src/edges/registry",
            "src/edges/git",
            "src/edges/credentials",
            "src/edges/api",
            "src/edges/web",
            "src/edges/client",
            "src/daemon",
        ],
    ),
    ("clap", &["src/edges/cli"]),
    ("anyhow", &["src/main", "src/edges/cli", "src/daemon"]),
];

/// The places that start a process, and always with an argument vector.
const PROCESSES: [&str; 2] = ["src/machinery/image/bootstrap.rs", "src/machinery/handover.rs"];

/// The places that may name a shell: what they write runs in a tenant's container only.
const SHELLS: [&str; 4] = [
    // A line of app.json or of a person, which is a shell's text like a line of the Procfile.
    "src/product/deploy/commands/words.rs",
    // Processes of buildpacks of API 0.8 are a shell's lines by specification: they become commands of the app's image.
    "src/product/builds/launch.rs",
    // A constant script that finds the processes of a command inside its replica: the engine cannot signal them.
    "src/machinery/runtime/docker/enter.rs",
    // A RUN of a Dockerfile is a shell's text by the format's definition, run in a container of its own image.
    "src/machinery/runtime/docker/recipe_run.rs",
];

/// No type of the product may bear them: three things claim each.
const BANNED: [&str; 8] = ["Service", "Instance", "Container", "Manager", "Helper", "Util", "Data", "Info"];

pub const LONGEST: usize = 700;

/// `files` are the tracked files with their texts; those that are not UTF-8 are left out by the caller.
pub fn check(files: &[(String, String)]) -> Vec<Violation> {
    let sources: Vec<Source> = files
        .iter()
        .filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs"))
        .map(|(path, text)| source::read(path, text))
        .collect();
    let tests: HashSet<&str> = sources.iter().flat_map(|s| s.test_modules.iter().map(String::as_str)).collect();
    let mut out = Vec::new();
    for source in sources.iter().filter(|s| !tests.contains(s.path.as_str()) && !below_tests(&s.path, &tests)) {
        imports(source, &mut out);
        purity(source, &mut out);
        owners(source, &mut out);
        processes(source, &mut out);
        shells(source, &mut out);
        words(source, &mut out);
        if source.lines > LONGEST {
            let text = format!("{} lines; {LONGEST} is the stop: split it", source.lines);
            out.push(violation(Rule::Sizes, source, source.lines, text));
        }
    }
    head_docs(files, &mut out);
    registry_names(files, &mut out);
    migrations(files, &mut out);
    out
}

/// Files in the directory of a test module (`x/tests/…` of `x/tests.rs`).
fn below_tests(path: &str, tests: &HashSet<&str>) -> bool {
    tests.iter().any(|t| t.strip_suffix(".rs").is_some_and(|dir| path.starts_with(&format!("{dir}/"))))
}

fn violation(rule: Rule, source: &Source, line: usize, text: String) -> Violation {
    Violation { rule, path: source.path.clone(), line, text }
}

fn imports(source: &Source, out: &mut Vec<Violation>) {
    let module = module_of(&source.path);
    let Some(band) = module.first().map(String::as_str) else { return };
    let room = module.get(1).map_or("", String::as_str);
    if band == "product" && !room.is_empty() && !PRODUCT.contains(&room) {
        out.push(violation(Rule::ProductOrder, source, 1, format!("product room {room} has no place in the order")));
    }
    for reference in &source.references {
        let Target::Own(path) = &reference.target else { continue };
        let Some(to_band) = path.first().map(String::as_str) else { continue };
        let to_room = path.get(1).map_or("", String::as_str);
        let same_room = to_band == band && (to_room == room || room.is_empty());
        let rule = match (band, to_band) {
            ("daemon", _) => None,
            ("base" | "state" | "machinery" | "product" | "edges", "base") => None,
            ("state", "state") => None,
            ("machinery", "machinery") => {
                (!same_room && (room, to_room) != ("runtime", "remote")).then_some(Rule::MachineryRooms)
            }
            ("product", "state") => None,
            ("product", "machinery") => match to_room {
                "runtime" if !room.is_empty() && !ENGINE_CALLERS.contains(&room) => Some(Rule::EngineCallers),
                "cloud" if !PROVIDER_CALLERS.contains(&room) => Some(Rule::EngineCallers),
                _ => None,
            },
            ("product", "product") => {
                let place = |name: &str| PRODUCT.iter().position(|r| *r == name);
                match (place(room), place(to_room)) {
                    (Some(from), Some(to)) if to > from => Some(Rule::ProductOrder),
                    _ => None,
                }
            }
            ("edges", "product") => None,
            ("edges", "edges") if same_room => None,
            ("edges", _) => {
                let allowed = EDGE_EXCEPTIONS.iter().any(|(edge, prefix)| {
                    *edge == room && prefix.len() <= path.len() && prefix.iter().zip(path).all(|(a, b)| a == b)
                });
                (!allowed).then_some(Rule::EdgeImports)
            }
            _ => Some(Rule::Bands),
        };
        if let Some(rule) = rule {
            let text = format!("imports crate::{}", path.join("::"));
            out.push(violation(rule, source, reference.line, text));
        }
        // A glob of a band would carry every room behind the checker's back.
        if reference.glob && path.len() == 2 && path[1] == "*" && to_band != band {
            let text = format!("imports all of crate::{to_band}: name the rooms");
            out.push(violation(Rule::Bands, source, reference.line, text));
        }
    }
    if band == "edges" {
        for t in source.tokens.windows(3) {
            if t[0].is("ctx") && t[1].mark('.') && (t[2].is("store") || t[2].is("queue")) {
                let text = "reaches through the context for the store or the queue: call a verb".to_owned();
                out.push(violation(Rule::EdgeReach, source, t[2].line, text));
            }
        }
    }
}

fn purity(source: &Source, out: &mut Vec<Violation>) {
    let is_plan = source.path.ends_with("/plan.rs");
    let rule = match (is_plan, source.path.starts_with("src/base/")) {
        (true, _) => Rule::PurePlan,
        (_, true) => Rule::PureBase,
        _ => return,
    };
    for (i, token) in source.tokens.iter().enumerate() {
        let calls = source.tokens.get(i + 1).is_some_and(|t| t.mark('('));
        if token.is("async") || token.is("await") || (is_plan && token.is("now") && calls) {
            let text = format!("{:?} in pure code", token.word().unwrap_or_default());
            out.push(violation(rule, source, token.line, text));
        }
    }
    const SIDE_EFFECTS: [&str; 12] = [
        "tokio",
        "reqwest",
        "rand",
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "std::net::TcpListener",
        "std::net::TcpStream",
        "std::net::UdpSocket",
        "std::os",
    ];
    const CLOCKS: [&str; 3] = ["std::time::Instant", "std::time::SystemTime", "jiff::Timestamp::now"];
    for reference in &source.references {
        let path = match &reference.target {
            Target::Foreign(path) => path.join("::"),
            Target::Own(path) => {
                let own = path.join("::");
                let impure = is_plan && (own.starts_with("state::") || own.starts_with("base::clock::Clock"));
                if impure {
                    out.push(violation(
                        rule,
                        source,
                        reference.line,
                        format!("uses crate::{own}: take what it gives as an argument"),
                    ));
                }
                continue;
            }
        };
        let starts = |p: &&str| path == **p || path.starts_with(&format!("{p}::"));
        if SIDE_EFFECTS.iter().any(starts) || (is_plan && CLOCKS.iter().any(starts)) {
            out.push(violation(rule, source, reference.line, format!("uses {path} in pure code")));
        }
    }
}

fn within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/') || rest.starts_with(".rs"))
}

fn owners(source: &Source, out: &mut Vec<Violation>) {
    for reference in &source.references {
        let Target::Foreign(path) = &reference.target else { continue };
        let Some((name, places)) = OWNERS.iter().find(|(name, _)| path[0] == *name) else { continue };
        if !places.iter().any(|place| within(&source.path, place)) {
            let text = format!("uses {}: {name} belongs to {}", path.join("::"), places.join(", "));
            out.push(violation(Rule::CrateOwners, source, reference.line, text));
        }
    }
}

fn processes(source: &Source, out: &mut Vec<Violation>) {
    if PROCESSES.contains(&source.path.as_str()) {
        return;
    }
    for reference in &source.references {
        let Target::Foreign(path) = &reference.target else { continue };
        let path = path.join("::");
        if ["std::process::Command", "tokio::process"].iter().any(|p| path.starts_with(p)) || path == "std::process::*"
        {
            let text = format!("{path}: processes start in {} only", PROCESSES.join(", "));
            out.push(violation(Rule::Processes, source, reference.line, text));
        }
    }
}

fn shells(source: &Source, out: &mut Vec<Violation>) {
    if SHELLS.contains(&source.path.as_str()) {
        return;
    }
    for token in &source.tokens {
        let Kind::Text(text) = &token.kind else { continue };
        let names_one = matches!(text.as_str(), "sh" | "bash" | "dash" | "/bin/sh" | "/bin/bash" | "/usr/bin/env bash")
            || text.contains("sh -c")
            || text.starts_with("#!/bin/sh")
            || text.starts_with("#!/bin/bash");
        if names_one {
            out.push(violation(Rule::Shells, source, token.line, format!("{text:?} names a shell")));
        }
    }
}

fn words(source: &Source, out: &mut Vec<Violation>) {
    if !source.path.starts_with("src/product/") {
        return;
    }
    for pair in source.tokens.windows(2) {
        let defines = ["struct", "enum", "trait", "type"].iter().any(|k| pair[0].is(k));
        let Some(name) = pair[1].word().filter(|_| defines) else { continue };
        if let Some(word) = camel(name).into_iter().find(|w| BANNED.contains(&w.as_str())) {
            out.push(violation(Rule::Words, source, pair[1].line, format!("{name}: the word {word} is banned here")));
        }
    }
}

fn camel(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        if c.is_uppercase() || words.is_empty() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words
}

fn head_docs(files: &[(String, String)], out: &mut Vec<Violation>) {
    for (path, text) in files {
        let is_module = path.ends_with(".rs") && (path.starts_with("src/") || path.starts_with("tests/it/"));
        // The tests beside a module are part of it.
        if !is_module || path.ends_with("/tests.rs") || path.contains("/tests/") && path.starts_with("src/") {
            continue;
        }
        let first = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
        if !first.starts_with("//!") && !first.starts_with("#![doc") {
            let text = "no head that says what the module is".to_owned();
            out.push(Violation { rule: Rule::HeadDocs, path: path.clone(), line: 1, text });
        }
    }
}

/// Hosts of package registries, in halves so that this file passes its own rule.
const HOSTS: [(&str, &str); 16] = [
    ("registry.npm", "js.org"),
    ("registry.yarn", "pkg.com"),
    ("py", "pi.org"),
    ("pythonho", "sted.org"),
    ("deb.deb", "ian.org"),
    ("security.deb", "ian.org"),
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("registry-1.dock", "er.io"),
    ("index.dock", "er.io"),
    ("ghc", "r.io"),
    ("qua", "y.io"),
    ("rubyg", "ems.org"),
    ("proxy.gol", "ang.org"),
    ("repo.maven.apa", "che.org"),
    ("packa", "gist.org"),
];

fn registry_names(files: &[(String, String)], out: &mut Vec<Violation>) {
    for (path, text) in files.iter().filter(|(path, _)| path != "Cargo.lock") {
        for (number, line) in text.lines().enumerate() {
            if let Some((a, b)) = HOSTS.iter().find(|(a, b)| line.contains(&format!("{a}{b}"))) {
                let text = format!("names the registry {a}{b}: leave it to the client's own configuration");
                out.push(Violation { rule: Rule::RegistryNames, path: path.clone(), line: number + 1, text });
            }
        }
    }
}

fn migrations(files: &[(String, String)], out: &mut Vec<Violation>) {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::from([("sqlite", [].into()), ("postgres", [].into())]);
    for (path, _) in files {
        let Some((engine, name)) = path.strip_prefix("migrations/").and_then(|p| p.split_once('/')) else { continue };
        let number = name.split_once('_').map_or("", |(number, _)| number);
        let well = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()) && name.ends_with(".sql");
        match names.get_mut(engine) {
            Some(set) if well => {
                set.insert(name);
            }
            _ => {
                let text = "is not migrations/{sqlite,postgres}/NNNN_<what>.sql".to_owned();
                out.push(Violation { rule: Rule::Migrations, path: path.clone(), line: 1, text });
            }
        }
    }
    for name in names["sqlite"].symmetric_difference(&names["postgres"]) {
        let text = format!("{name} exists for one database only");
        out.push(Violation { rule: Rule::Migrations, path: "migrations".into(), line: 1, text });
    }
}
