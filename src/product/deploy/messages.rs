//! What a pusher reads from the deploy steps. Every text for people in this room is here.

use std::collections::BTreeMap;

use crate::base::model::{AppName, ContentDigest, Host, ImageDigest, ProcessName, Release, TagName, VariableName};

pub fn heading(text: &str, millis: i64) -> String {
    if millis > 500 { format!("-----> {text} … {:.1}s", millis as f64 / 1000.0) } else { format!("-----> {text}") }
}

pub fn body(text: &str) -> String {
    format!("       {text}")
}

pub fn problem(text: &str) -> String {
    format!(" !     {text}")
}

pub fn image(digest: &ImageDigest, layers: usize, new: usize, bytes: u64) -> String {
    let mut text = format!("Image sha256:{}… {layers} layers", digest.short());
    match new {
        0 => text.push_str(", nothing new"),
        _ => text.push_str(&format!(", {new} new, {}", size(bytes))),
    }
    text
}

/// First line of the log of an image that was pushed.
pub fn pushed(tag: &TagName, manifest: &ContentDigest) -> String {
    format!("Image pushed as {tag} ({}…)", digest(manifest))
}

/// First line of the log of an image that is elsewhere.
pub fn fetching(reference: &str) -> String {
    format!("Fetching {reference}")
}

/// Of the release.
pub fn image_pushed(tag: &TagName, manifest: &ContentDigest) -> String {
    format!("docker push {tag} {}", digest(manifest))
}

fn digest(digest: &ContentDigest) -> String {
    format!("{}:{}", if digest.is_sha512() { "sha512" } else { "sha256" }, digest.short())
}

pub fn release(release: &Release, environment: &str) -> String {
    format!("Release v{} → {environment}", release.number)
}

pub fn live(ready: &BTreeMap<ProcessName, u32>, millis: i64, retired: Option<i64>) -> String {
    let mut text = format!("{} healthy in {:.1}s", super::formation_text(ready), millis as f64 / 1000.0);
    if let Some(number) = retired {
        text.push_str(&format!(", traffic switched, v{number} retires"));
    }
    text
}

/// After the switch; `previous` is the number of the release that stands by.
pub fn watching(seconds: u32, previous: Option<i64>) -> String {
    let previous = previous.map_or_else(|| "the one before".to_owned(), |number| format!("v{number}"));
    format!("traffic switched; watched for {seconds} s, {previous} stands by")
}

/// A host of the release gone back to that another app has taken since.
pub fn host_lost(host: &Host) -> String {
    format!("{host} belongs to another app now and was left out")
}

/// Decimal units with one digit: `38.2 kB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

pub const KEPT: &str = "The release before keeps serving; nothing was changed.";
pub const NONE_BEFORE: &str = "Nothing was deployed, and the branch was not moved.";
pub const TAG_UNMOVED: &str = "Nothing was deployed, and the tag was not moved.";
pub const STALE: &str = "the branch moved since you fetched; fetch and push again";
pub const SUPERSEDED: &str = "another deployment took its place";

/// First line: cause. `seen` is the last thing the converger said.
pub fn no_engine(seconds: u64, seen: Option<String>) -> String {
    let seen = seen.map(|text| format!("Last seen: {text}\n")).unwrap_or_default();
    format!("the engine did not bring the release up within {seconds} s\n{seen}See whether it runs: hythe doctor")
}

pub fn unknown_branch(branch: &str, known: &str) -> String {
    let first = known.split(' ').next().unwrap_or(known);
    format!("branch {branch} deploys nowhere; push to {known}, for example: git push hythe {branch}:{first}")
}

/// Cause, then each variable with what the developer says of it, then the remedy.
pub fn missing_variables(app: &AppName, missing: &[(&VariableName, Option<&str>)]) -> Vec<String> {
    let mut lines = vec!["app.json requires variables that this environment does not have:".to_owned()];
    for (name, description) in missing {
        let description = description.map(|text| format!(": {}", text.lines().next().unwrap_or_default()));
        lines.push(format!("  {name}{}", description.unwrap_or_default()));
    }
    let words: Vec<_> = missing.iter().map(|(name, _)| format!("{name}=…")).collect();
    lines.push(format!("Set them and push again: hythe config:set -a {app} {}", words.join(" ")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_only_when_they_matter() {
        assert_eq!(heading("Build", 400), "-----> Build");
        assert_eq!(heading("Build", 2_140), "-----> Build … 2.1s");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!([size(999), size(38_200), size(5_000_000)], ["999 B", "38.2 kB", "5.0 MB"]);
    }
}
