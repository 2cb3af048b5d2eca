//! Images that were pushed as they are: made this store's own, and what they run.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use super::builder::Builder;
use super::cache::Cache;
use super::{BuildFailure, Imaged, export, messages};
use crate::base::model::{AppId, ContentDigest, PORT, Process, ProcessName, Processes};
use crate::machinery::image::{
    Contents, ImageError, ImageFacts, Login, Route, Saved, fetch, inspect, take_image, unpack,
};

/// Bytes of an image where the configuration sets no bound.
pub(super) const LARGEST: u64 = 16 << 30;
/// Set by this platform's builds: the processes in the metadata are commands as they are. Who builds upon one of its images
/// and wants another command empties it.
const OWN: &str = super::seam::GROUP;
const METADATA: &str = super::seam::PROCESSES;
const WEB: &str = "web";
/// Of one image.
const MOST_PROCESSES: usize = 100;

#[derive(Deserialize)]
struct Metadata {
    processes: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Named {
    r#type: ProcessName,
    command: Vec<String>,
    working_dir: Option<String>,
}

impl Builder {
    /// What somebody brought as an archive (`machinery::image::is_image`), for `adopt`.
    pub async fn take_image(&self, archive: std::fs::File, limit: u64) -> Result<Saved, ImageError> {
        let _pin = self.blobs.pin();
        let (blobs, most) = (self.blobs.clone(), if limit == 0 { LARGEST } else { limit });
        let taken = tokio::task::spawn_blocking(move || take_image(&blobs, &archive, most));
        taken.await.unwrap_or_else(|error| Err(ImageError::Stream(std::io::Error::other(error))))
    }

    /// The image of a pushed manifest, given to the engine. `limit`: bytes, uncompressed; 0: as many as any image may have.
    pub async fn adopt(
        &self,
        app: &AppId,
        contents: Contents,
        manifest: &ContentDigest,
        limit: u64,
    ) -> Result<Imaged, BuildFailure> {
        self.adopt_as(app, contents, manifest, (limit, messages::image_unfit)).await
    }

    /// An image that a registry has, as `adopt`.
    pub async fn adopt_from(
        &self,
        app: &AppId,
        reference: &str,
        (login, route): (Option<Login>, Route),
        limit: u64,
    ) -> Result<Imaged, BuildFailure> {
        let _pin = self.blobs.pin();
        let most = if limit == 0 { LARGEST } else { limit };
        let work = fetch(&self.blobs, reference, login, route, most);
        let within = Duration::from_secs(self.bounds.seconds);
        let fetched = tokio::time::timeout(within, work).await.map_err(|_| messages::timed_out(within.as_secs()))?;
        let fetched = fetched.map_err(|error| match &error {
            ImageError::Unfit(cause) => messages::dockerfile::fetched_unfit(cause),
            error if error.is_disk_full() => messages::disk_full(),
            error => messages::dockerfile::not_fetched(reference, &export::chain(error)),
        })?;
        let terms = (limit, messages::dockerfile::fetched_unfit as fn(&str) -> BuildFailure);
        self.adopt_as(app, fetched.contents, &fetched.manifest, terms).await
    }

    async fn adopt_as(
        &self,
        app: &AppId,
        contents: Contents,
        manifest: &ContentDigest,
        (limit, unfit): (u64, fn(&str) -> BuildFailure),
    ) -> Result<Imaged, BuildFailure> {
        let _pin = self.blobs.pin();
        let (blobs, manifest) = (self.blobs.clone(), manifest.clone());
        let limit = if limit == 0 { LARGEST } else { limit };
        let before = Cache::load(&self.caches, app).image;
        let known_image = before.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            let image = unpack(&blobs, &contents, &manifest, limit)?;
            let facts = inspect(&blobs, &image)?;
            let before = known_image.and_then(|image| inspect(&blobs, &image).ok());
            Ok((image, facts, before))
        });
        let unpacked = unpacked.await.unwrap_or_else(|error| Err(ImageError::Stream(std::io::Error::other(error))));
        let (image, facts, before_facts) = unpacked.map_err(|error| refused(&error, unfit))?;
        let processes = processes(&facts).map_err(|cause| unfit(&cause))?;
        self.load(&image).await?;

        let known: HashSet<_> = before_facts.iter().flat_map(|f| &f.layers).map(|layer| layer.digest).collect();
        let new: Vec<_> = facts.layers.iter().filter(|layer| !known.contains(&layer.digest)).collect();
        Ok(Imaged {
            image,
            processes,
            layers_total: facts.layers.len(),
            layers_new: new.len(),
            bytes_new: new.iter().map(|layer| layer.size).sum(),
        })
    }
}

fn refused(error: &ImageError, unfit: fn(&str) -> BuildFailure) -> BuildFailure {
    match error {
        ImageError::Unfit(cause) => unfit(cause),
        error if error.is_disk_full() => messages::disk_full(),
        error => messages::platform("unpacking the image", &export::chain(error)),
    }
}

/// What this platform built says itself what it runs; of any other image, `web` is what it starts with.
fn processes(facts: &ImageFacts) -> Result<Processes, String> {
    if facts.labels.get(OWN).is_some_and(|group| !group.is_empty())
        && let Some(metadata) = facts.labels.get(METADATA).and_then(|text| serde_json::from_str::<Metadata>(text).ok())
    {
        let named = metadata.processes.into_iter().filter(|process| is_command(&process.command));
        let own: Processes = named
            .take(MOST_PROCESSES)
            .map(|named| (named.r#type, Process { command: named.command, working_dir: named.working_dir, port: None }))
            .collect();
        if !own.is_empty() {
            return Ok(own);
        }
    }
    start(facts)
}

/// `web`: what the image itself starts with.
pub(super) fn start(facts: &ImageFacts) -> Result<Processes, String> {
    let command: Vec<_> = facts.entrypoint.iter().chain(&facts.cmd).cloned().collect();
    if !is_command(&command) {
        return Err("it names no command to start: give it an ENTRYPOINT or a CMD".into());
    }
    let web = WEB.parse().map_err(|fault| format!("{fault}"))?;
    Ok(Processes::from([(web, Process { command, working_dir: None, port: port(facts)? })]))
}

fn is_command(words: &[String]) -> bool {
    words.first().is_some_and(|word| !word.is_empty()) && words.iter().all(|word| !word.contains('\0'))
}

/// `PORT` of the image's environment, else what it exposes; none leaves it to the variable that every process is given.
pub(super) fn port(facts: &ImageFacts) -> Result<Option<u16>, String> {
    if let Some(text) = facts.env.get("PORT") {
        let port = text.parse().ok().filter(|port| *port != 0);
        return port.map(Some).ok_or_else(|| format!("its PORT is {text:?}, which is no port"));
    }
    let mut ports: Vec<u16> = facts
        .exposed_ports
        .iter()
        .filter_map(|text| text.strip_suffix("/tcp").unwrap_or(text).parse().ok())
        .filter(|port| *port != 0)
        .collect();
    // What is built upon one of this platform's images has that one's port too, and means what it adds.
    if facts.labels.contains_key(OWN) && ports.iter().any(|port| *port != PORT) {
        ports.retain(|port| *port != PORT);
    }
    Ok([PORT, 80].into_iter().find(|usual| ports.contains(usual)).or_else(|| ports.into_iter().min()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::machinery::image::Digest;

    fn facts() -> ImageFacts {
        ImageFacts {
            config: Digest::of(b""),
            layers: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            working_dir: None,
            labels: BTreeMap::new(),
            exposed_ports: Vec::new(),
            entrypoint: vec!["/run".into()],
            cmd: vec!["--now".into()],
            architecture: "amd64".into(),
        }
    }

    #[test]
    fn web_is_what_the_image_starts_with() {
        let made = processes(&facts()).unwrap();
        let web = &made.values().next().unwrap();
        assert_eq!((web.command.join(" ").as_str(), web.port), ("/run --now", None));
        let none = ImageFacts { entrypoint: Vec::new(), cmd: Vec::new(), ..facts() };
        assert!(processes(&none).unwrap_err().contains("ENTRYPOINT"));
        let hostile = ImageFacts { cmd: vec!["a\0b".into()], ..facts() };
        assert!(processes(&hostile).is_err());
    }

    #[test]
    fn the_port_is_what_the_image_says() {
        let port = |env: Option<&str>, exposed: &[&str]| {
            let env = env.map(|text| ("PORT".to_owned(), text.to_owned())).into_iter().collect();
            port(&ImageFacts { env, exposed_ports: exposed.iter().map(|p| (*p).to_owned()).collect(), ..facts() })
        };
        assert_eq!(port(None, &[]), Ok(None));
        assert_eq!(port(None, &["5000/tcp", "3000/tcp", "53/udp"]), Ok(Some(3000)));
        assert_eq!(port(None, &["443/tcp", "80/tcp"]), Ok(Some(80)));
        assert_eq!(port(None, &["53/udp", "0/tcp", "99999/tcp"]), Ok(None));
        assert_eq!(port(Some("9000"), &["80/tcp"]), Ok(Some(9000)));
        assert!(port(Some("0"), &[]).is_err() && port(Some("$(id)"), &[]).is_err());
    }

    #[test]
    fn an_image_of_this_platform_keeps_its_processes() {
        let metadata = r#"{"processes":[{"type":"web","command":["node"],"working-dir":"/w","buildpackID":""},
            {"type":"worker","command":["w"],"working-dir":null}],"launcher":{}}"#;
        let labels = BTreeMap::from([(OWN.to_owned(), "x".to_owned()), (METADATA.to_owned(), metadata.to_owned())]);
        let made = processes(&ImageFacts { labels: labels.clone(), ..facts() }).unwrap();
        assert_eq!(made.keys().map(ProcessName::as_str).collect::<Vec<_>>(), ["web", "worker"]);
        let foreign = BTreeMap::from([(METADATA.to_owned(), metadata.to_owned())]);
        assert_eq!(processes(&ImageFacts { labels: foreign, ..facts() }).unwrap().len(), 1);
        let broken = BTreeMap::from([(OWN.to_owned(), String::new()), (METADATA.to_owned(), "{".to_owned())]);
        assert_eq!(processes(&ImageFacts { labels: broken, ..facts() }).unwrap().len(), 1);
    }
}
