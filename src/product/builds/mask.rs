//! What must never be read in the log of a build, and stars in its place.
//!
//! A Dockerfile's secrets are declared, so each counts. An app's variables hold what is secret and what is not, and a log
//! without the word "production" is of no use: of those only what may be a secret counts (`of_variables`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::BuildFailure;
use crate::base::secret::Secret;

/// Bytes of a declared secret below which hiding it would hide ordinary words.
const DECLARED: usize = 4;
/// The same of a variable whose name speaks of a secret, and of a password in an address.
const NAMED: usize = 6;
/// The same of any other variable, and of one line of a value of several.
const SHORTEST: usize = 8;
/// A user of an address without a password beside it is a token from here on.
const TOKEN: usize = 16;
const HIDDEN: &str = "****";

/// Parts of names, in capitals.
const SECRETIVE: [&str; 8] = ["SECRET", "TOKEN", "PASS", "KEY", "CREDENTIAL", "AUTH", "PRIVATE", "SALT"];
/// Names of settings that builds know, whose values nobody keeps secret.
const SETTINGS: [&str; 8] =
    ["PATH", "TZ", "LANG", "NODE_OPTIONS", "GOFLAGS", "GO_INSTALL_PACKAGE_SPEC", "PHP_DOCUMENT_ROOT", "NODE_ENV"];
/// Values that name a choice and no secret, in small letters; shorter ones do not count anyway.
const PLAIN: [&str; 18] = [
    "production",
    "development",
    "localhost",
    "disabled",
    "enabled",
    "required",
    "optional",
    "undefined",
    "internal",
    "external",
    "standard",
    "automatic",
    "postgres",
    "postgresql",
    "password",
    "changeme",
    "en_us.utf-8",
    "staging",
];

/// The texts to be hidden.
#[derive(Default)]
pub(super) struct Hidden {
    /// The longest first.
    texts: Vec<Secret<Vec<u8>>>,
    /// By the first byte of any.
    begins: Vec<bool>,
}

impl Hidden {
    /// Declared secrets: each whole, and each line of those that have several.
    pub fn of_secrets(secrets: impl Iterator<Item = Secret<String>>) -> Self {
        let mut hidden = Self::default();
        for secret in secrets {
            hidden.add(secret.reveal(), DECLARED);
        }
        hidden.sorted()
    }

    /// Of an app's variables the values that may be secrets, and the credentials in addresses. Not a value below eight
    /// bytes, a number, a word such as `production`, or what stands in a setting of builds (`GOFLAGS`); where the name speaks
    /// of a secret (`API_KEY`), a value of six bytes and a number count as well.
    pub fn of_variables(variables: &BTreeMap<String, Secret<String>>) -> Self {
        let mut hidden = Self::default();
        for (name, value) in variables {
            let value = value.reveal();
            let name = name.to_ascii_uppercase();
            let is_named = SECRETIVE.iter().any(|part| name.contains(part));
            if !SETTINGS.contains(&name.as_str()) && !is_plain(value) && (is_named || !is_number(value)) {
                hidden.add(value, if is_named { NAMED } else { SHORTEST });
            }
            for (word, shortest) in credentials(value) {
                hidden.add(&word, shortest);
            }
        }
        hidden.sorted()
    }

    /// The same beside these.
    pub fn and_of_variables(mut self, variables: &BTreeMap<String, Secret<String>>) -> Self {
        self.texts.append(&mut Self::of_variables(variables).texts);
        self.sorted()
    }

    fn add(&mut self, text: &str, shortest: usize) {
        let whole = text.trim_end_matches(['\n', '\r']);
        let lines = whole.lines().filter(|line| line.len() >= SHORTEST && line.len() < whole.len());
        let long = Some(whole).filter(|whole| whole.len() >= shortest);
        self.texts.extend(long.into_iter().chain(lines).map(|text| Secret::new(text.as_bytes().to_vec())));
    }

    fn sorted(mut self) -> Self {
        self.texts.sort_by_key(|text| std::cmp::Reverse(text.reveal().len()));
        self.begins = vec![false; 256];
        for text in &self.texts {
            self.begins[usize::from(text.reveal()[0])] = true;
        }
        self
    }

    /// With stars in it.
    pub fn text(&self, text: &str) -> String {
        let (out, _) = self.through(text.as_bytes(), true);
        String::from_utf8_lossy(&out).into_owned()
    }

    pub fn failure(&self, failure: BuildFailure) -> BuildFailure {
        BuildFailure {
            reason: self.text(&failure.reason),
            lines: failure.lines.iter().map(|line| self.text(line)).collect(),
            ..failure
        }
    }

    /// What can be told of it, and where what is left begins: that may be the start of a secret, unless it `ends` here.
    fn through(&self, all: &[u8], ends: bool) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(all.len());
        let mut at = 0;
        while at < all.len() {
            let left = &all[at..];
            if !self.begins.get(usize::from(left[0])).is_some_and(|begins| *begins) {
                out.push(left[0]);
                at += 1;
                continue;
            }
            let texts = || self.texts.iter().map(Secret::reveal);
            if !ends && texts().any(|text| text.len() > left.len() && text.starts_with(left)) {
                break;
            }
            match texts().find(|text| left.starts_with(text)) {
                Some(text) => {
                    out.extend_from_slice(HIDDEN.as_bytes());
                    at += text.len();
                }
                None => {
                    out.push(left[0]);
                    at += 1;
                }
            }
        }
        (out, at)
    }
}

fn is_plain(value: &str) -> bool {
    PLAIN.contains(&value.to_ascii_lowercase().as_str())
}

/// Of one number or several: a version, a date, an address of the internet.
fn is_number(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_digit() || b"+-.,:/_ ".contains(&b))
}

/// What stands before the `@` of addresses in a text and is a secret there, and the least length that counts.
fn credentials(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for rest in text.split("://").skip(1) {
        let authority = rest.split(['?', '#', ' ', '\n', '"', '\'']).next().unwrap_or_default();
        let host = authority.split('/').next().unwrap_or_default();
        // A password may have a slash that should have been encoded: what stands behind the colon is no port then.
        let is_cut = host.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
        let cut = || authority.rsplit_once('@').filter(|_| is_cut);
        let Some((words, _)) = host.rsplit_once('@').or_else(cut) else { continue };
        match words.split_once(':') {
            Some((user, password)) => {
                found.push((user.to_owned(), TOKEN));
                if password != user && !is_plain(password) {
                    found.extend(spellings(password).map(|word| (word, NAMED)));
                }
            }
            None => found.extend(spellings(words).map(|word| (word, TOKEN))),
        }
    }
    found
}

/// As it stands there, and decoded where that is something else (RFC 3986, 2.1).
fn spellings(word: &str) -> impl Iterator<Item = String> {
    let mut out = Vec::new();
    let mut bytes = word.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let two = bytes.as_slice().get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let decoded = two.filter(|_| byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        if decoded.is_some() {
            bytes.nth(1);
        }
        out.push(decoded.unwrap_or(byte));
    }
    let decoded = String::from_utf8(out).ok().filter(|decoded| decoded != word);
    std::iter::once(word.to_owned()).chain(decoded)
}

/// Puts stars in place of what is hidden, wherever the pieces of a stream are cut.
pub(super) struct Mask {
    hidden: Arc<Hidden>,
    /// What may be the start of a secret.
    held: Vec<u8>,
}

impl Mask {
    pub fn new(hidden: Arc<Hidden>) -> Self {
        Self { hidden, held: Vec::new() }
    }

    /// What can be told now.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let (out, told) = self.hidden.through(&self.held, false);
        self.held.drain(..told);
        out
    }

    /// The stream ends, or pauses where no secret can go on.
    pub fn rest(&mut self) -> Vec<u8> {
        let (out, _) = self.hidden.through(&std::mem::take(&mut self.held), true);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(set: &[(&str, &str)]) -> Hidden {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        Hidden::of_variables(&set.collect())
    }

    #[test]
    fn a_secret_is_hidden_wherever_the_output_is_cut() {
        let secrets = ["hunter2\n", "first line of a key\nsecond line of a key\n", "ab"].map(str::to_owned);
        let hidden = Arc::new(Hidden::of_secrets(secrets.into_iter().map(Secret::new)));
        let text = "say hunter2hunter, second line of a key; abc hunte";
        for size in 1..text.len() {
            let mut mask = Mask::new(Arc::clone(&hidden));
            let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| mask.pass(piece)).collect();
            out.extend(mask.rest());
            assert_eq!(String::from_utf8(out).unwrap(), "say ****hunter, ****; abc hunte", "in pieces of {size}");
        }
    }

    #[test]
    fn values_that_may_be_secrets_are_hidden() {
        for (name, value) in [
            ("STRIPE", "sk_live_51Hx"),
            ("WORDS", "correct horse battery staple"),
            ("DB_PASSWORD", "hunter2"),
            ("PIN_TOKEN", "20240131"),
            ("SERVICE_URL", "https://hooks.example.com/T0/B1/x"),
        ] {
            assert_eq!(variables(&[(name, value)]).text(&format!("it is {value}.")), "it is ****.", "{name}");
        }
    }

    #[test]
    fn values_that_are_no_secrets_stay_readable() {
        for (name, value) in [
            ("NODE_ENV", "production"),
            ("RAILS_ENV", "Development"),
            ("DEBUG", "true"),
            ("API_KEY", ""),
            ("AUTH", "basic"),
            ("MODE", "compact"),
            ("NUMBER", "1048576000"),
            ("PYTHON_VERSION", "3.11.2"),
            ("LISTEN", "127.0.0.1:8080"),
            ("LC_ALL", "en_US.UTF-8"),
            ("GO_INSTALL_PACKAGE_SPEC", "./cmd/server"),
        ] {
            let text = format!("npm says {value} and true");
            assert_eq!(variables(&[(name, value)]).text(&text), text, "{name}");
        }
    }

    #[test]
    fn credentials_in_an_address_are_hidden_without_the_rest_of_it() {
        let hidden = variables(&[
            ("DATABASE_URL", "postgres://shop:s3cr%2Ft@db.internal:5432/shop"),
            ("LOCAL", "postgres://postgres:postgres@localhost/x"),
            ("SENTRY", "https://0123456789abcdef@sentry.example.com/1"),
            ("ODD", "amqp://mail:a/b@c/d@mq.example.com"),
            ("SCOPE", "https://registry.example.com:4873/@acme"),
        ]);
        for (said, shown) in [
            ("at db.internal as shop with s3cr%2Ft, s3cr/t", "at db.internal as shop with ****, ****"),
            ("installing postgresql for postgres", "installing postgresql for postgres"),
            ("key 0123456789abcdef of sentry.example.com", "key **** of sentry.example.com"),
            ("a/b@c/d", "****"),
            ("from registry.example.com:4873/ as ever", "from registry.example.com:4873/ as ever"),
            ("all of postgres://shop:s3cr%2Ft@db.internal:5432/shop", "all of ****"),
        ] {
            assert_eq!(hidden.text(said), shown);
        }
    }

    #[test]
    fn a_failure_is_told_without_secrets() {
        let lines = vec![" !     npm said no to s3cr3t-token".to_owned(), " !     try again".to_owned()];
        let failure = BuildFailure { reason: "build failed: s3cr3t-token".into(), lines, temporary: true };
        let told = variables(&[("X", "s3cr3t-token")]).failure(failure);
        assert_eq!(told.reason, "build failed: ****");
        assert_eq!(told.lines, [" !     npm said no to ****", " !     try again"]);
        assert!(told.temporary);
    }
}
