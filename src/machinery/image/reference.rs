//! Names of images in registries.

use std::net::IpAddr;

use super::{Digest, ImageError, Result};

/// `host[:port]/name[:tag][@digest]`, its parts checked, so that they can be put into an address as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// With the port.
    pub(super) host: String,
    pub(super) name: String,
    pub(super) tag: String,
    pub(super) digest: Option<Digest>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refused = |reason| ImageError::Argument { field: "image reference", value: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| refused("has no SHA-256 digest after @"))?)),
            None => (text, None),
        };
        let (host, rest) = rest.split_once('/').ok_or_else(|| refused("names no registry: write host/name:tag"))?;
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(refused("names no registry: write host/name:tag"));
        }
        let (name, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
        let host_fits = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
        if !host_fits {
            return Err(refused("has a host that is none"));
        }
        // a part cannot be `.` or `..`: it starts and ends with a letter or digit (distribution specification)
        let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let part_fits = |part: &str| {
            let bytes = part.as_bytes();
            outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|b| outer(Some(b)) || b"._-".contains(b))
        };
        if name.len() > 255 || !name.split('/').all(part_fits) {
            return Err(refused("has a name of other characters than a-z, 0-9, ., _, -, /"));
        }
        let tag_fits = !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !tag_fits {
            return Err(refused("has a tag that is none"));
        }
        Ok(Self { host: host.to_owned(), name: name.to_owned(), tag: tag.to_owned(), digest })
    }

    /// Why a text is none, before anybody is asked; none if it is one.
    pub fn fault(text: &str) -> Option<&'static str> {
        match Self::parse(text) {
            Err(ImageError::Argument { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    /// `https://host/v2/name/` and more; plain http for this machine's own addresses.
    pub(super) fn address(&self, rest: &str) -> String {
        let scheme = if is_loopback(&self.host) { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{rest}", self.host, self.name)
    }
}

fn is_loopback(host: &str) -> bool {
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a registry, or where it sends us, may be spoken to with this address.
pub(super) fn is_safe(url: &reqwest::Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && url.host_str().is_some_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let reference = Reference::parse("registry.example:5000/a/b-c:1.2").unwrap();
        assert_eq!(reference.address("manifests/x"), "https://registry.example:5000/v2/a/b-c/manifests/x");
        assert_eq!((reference.tag.as_str(), reference.digest), ("1.2", None));
        let digest = Digest::of(b"x");
        let reference = Reference::parse(&format!("127.0.0.1:80/debian@{digest}")).unwrap();
        assert_eq!((reference.tag.as_str(), reference.digest), ("latest", Some(digest)));
        assert_eq!(reference.address(""), "http://127.0.0.1:80/v2/debian/");
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for (host, scheme) in [
            ("localhost:5000", "http"),
            ("127.8.0.1", "http"),
            ("[::1]:5000", "http"),
            ("192.168.0.1:5000", "https"),
            ("127.0.0.1.example.com", "https"),
            ("localhost.example.com", "https"),
        ] {
            let address = Reference::parse(&format!("{host}/x")).unwrap().address("");
            assert!(address.starts_with(&format!("{scheme}://{host}/")), "{address}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "debian",
            "library/debian",
            "example.com/",
            "example.com/a/../b",
            "example.com/A",
            "example.com/a?x",
            "example.com/a:",
            "example.com/a:-x",
            "example.com/a:x/y",
            "user@example.com/a",
            "example.com#/a",
            "-o.x/a",
            "example.com/a@sha256:12",
            "https://example.com/a",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
