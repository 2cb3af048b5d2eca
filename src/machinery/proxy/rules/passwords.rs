//! Basic authentication (RFC 7617). Hashes are made slow to try, so one that was found right is remembered for as long as the
//! rules stand, by a digest with a key of this process; and only so many are computed at once, on threads of their own.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::Semaphore;

use crate::base::model::PasswordHash;

const ROUNDS: NonZeroU32 = NonZeroU32::new(20_000).expect("above zero");
const SCHEME: &str = "pbkdf2-sha256";
/// Passwords that are tried at once, of all apps.
static TRIES: Semaphore = Semaphore::const_new(2);
/// Right ones that are remembered.
const MOST: usize = 1000;

/// About ten milliseconds of a processor.
pub fn hash(password: &str) -> PasswordHash {
    let (mut salt, mut out) = ([0; 16], [0; 32]);
    // Without randomness the salt would be known, which the rounds still stand against; it never fails after start.
    let _ = rand::fill(&mut salt);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut out);
    PasswordHash::new(format!("{SCHEME}${ROUNDS}${}${}", hex::encode(salt), hex::encode(out)))
}

fn is_of(hash: &PasswordHash, password: &[u8]) -> bool {
    let mut parts = hash.as_str().split('$');
    let (Some(SCHEME), Some(rounds), Some(salt), Some(expected), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(rounds), Ok(salt), Ok(expected)) = (rounds.parse(), hex::decode(salt), hex::decode(expected)) else {
        return false;
    };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, &expected).is_ok()
}

#[derive(Debug)]
pub(super) struct Known {
    key: hmac::Key,
    /// One of an app tries at a time, so that who guesses at one keeps nobody out of another.
    turn: Semaphore,
    right: Mutex<HashSet<Vec<u8>>>,
}

impl Default for Known {
    fn default() -> Self {
        let mut key = [0; 32];
        let _ = rand::fill(&mut key);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), turn: Semaphore::new(1), right: Mutex::default() }
    }
}

impl Known {
    pub(super) async fn is_right(&self, users: &BTreeMap<String, PasswordHash>, headers: &HeaderMap) -> bool {
        let Some((user, password)) = credentials(headers) else { return false };
        let Some(hash) = users.get(&user) else { return false };
        let digest = hmac::sign(&self.key, format!("{user}:{password}").as_bytes()).as_ref().to_vec();
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return true;
        }
        let (Ok(_turn), Ok(_try)) = (self.turn.acquire().await, TRIES.acquire().await) else { return false };
        let hash = hash.clone();
        let tried = tokio::task::spawn_blocking(move || is_of(&hash, password.as_bytes()));
        let is_right = tried.await.unwrap_or(false);
        if is_right {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.len() >= MOST {
                right.clear();
            }
            right.insert(digest);
        }
        is_right
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, packed) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(packed.trim()).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn sent(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(text).expect("a value"));
        headers
    }

    #[tokio::test]
    async fn who_has_the_password_is_let_in_and_remembered() {
        let users =
            BTreeMap::from([("ann".to_owned(), hash("pass:word")), ("bob".to_owned(), PasswordHash::new("x".into()))]);
        let known = Known::default();
        let basic = |plain: &str| format!("Basic {}", STANDARD.encode(plain));
        for (text, right) in [
            (basic("ann:pass:word"), true),
            (basic("ann:pass:word").replace("Basic", "bAsIc"), true),
            (basic("ann:pass"), false),
            (basic("ann:"), false),
            (basic("ANN:pass:word"), false),
            (basic("bob:x"), false),
            (basic("bob"), false),
            ("Basic %%%".into(), false),
            ("Bearer ann".into(), false),
        ] {
            assert_eq!(known.is_right(&users, &sent(&text)).await, right, "{text}");
        }
        assert_eq!(known.right.lock().expect("no panic").len(), 1);
        assert!(!known.is_right(&users, &HeaderMap::new()).await);
        // Whose name was taken away is known no more, remembered or not.
        assert!(!known.is_right(&BTreeMap::new(), &sent(&basic("ann:pass:word"))).await);
        let mut twice = sent(&basic("ann:pass:word"));
        twice.append(AUTHORIZATION, HeaderValue::from_static("Basic x"));
        assert!(!known.is_right(&users, &twice).await);
    }

    #[test]
    fn equal_passwords_have_hashes_of_their_own() {
        let (one, other) = (hash("x"), hash("x"));
        assert!(one != other && is_of(&one, b"x") && is_of(&other, b"x") && !is_of(&one, b"y"));
        assert_eq!(format!("{one:?}"), "PasswordHash(…)");
    }
}
