//! Names of images in a Dockerfile → their full names. The engine is never asked for a short one: it would take `4f` for
//! the start of any image's id, another tenant's included.

/// Where names without a registry lead, as for every Docker.
pub const DEFAULT: &str = "docker.io";
/// Images of the platform itself; the last part of their repositories.
const PLATFORM: [&str; 3] = ["image", "recipe", "changes"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// With the port.
    pub host: String,
    pub port: u16,
    /// `host/name:tag` or `host/name@digest`.
    pub text: String,
    name: String,
    tag: String,
}

impl Full {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest
            .is_some_and(|d| d.strip_prefix("sha256:").is_none_or(|hex| hex.len() != 64 || !hex.bytes().all(is_hex)))
        {
            return Err("has no SHA-256 digest after @");
        }
        let named = rest.split_once('/').filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost");
        let (host, path) = named.unwrap_or((DEFAULT, rest));
        // Engines take the host of its index for the same.
        let host = host.strip_prefix("index.").filter(|host| *host == DEFAULT).unwrap_or(host);
        let (name, tag) = path.split_once(':').unwrap_or((path, "latest"));
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let part = |part: &str| {
            let bytes = part.as_bytes();
            let edges = bytes.first().copied().is_some_and(fits) && bytes.last().copied().is_some_and(fits);
            edges && bytes.iter().all(|b| fits(*b) || b"._-".contains(b))
        };
        if name.len() > 255 || !name.split('/').all(part) {
            return Err("is no name of an image: parts of a-z, 0-9, ., _ and - with / between them");
        }
        let tag_fits = tag.len() <= 128
            && tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !tag_fits {
            return Err("has a tag that is none");
        }
        let (bare, port) = host.rsplit_once(':').unwrap_or((host, "443"));
        let host_fits = !bare.is_empty()
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
            && !bare.starts_with('-');
        let port = port.parse().ok().filter(|_| host_fits).ok_or("has a registry that is none")?;
        let name = if host == DEFAULT && !name.contains('/') { format!("library/{name}") } else { name.to_owned() };
        let text = match digest {
            Some(digest) => format!("{host}/{name}@{digest}"),
            None => format!("{host}/{name}:{tag}"),
        };
        Ok(Self { host: bare.to_owned(), port, text, name, tag: tag.to_owned() })
    }

    /// An image that this platform, known to the engine as `own`, or another one made for its apps.
    pub fn is_platform(&self, own: &str) -> bool {
        let Some((start, last)) = self.name.split_once('/') else { return false };
        let by_digest = self.tag.len() == 64 && self.tag.bytes().all(is_hex);
        self.host == DEFAULT
            && (start == own || PLATFORM.contains(&last) && (by_digest || self.tag.starts_with("app_")))
    }
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_a_full_one() {
        let full = |text: &str| Full::parse(text).map(|full| full.text);
        assert_eq!(full("4f").unwrap(), "docker.io/library/4f:latest");
        assert_eq!(full("node:20-slim").unwrap(), "docker.io/library/node:20-slim");
        assert_eq!(full("acme/tool").unwrap(), "docker.io/acme/tool:latest");
        assert_eq!(full("r.example:5000/a/b:1").unwrap(), "r.example:5000/a/b:1");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(full(&format!("x:1@{digest}")).unwrap(), format!("docker.io/library/x@{digest}"));
        assert_eq!(Full::parse("127.0.0.1:80/x").unwrap().port, 80);
        for bad in
            ["", "A", "a b", "a/../b", "sha256:12/x/", "-o.x/a", "x:y:z", "x@sha256:1", "http://x/y", "r.example:p/x"]
        {
            assert!(Full::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_of_apps_are_known_by_their_names() {
        let hex = "b".repeat(64);
        let index = format!("index.{DEFAULT}/hythe/image:{hex}");
        for own in
            [index, format!("hythe/image:{hex}"), "hythe/recipe:app_1".into(), format!("docker.io/other/image:{hex}")]
        {
            assert!(Full::parse(&own).unwrap().is_platform("hythe"), "{own}");
        }
        assert!(!Full::parse("acme/image:1").unwrap().is_platform("hythe"));
        assert!(!Full::parse("debian").unwrap().is_platform("hythe"));
    }
}
