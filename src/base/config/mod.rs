//! Configuration: one struct per section with defaults and `validate`. A TOML file first, then
//! `HYTHE_<SECTION>_<KEY>` from an injectable source; every fault is reported, not only the first.

mod acme;
mod build;
mod certs;
mod data;
mod disk;
mod domains;
mod git;
mod http;
mod logs;
mod outbound;
mod registry;
mod runtime;

use std::path::Path;

use serde::Deserialize;

pub use acme::{Acme, ChallengeChoice, DnsChoice, KeyType};
pub use build::Build;
pub use certs::{Certs, IssuerChoice};
pub use data::Data;
pub use disk::Disk;
pub use domains::Domains;
pub use git::Git;
pub use http::Http;
pub use logs::Logs;
pub use outbound::Outbound;
pub use registry::Registry;
pub use runtime::{Runtime, Size, USUAL};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub data: Data,
    pub http: Http,
    pub git: Git,
    pub build: Build,
    pub runtime: Runtime,
    pub logs: Logs,
    pub disk: Disk,
    pub domains: Domains,
    pub certs: Certs,
    pub acme: Acme,
    pub outbound: Outbound,
    pub registry: Registry,
}

/// All that is wrong, one line per fault: section, key, cause.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// The address of a host behind the proxy, as people open it. With TLS where every host gets a certificate by itself:
    /// plain requests are sent on to it.
    pub fn url(&self, host: &str) -> String {
        let Http { proxy_listen, tls_listen, public_port, public_tls_port, .. } = &self.http;
        let secure = tls_listen.filter(|_| self.certs.issuer == IssuerChoice::Acme);
        let (scheme, usual, port) = match secure {
            Some(tls) => ("https", 443, public_tls_port.unwrap_or(tls.port())),
            None => ("http", 80, public_port.unwrap_or(proxy_listen.port())),
        };
        if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
    }

    /// `file` is the text of the TOML file, if there is one; `variable` looks a variable up.
    pub fn load(file: Option<(&Path, &str)>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut table = match file {
            Some((path, text)) => {
                text.parse::<toml::Table>().map_err(|e| ConfigError(vec![format!("{}: {e}", path.display())]))?
            }
            None => toml::Table::new(),
        };
        overlay(&mut table, variable);
        let config: Self = table.try_into().map_err(|e: toml::de::Error| ConfigError(vec![e.to_string()]))?;
        let mut faults = Vec::new();
        config.data.validate(&mut faults);
        config.http.validate(&mut faults);
        config.git.validate(&mut faults);
        config.build.validate(&mut faults);
        config.runtime.validate(&mut faults);
        config.logs.validate(&mut faults);
        config.disk.validate(&mut faults);
        config.registry.validate(&mut faults);
        config.acme.validate(config.certs.issuer == IssuerChoice::Acme, &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigError(faults)) }
    }
}

/// Every key that can be set, as `(section, key, is_text)`; the overlay and the documentation read it.
pub const KEYS: &[(&str, &str, bool)] = &[
    ("data", "dir", true),
    ("data", "database_url", true),
    ("http", "proxy_listen", true),
    ("http", "api_listen", true),
    ("http", "tls_listen", true),
    ("http", "base_domain", true),
    ("http", "public_port", false),
    ("http", "public_tls_port", false),
    ("http", "balancers", false),
    ("git", "listen", true),
    ("git", "public_host", true),
    ("git", "create_on_push", false),
    ("git", "max_pack_bytes", false),
    ("git", "max_objects", false),
    ("git", "max_object_bytes", false),
    ("git", "max_sessions", false),
    ("git", "max_sessions_per_address", false),
    ("build", "base", true),
    ("build", "suite", true),
    ("build", "mirror", true),
    ("build", "npm_registry", true),
    ("build", "pip_index", true),
    ("build", "go_proxy", true),
    ("build", "gem_mirror", true),
    ("build", "composer_mirror", true),
    ("build", "cargo_registry", true),
    ("build", "maven_mirror", true),
    ("build", "memory_bytes", false),
    ("build", "cpu_millis", false),
    ("build", "timeout_seconds", false),
    ("build", "processes", false),
    ("build", "disk_bytes", false),
    ("build", "disk_files", false),
    ("build", "output_bytes", false),
    ("build", "at_once", false),
    ("runtime", "engine", true),
    ("runtime", "prefix", true),
    ("runtime", "memory_bytes", false),
    ("runtime", "cpu_millis", false),
    ("runtime", "pids", false),
    ("runtime", "disk_bytes", false),
    ("runtime", "volume_kept_seconds", false),
    ("runtime", "ready_seconds", false),
    ("runtime", "grace_seconds", false),
    ("runtime", "command_seconds", false),
    ("logs", "max_bytes", false),
    ("logs", "max_days", false),
    ("logs", "lines_per_second", false),
    ("logs", "access", false),
    ("disk", "reserved_bytes", false),
    ("disk", "reserved_files", false),
    ("disk", "keep_images", false),
    ("disk", "grace_seconds", false),
    ("disk", "cache_bytes", false),
    ("certs", "issuer", true),
    ("acme", "directory", true),
    ("acme", "second_directory", true),
    ("acme", "contact", true),
    ("acme", "terms_agreed", false),
    ("acme", "root_ca", true),
    ("acme", "challenges", false),
    ("acme", "key_type", true),
    ("acme", "retry_seconds", false),
    ("acme", "dns", true),
    ("acme", "dns_zone", true),
    ("acme", "dns_server", true),
    ("acme", "dns_api", true),
    ("acme", "dns_subdomain", true),
    ("acme", "dns_user", true),
    ("acme", "dns_key", true),
    ("domains", "resolver", true),
    ("domains", "check_port", false),
    ("outbound", "private", false),
    ("registry", "app_bytes", false),
    ("registry", "untagged_seconds", false),
    ("registry", "loose_seconds", false),
    ("registry", "session_seconds", false),
    ("registry", "wait_seconds", false),
];

fn overlay(table: &mut toml::Table, variable: impl Fn(&str) -> Option<String>) {
    for &(section, key, is_text) in KEYS {
        let name = format!("HYTHE_{}_{}", section.to_uppercase(), key.to_uppercase());
        let Some(text) = variable(&name) else { continue };
        let value = match text.parse::<toml::Value>() {
            Ok(value) if !is_text => value,
            _ => toml::Value::String(text),
        };
        let part = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let toml::Value::Table(part) = part {
            part.insert(key.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests;
