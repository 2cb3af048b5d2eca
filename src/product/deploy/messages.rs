//! What a pusher reads from the deploy steps. Every text for people in this room is here.

use std::collections::BTreeMap;

use crate::base::model::{
    AppName, CommitId, ContentDigest, DomainName, ImageDigest, ProcessName, Release, TagName, TenantName, VariableName,
};

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

/// First line of the log of an image that came as an archive.
pub fn uploaded(image: &ContentDigest) -> String {
    format!("Image uploaded ({}…)", digest(image))
}

/// Of the release.
pub fn of_upload(image: &ContentDigest) -> String {
    format!("image uploaded {}", digest(image))
}

/// First line of the log of an image that is elsewhere.
pub fn fetching(reference: &str) -> String {
    format!("Fetching {reference}")
}

/// Of the release.
pub fn made_of(order: &super::PushOrder) -> String {
    let how = match &order.fetched {
        Some(from) => from.as_str(),
        None if order.archive => "upload",
        None => "push",
    };
    worded(&order.manner, format!("{how} {}", &order.new.as_str()[..12]))
}

/// Of the release: what its maker says of it goes before what it is of.
pub fn worded(manner: &super::Manner, of: String) -> String {
    manner.message.as_ref().map_or_else(|| of.clone(), |message| format!("{message} ({of})"))
}

/// The end of a dry run.
pub const DRY_RUN: &str = "Dry run: it builds. Nothing was deployed, and no branch was moved.";

pub fn skipped(branch: &str) -> String {
    format!("Branch {branch} moved; nothing was built or deployed")
}

/// Of the release.
pub fn image_pushed(tag: &TagName, manifest: &ContentDigest) -> String {
    format!("docker push {tag} {}", digest(manifest))
}

/// Of the release.
pub fn rebased(base: &ImageDigest) -> String {
    format!("rebase onto sha256:{}", base.short())
}

/// `why`: cause and remedy.
pub fn unfit(why: &str) -> String {
    format!("not rebased: {why}")
}

pub fn newest(environment: &str) -> String {
    format!("{environment} lies on the newest base already; to look for a newer one: hythe base:update")
}

/// Lines as a build writes them.
pub fn no_base(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.trim_start_matches([' ', '!'])).collect();
    format!("the base could not be made anew, and stays as it is: {}", lines.join(" "))
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
pub fn host_lost(host: &DomainName) -> String {
    format!("{host} is no verified domain of this environment any more and was left out")
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

pub const NOT_BUILT_HERE: &str = "its image was pushed or fetched, so where its base ends is not known: build it anew on a \
     patched base, and push or deploy that";

/// While something is fetched.
pub fn so_far(bytes: u64) -> String {
    format!("{} so far", size(bytes))
}

pub fn fetched(commit: &CommitId, bytes: u64) -> String {
    format!("Fetched {} as {}", size(bytes), &commit.as_str()[..12])
}

/// Of a connection.
pub fn lost(cause: &str, attempt: i64, most: i64) -> String {
    format!("{cause}; tried again ({attempt} of {most})")
}

pub const DISK_FULL: &str = "the disk of the server is full; nothing was changed. Free space there, then try again";
/// Why a build failed that somebody cancelled.
pub fn cancelled_by(who: &TenantName) -> String {
    format!("cancelled by {who}")
}

/// `reason` is the above.
pub fn cancelled(reason: &str) -> String {
    format!("Build {reason}.")
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

pub fn unknown_environment<'a>(known: impl Iterator<Item = &'a str>) -> String {
    format!("there is no such environment; the app has {}", known.collect::<Vec<_>>().join(", "))
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
    fn what_is_said_of_deployments() {
        let hex = "1f0c".repeat(16);
        let image: ImageDigest = format!("sha256:{hex}").parse().unwrap();
        let content: ContentDigest = format!("sha256:{hex}").parse().unwrap();
        let (tag, app): (TagName, AppName) = ("latest".parse().unwrap(), "shop".parse().unwrap());
        let commit: CommitId = "2a".repeat(20).parse().unwrap();
        let (web, worker): (ProcessName, ProcessName) = ("web".parse().unwrap(), "worker".parse().unwrap());
        let ready = BTreeMap::from([(web, 2), (worker, 1)]);
        let names: [VariableName; 2] = ["KEY", "MODE"].map(|name| name.parse().unwrap());
        let said = [
            super::image(&image, 4, 0, 0),
            super::image(&image, 4, 1, 38_200),
            pushed(&tag, &content),
            uploaded(&content),
            of_upload(&content),
            fetching("registry.example.com/acme/shop:1"),
            DRY_RUN.to_owned(),
            skipped("main"),
            image_pushed(&tag, &content),
            rebased(&image),
            unfit("its image is for another architecture than the base"),
            newest("production"),
            no_base(&[" !     The Debian mirror does not answer.".to_owned(), " !     Try again.".to_owned()]),
            live(&ready, 640, None),
            live(&ready, 640, Some(41)),
            live(&BTreeMap::new(), 40, Some(41)),
            watching(60, Some(41)),
            watching(60, None),
            host_lost(&"shop.example.com".parse().unwrap()),
            NOT_BUILT_HERE.to_owned(),
            so_far(12_000_000),
            fetched(&commit, 12_000_000),
            lost("the server went away", 2, 5),
            DISK_FULL.to_owned(),
            cancelled(&cancelled_by(&"alice".parse().unwrap())),
            KEPT.to_owned(),
            NONE_BEFORE.to_owned(),
            TAG_UNMOVED.to_owned(),
            STALE.to_owned(),
            SUPERSEDED.to_owned(),
            no_engine(120, None),
            no_engine(120, Some("web.1 does not answer on its port".to_owned())),
            unknown_branch("feature", "main staging"),
            unknown_environment(["production", "staging"].into_iter()),
            missing_variables(&app, &[(&names[0], Some("of the shop\nand more")), (&names[1], None)]).join("\n"),
        ];
        insta::assert_snapshot!(said.join("\n\n"));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!([size(999), size(38_200), size(5_000_000)], ["999 B", "38.2 kB", "5.0 MB"]);
    }
}
