//! Paths below `/v2/`, taken apart from their end: a repository may have the name of a verb. Nothing is decoded but what
//! some clients encode in digests, so that an encoded slash is a strange character and never a slash.

use super::refusal::Refusal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Root,
    Tags,
    /// Tag or digest, as it was sent.
    Manifest(String),
    Blob(String),
    /// Where uploads begin.
    Uploads,
    Upload(String),
    Referrers(String),
}

/// Name of the repository and what is asked of it.
pub(super) fn parse(path: &str) -> Result<(String, Target), Refusal> {
    let rest = path.strip_prefix("/v2").ok_or(Refusal::NameUnknown(None))?;
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    if rest.is_empty() {
        return Ok((String::new(), Target::Root));
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let (name, target) = match parts.as_slice() {
        [name @ .., "tags", "list"] => (name, Target::Tags),
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => (name, Target::Uploads),
        [name @ .., "blobs", "uploads", id] => (name, Target::Upload((*id).to_owned())),
        [name @ .., "manifests", reference] => (name, Target::Manifest(plain(reference))),
        [name @ .., "blobs", digest] => (name, Target::Blob(plain(digest))),
        [name @ .., "referrers", digest] => (name, Target::Referrers(plain(digest))),
        _ => return Err(Refusal::NameUnknown(None)),
    };
    if name.is_empty() || !name.iter().all(|part| is_component(part)) {
        return Err(Refusal::NameInvalid);
    }
    // As the specification allows, and no more than organization and app.
    if name.len() > 2 {
        return Err(Refusal::NameUnknown(None));
    }
    Ok((name.join("/"), target))
}

/// A colon that was encoded.
fn plain(text: &str) -> String {
    text.replace("%3A", ":").replace("%3a", ":")
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, at most 128 characters.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    ends && bytes.len() <= 128 && bytes.iter().all(|&b| word(b) || b"._-".contains(&b)) && !text.contains("..")
}

/// Names and values of a query, decoded as forms are.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<(String, Target)> {
        parse(path).ok()
    }

    #[test]
    fn repositories_may_have_the_names_of_verbs() {
        let found = |name: &str, target: Target| Some((name.to_owned(), target));
        assert_eq!(read("/v2/"), found("", Target::Root));
        assert_eq!(read("/v2"), found("", Target::Root));
        assert_eq!(read("/v2/shop/tags/list"), found("shop", Target::Tags));
        assert_eq!(read("/v2/a/tags/tags/list"), found("a/tags", Target::Tags));
        assert_eq!(read("/v2/a/blobs/manifests/latest"), found("a/blobs", Target::Manifest("latest".into())));
        assert_eq!(read("/v2/a/b/blobs/uploads/"), found("a/b", Target::Uploads));
        assert_eq!(read("/v2/a/b/blobs/uploads"), found("a/b", Target::Uploads));
        assert_eq!(read("/v2/a/b/blobs/uploads/x"), found("a/b", Target::Upload("x".into())));
        assert_eq!(read("/v2/a/b/blobs/sha256%3Aab"), found("a/b", Target::Blob("sha256:ab".into())));
        assert_eq!(read("/v2/a/b/referrers/x"), found("a/b", Target::Referrers("x".into())));
    }

    #[test]
    fn hostile_paths_are_no_repositories() {
        for path in [
            "/v2/a/../b/manifests/x",
            "/v2/../manifests/x",
            "/v2/a%2Fb/manifests/x",
            "/v2/a%2e%2e/manifests/x",
            "/v2/A/manifests/x",
            "/v2//manifests/x",
            "/v2/manifests/x",
            "/v2/a/b/c/manifests/x",
            "/v2/a..b/manifests/x",
            "/v2/-a/manifests/x",
            "/v2/a\0/manifests/x",
            "/v2/a/b",
            "/v2/_catalog",
            "/v3/a/b/tags/list",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded_once() {
        let found = query("digest=sha256%3Aab&from=a%2Fb&x=%zz&plus=a+b&flag&%");
        let found: Vec<_> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            found,
            [("digest", "sha256:ab"), ("from", "a/b"), ("x", "%zz"), ("plus", "a b"), ("flag", ""), ("%", "")]
        );
        assert_eq!(query("a=%252e")[0].1, "%2e");
    }
}
