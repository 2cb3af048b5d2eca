//! What a build needs to reach the outside as this machine does: proxies, its bundle of certificate authorities, mirrors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::config;

/// Where the bundle lies in a sandbox; not a part of any layer.
pub(super) const BUNDLE: &str = "etc/hythe/ca-certificates.crt";

const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
/// Each tool reads another name.
const BUNDLE_NAMES: [&str; 7] = [
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NPM_CONFIG_CAFILE",
    "GIT_SSL_CAINFO",
];

#[derive(Debug, Clone, Default)]
pub(super) struct Network {
    /// For every command in a sandbox.
    pub variables: BTreeMap<String, String>,
    /// The bundle on this machine.
    pub bundle: Option<PathBuf>,
}

impl Network {
    /// `variable` looks up the platform's own environment.
    pub fn new(config: &config::Build, variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut variables = BTreeMap::new();
        for name in PROXIES {
            let upper = name.to_uppercase();
            if let Some(value) = variable(name).or_else(|| variable(&upper)).filter(|v| !v.is_empty()) {
                variables.insert(name.to_owned(), value.clone());
                // Only the lower case counts for http: a header named Proxy would set the other in a CGI program.
                if name != "http_proxy" {
                    variables.insert(upper, value);
                }
            }
        }
        let named = variable("SSL_CERT_FILE").map(PathBuf::from);
        let usual = Some(PathBuf::from("/etc/ssl/certs/ca-certificates.crt"));
        let bundle = [named, usual].into_iter().flatten().find(|path| path.is_file());
        if bundle.is_some() {
            variables.extend(BUNDLE_NAMES.map(|name| (name.to_owned(), format!("/{BUNDLE}"))));
        }
        let mirrors = [
            ("NPM_CONFIG_REGISTRY", &config.npm_registry),
            ("PIP_INDEX_URL", &config.pip_index),
            ("GOPROXY", &config.go_proxy),
            // Their tools have no variable for it: the buildpacks make it a file.
            ("HYTHE_GEM_MIRROR", &config.gem_mirror),
            ("HYTHE_COMPOSER_MIRROR", &config.composer_mirror),
            ("HYTHE_CARGO_REGISTRY", &config.cargo_registry),
            ("HYTHE_MAVEN_MIRROR", &config.maven_mirror),
        ];
        for (name, address) in mirrors {
            if let Some(address) = address {
                variables.insert(name.to_owned(), address.clone());
            }
        }
        // pip asks by http only whom it is told to trust; in the operator's own network he answers for that.
        if let Some(host) = config.pip_index.as_deref().and_then(|address| address.strip_prefix("http://")) {
            let host = host.split('/').next().unwrap_or(host).rsplit('@').next().unwrap_or(host);
            variables.insert("PIP_TRUSTED_HOST".to_owned(), host.to_owned());
        }
        Self { variables, bundle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_proxies_and_mirrors_reach_the_build() {
        let config = config::Build { npm_registry: Some("http://mirror/npm".into()), ..Default::default() };
        let network = Network::new(&config, |name| match name {
            "HTTPS_PROXY" => Some("http://proxy:3128".into()),
            "SSL_CERT_FILE" => Some("/nowhere".into()),
            _ => None,
        });
        assert_eq!(network.variables["https_proxy"], "http://proxy:3128");
        assert_eq!(network.variables["NPM_CONFIG_REGISTRY"], "http://mirror/npm");
        assert!(!network.variables.contains_key("http_proxy") && !network.variables.contains_key("PIP_TRUSTED_HOST"));
    }

    #[test]
    fn an_index_of_the_operator_s_may_be_plain() {
        let trusted = |index: &str| {
            let config = config::Build { pip_index: Some(index.into()), ..Default::default() };
            Network::new(&config, |_| None).variables.get("PIP_TRUSTED_HOST").cloned()
        };
        assert_eq!(trusted("http://me:word@mirror:3141/root/simple").as_deref(), Some("mirror:3141"));
        assert_eq!(trusted("https://mirror/simple"), None);
    }
}
