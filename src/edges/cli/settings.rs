//! What the client keeps: `$XDG_CONFIG_HOME/hythe/config.toml`, for its owner only.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Failure, failure::Result};

#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    /// Address of the server's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// Where that server takes pushes: how git remotes of its apps are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) git_host: Option<String>,
}

impl Settings {
    /// A file that is not there is an empty one.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", path.display()))),
        };
        // toml's own text quotes the line, and on a line may be the token.
        toml::from_str(&text).map_err(|e| {
            let at = e.span().map_or(0, |span| text[..span.start].lines().count());
            Failure::new(format!("{} is damaged at line {at}; log in again after removing it", path.display()))
        })
    }

    /// Whole or not at all.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let failed = |e: std::io::Error| Failure::new(format!("{} cannot be written: {e}", path.display()));
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let text = toml::to_string(self).map_err(|e| Failure::new(e.to_string()))?;
        let fresh = folder.join(format!(".config.toml.{}", std::process::id()));
        let _ = std::fs::remove_file(&fresh);
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&fresh, path).map_err(failed)
    }
}
