//! The machine that a verb is typed on.

use std::path::{Path, PathBuf};

use super::failure::{Failure, Result};
use super::remote::{self, Address};
use super::settings::Settings;
use crate::base::secret::Secret;
use crate::edges::client::Transport;

/// Where the API of a server with embedded defaults listens.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8081";

pub(super) struct Near {
    pub(super) folder: PathBuf,
    pub(super) home: Option<PathBuf>,
    pub(super) settings_file: PathBuf,
    pub(super) settings: Settings,
    url: Option<String>,
    pub(super) token: Option<String>,
}

impl Near {
    pub(super) fn look() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let home = set("HOME").map(PathBuf::from);
        let kept = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(".config")));
        let settings_file = kept.unwrap_or_else(|| PathBuf::from(".")).join("hythe/config.toml");
        Ok(Self {
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            home,
            settings: Settings::load(&settings_file)?,
            settings_file,
            url: set("HYTHE_URL"),
            token: set("HYTHE_TOKEN"),
        })
    }

    pub(super) fn url(&self) -> String {
        let url = self.url.clone().or_else(|| self.settings.url.clone()).unwrap_or_else(|| DEFAULT_URL.to_owned());
        url.trim_end_matches('/').to_owned()
    }

    /// A token that was kept goes only to the server it was kept for.
    pub(super) fn transport(&self) -> Result<Transport> {
        let kept = self.settings.token.clone().filter(|_| self.settings.url.as_deref() == Some(self.url().as_str()));
        let token = self.token.clone().or(kept).map(Secret::new);
        Ok(Transport::http(&self.url(), token)?)
    }

    /// The app that this folder's git remote pushes to.
    pub(super) fn app_of_folder(&self) -> Option<String> {
        let config = remote::config_file(&self.folder)?;
        let text = std::fs::read_to_string(config).ok()?;
        let remotes = remote::remotes(&text);
        let addresses = || remotes.iter().filter_map(|(name, url)| Some((name, Address::parse(url)?)));
        if let Some((_, address)) = addresses().find(|(name, _)| *name == "hythe") {
            return Some(address.app);
        }
        // Over SSH, and over HTTP.
        let hosts = [self.settings.git_host.clone(), host_of(&self.url())];
        let is_ours = |address: &Address| hosts.iter().flatten().any(|host| *host == address.host);
        let mut ours: Vec<String> = addresses().filter(|(_, a)| is_ours(a)).map(|(_, a)| a.app).collect();
        ours.sort();
        ours.dedup();
        if ours.len() == 1 { ours.pop() } else { None }
    }
}

fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    Some(host.trim_matches(['[', ']']).to_owned())
}

/// The text of a file that holds a public key. A private one is not even sent.
pub(super) fn public_key(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{} cannot be read: {error}", path.display())))?;
    checked(text, &path.display().to_string())
}

pub(super) fn checked(text: String, from: &str) -> Result<String> {
    if text.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!(
            "{from} holds a private key: keep it to yourself and give the file that ends in .pub"
        )));
    }
    Ok(text.trim().to_owned())
}
