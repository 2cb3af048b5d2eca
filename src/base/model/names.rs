//! Names people choose, each a type that can only hold its grammar: whatever reaches a path, a
//! label, a host name or a header is one of these.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name; completes the sentence "`field` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl NameError {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> { text.parse() }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String { name.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
    )*};
}

names! {
    /// A DNS label (RFC 1123): it becomes the first label of the app's host name.
    AppName: |text| {
        label(text, 40)?;
        if RESERVED.contains(&text) {
            return Err(NameError::new(format!("\"{text}\" is reserved by the platform; choose another")));
        }
        // `--` parts a preview from its app in a host name.
        if text.contains("--") {
            return Err(NameError::new("must not contain \"--\""));
        }
        Ok(())
    };
    /// Name of a customer's readable id, an organization, a space or a user: a DNS label.
    TenantName: |text| label(text, 40);
    EnvironmentName: |text| label(text, 30);
    /// Process type of a Procfile: `web`, `worker`, `release`, …
    ProcessName: |text| label(text, 30);
    VolumeName: |text| label(text, 40);
    /// Of the configuration: `small`, `medium`, … .
    SizeName: |text| label(text, 30);
    /// Environment variable (POSIX.1-2017 §8.1), not one that Hythe sets itself.
    VariableName: variable;
    /// A fully qualified host name in lower case without a trailing dot (RFC 1123 §2.1).
    Host: host;
    /// What requests are routed by: a host, or with `*.` before it all hosts one label below it.
    DomainName: |text| host(text.strip_prefix("*.").unwrap_or(text));
    /// What follows `refs/heads/` (git-check-ref-format).
    BranchName: branch;
    /// Tag of an image (OCI distribution spec, "Pulling manifests").
    TagName: tag;
    /// A full SHA-1 object id in lower-case hexadecimal.
    CommitId: |text| {
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) { Ok(()) }
        else { Err(NameError::new("must be 40 hexadecimal digits")) }
    };
}

/// First labels of host names that belong to the platform itself.
const RESERVED: [&str; 12] =
    ["hythe", "api", "www", "registry", "git", "admin", "mail", "ssh", "status", "localhost", "well-known", "internal"];

fn label(text: &str, longest: usize) -> Result<(), NameError> {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let starts_well = bytes.first().is_some_and(u8::is_ascii_lowercase);
    let ends_well = bytes.last().copied().is_some_and(edge);
    if starts_well && ends_well && bytes.len() <= longest && bytes.iter().all(|&b| edge(b) || b == b'-') {
        Ok(())
    } else {
        Err(NameError::new(format!(
            "must be 1 to {longest} characters of a-z, 0-9 and -, starting with a letter and not ending with -"
        )))
    }
}

fn tag(text: &str) -> Result<(), NameError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    let starts_well = bytes.first().copied().is_some_and(word);
    if starts_well && bytes.len() <= 128 && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-') {
        Ok(())
    } else {
        Err(NameError::new("must be 1 to 128 characters of letters, digits, _, . and -, not starting with . or -"))
    }
}

fn variable(text: &str) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    let well = bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes.len() <= 256
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if !well {
        return Err(NameError::new("must be letters, digits and _, not starting with a digit, at most 256 characters"));
    }
    if text == "PORT" || text.starts_with("HYTHE_") || text.starts_with("CNB_") {
        return Err(NameError::new("is set by the platform"));
    }
    Ok(())
}

fn host(text: &str) -> Result<(), NameError> {
    let well = !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|part| {
            let b = part.as_bytes();
            !b.is_empty()
                && b.len() <= 63
                && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
                && b[0] != b'-'
                && b[b.len() - 1] != b'-'
        });
    if well { Ok(()) } else { Err(NameError::new("must be a host name in lower case, such as shop.example.com")) }
}

fn branch(text: &str) -> Result<(), NameError> {
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\\u{7f}".contains(c);
    let well = !text.is_empty()
        && text.len() <= 200
        && text != "@"
        && !text.contains(bad_char)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"));
    // A leading dash would read as an option wherever a branch stands on a command line.
    if well && !text.starts_with('-') { Ok(()) } else { Err(NameError::new("is not a valid branch name")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_are_no_names() {
        for text in [
            "",
            "$(id)",
            "`id`",
            "; id",
            "a b",
            "../../etc/passwd",
            "/etc/passwd",
            "a\0",
            "a\r\nb",
            "Ａ",
            "\u{202e}x",
            "--upload-pack=id",
            "-oProxyCommand=id",
            "<script>",
            "{{7*7}}",
            "a.b",
            "UPPER",
            "a-",
            "1a",
        ] {
            assert!(text.parse::<AppName>().is_err(), "{text:?}");
            assert!(text.parse::<ProcessName>().is_err(), "{text:?}");
        }
        assert!("x".repeat(10_000).parse::<Host>().is_err());
        assert!("hythe".parse::<AppName>().is_err());
        assert!("shop".parse::<AppName>().is_ok());
    }

    #[test]
    fn branches_follow_git_check_ref_format() {
        for good in ["main", "feature/x", "v1.2", "über"] {
            assert!(good.parse::<BranchName>().is_ok(), "{good}");
        }
        for bad in ["", "a..b", "-x", "a b", "a.lock", ".a", "a/", "/a", "a//b", "@", "a@{b", "a:b", "a\n"] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn platform_variables_cannot_be_set() {
        for bad in ["PORT", "HYTHE_APP", "1A", "A-B", "A=B", ""] {
            assert!(bad.parse::<VariableName>().is_err(), "{bad}");
        }
        assert!("DATABASE_URL".parse::<VariableName>().is_ok());
    }
}
