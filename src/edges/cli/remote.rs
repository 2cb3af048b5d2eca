//! Git remotes: read from and written to a repository's own configuration file (git-config(1)),
//! without git.

use std::path::{Path, PathBuf};

/// `ssh://git@HOST:PORT/[ORG/]APP.git`, `git@HOST:[ORG/]APP`, `https://HOST/[ORG/]APP.git`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) app: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Option<Self> {
        let schemes = ["ssh://", "https://", "http://"];
        let (authority, path) = match schemes.into_iter().find_map(|scheme| url.strip_prefix(scheme)) {
            Some(rest) => rest.split_once('/')?,
            // scp-like; `C:\x` and `file://…` are something else.
            None if !url.contains("://") => url.split_once(':')?,
            None => return None,
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.split_once(']')?.0,
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        let app = path.trim_matches('/');
        let app = app.strip_suffix(".git").unwrap_or(app);
        (!host.is_empty() && !app.is_empty()).then(|| Self { host: host.to_owned(), app: app.to_owned() })
    }
}

/// The configuration of the repository that `folder` is in.
pub(super) fn config_file(folder: &Path) -> Option<PathBuf> {
    let dot = folder.ancestors().map(|above| above.join(".git")).find(|dot| dot.exists())?;
    if dot.is_dir() {
        return Some(dot.join("config"));
    }
    // A worktree or a submodule: a file with the way to its part of the repository (gitrepository-layout(5)).
    let text = std::fs::read_to_string(&dot).ok()?;
    let part = dot.parent()?.join(text.trim().strip_prefix("gitdir:")?.trim());
    match std::fs::read_to_string(part.join("commondir")) {
        Ok(common) => Some(part.join(common.trim()).join("config")),
        Err(_) => Some(part.join("config")),
    }
}

/// Name and address of each remote.
pub(super) fn remotes(config: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut current = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            current = section(line).map(str::to_owned);
        } else if let (Some(name), Some(url)) = (&current, value(line, "url")) {
            all.push((name.clone(), url));
        }
    }
    all
}

/// The configuration with `name` pushing to `url`. None: it does so already.
pub(super) fn with_remote(config: &str, name: &str, url: &str) -> Option<String> {
    if remotes(config).iter().any(|(n, u)| n == name && u == url) {
        return None;
    }
    let mut lines: Vec<String> = Vec::new();
    let (mut inside, mut written) = (false, false);
    for line in config.lines() {
        let bare = line.trim();
        if bare.starts_with('[') {
            inside = section(bare) == Some(name);
        }
        if inside && value(bare, "url").is_some() {
            if !written {
                lines.push(format!("\turl = {url}"));
            }
            written = true;
            continue;
        }
        lines.push(line.to_owned());
    }
    if !written {
        lines.push(format!("[remote \"{name}\"]"));
        lines.push(format!("\turl = {url}"));
        lines.push(format!("\tfetch = +refs/heads/*:refs/remotes/{name}/*"));
    }
    Some(lines.join("\n") + "\n")
}

/// The name in `[remote "name"]`.
fn section(line: &str) -> Option<&str> {
    line.strip_prefix("[remote \"")?.split_once("\"]").map(|(name, _)| name)
}

fn value(line: &str, key: &str) -> Option<String> {
    let (found, value) = line.split_once('=')?;
    (found.trim().eq_ignore_ascii_case(key)).then(|| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@example.com:team/site.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n";

    #[test]
    fn addresses_in_each_form() {
        for (url, host, app) in [
            ("ssh://git@localhost:2222/shop.git", "localhost", "shop"),
            ("ssh://git@[::1]:2222/acme/shop.git", "::1", "acme/shop"),
            ("git@example.com:shop", "example.com", "shop"),
            ("example.com:/shop.git/", "example.com", "shop"),
            ("https://api.example.com/acme/shop.git", "api.example.com", "acme/shop"),
            ("http://me:secret@api.localhost:8080/shop", "api.localhost", "shop"),
        ] {
            assert_eq!(Address::parse(url), Some(Address { host: host.into(), app: app.into() }), "{url}");
        }
        for url in ["file:///srv/shop.git", "/srv/shop.git", "ssh://git@host", "ext::sh -c id", ""] {
            assert!(Address::parse(url).is_none_or(|a| a.host == "ext"), "{url}");
        }
    }

    #[test]
    fn a_remote_is_added_once_and_changed_in_place() {
        let added = with_remote(CONFIG, "hythe", "ssh://git@h/shop.git").expect("a change");
        assert!(added.starts_with(CONFIG));
        assert_eq!(remotes(&added).len(), 2);
        assert_eq!(with_remote(&added, "hythe", "ssh://git@h/shop.git"), None);
        let changed = with_remote(&added, "hythe", "ssh://git@h/other.git").expect("a change");
        assert_eq!(remotes(&changed)[1], ("hythe".into(), "ssh://git@h/other.git".into()));
        assert_eq!(changed.lines().count(), added.lines().count());
    }

    #[test]
    fn the_configuration_is_found_from_below_and_from_a_worktree() {
        let root = tempfile::tempdir().expect("folder");
        let (main, tree) = (root.path().join("main"), root.path().join("tree"));
        for folder in [main.join(".git/worktrees/tree"), main.join("a/b"), tree.clone()] {
            std::fs::create_dir_all(folder).expect("folder");
        }
        std::fs::write(main.join(".git/config"), CONFIG).expect("file");
        std::fs::write(main.join(".git/worktrees/tree/commondir"), "../..\n").expect("file");
        std::fs::write(tree.join(".git"), "gitdir: ../main/.git/worktrees/tree\n").expect("file");
        for folder in [main.join("a/b"), tree] {
            let found = config_file(&folder).expect("a repository");
            assert_eq!(std::fs::read_to_string(found).expect("its configuration"), CONFIG);
        }
    }
}
