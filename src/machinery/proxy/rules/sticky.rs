//! The cookie by which a browser comes back to the replica that answered it. It says nothing of the replica but which one it is.

use hyper::header::{GetAll, HeaderValue};

const NAME: &str = "hythe_replica";

pub(super) fn wanted(cookies: GetAll<'_, HeaderValue>) -> Option<u64> {
    values(cookies, NAME).find_map(|value| u64::from_str_radix(value, 16).ok())
}

/// Of all cookies of the name.
pub(super) fn values<'a>(cookies: GetAll<'a, HeaderValue>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = cookies.into_iter().filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(';'));
    pairs.filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Until the browser is closed.
pub(super) fn cookie(mark: u64, scheme: &str) -> Option<HeaderValue> {
    let secure = if scheme == "https" { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{NAME}={mark:016x}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::COOKIE;

    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let wants = |cookies: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(COOKIE, HeaderValue::from_static(cookie));
            }
            wanted(headers.get_all(COOKIE))
        };
        let set = cookie(0xab, "https").expect("a cookie");
        assert_eq!(set, "hythe_replica=00000000000000ab; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(wants(&["a=1; hythe_replica=00000000000000ab; b=2"]), Some(0xab));
        assert_eq!(wants(&["a=1", "hythe_replica=00000000000000ab"]), Some(0xab));
        for none in
            ["", "hythe_replica", "hythe_replica=", "hythe_replica=../x", "xhythe_replica=ab", "hythe_replicas=ab"]
        {
            assert_eq!(wants(&[none]), None, "{none}");
        }
    }
}
