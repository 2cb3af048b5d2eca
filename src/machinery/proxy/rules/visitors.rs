//! The cookie that keeps a visitor in one group while a canary holds: `new`, `old`, or the number that was drawn for the first
//! request. By the number nobody goes back and forth: a larger canary has everybody that a smaller one had.

use hyper::header::{GetAll, HeaderValue};

use super::sticky::values;
use crate::machinery::proxy::balance::Lot;

pub(super) fn said(cookies: GetAll<'_, HeaderValue>, name: &str) -> Option<Lot> {
    values(cookies, name).find_map(|value| match value {
        "new" => Some(Lot::New),
        "old" => Some(Lot::Old),
        number if number.len() <= 2 && number.bytes().all(|b| b.is_ascii_digit()) => {
            number.parse().ok().map(Lot::Drawn)
        }
        _ => None,
    })
}

/// Until the browser is closed.
pub(super) fn cookie(name: &str, lot: Lot, scheme: &str) -> Option<HeaderValue> {
    let Lot::Drawn(number) = lot else { return None };
    let secure = if scheme == "https" { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{name}={number}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::COOKIE;

    use super::*;

    #[test]
    fn what_the_cookie_says_is_read_and_what_it_cannot_say_is_not() {
        let said = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(text));
            said(headers.get_all(COOKIE), "beta")
        };
        for (text, lot) in [
            ("beta=new", Some(Lot::New)),
            ("a=b; beta=old; c=d", Some(Lot::Old)),
            ("beta=0", Some(Lot::Drawn(0))),
            ("beta=99", Some(Lot::Drawn(99))),
            ("beta=x; beta=new", Some(Lot::New)),
            ("beta=", None),
            ("beta", None),
            ("beta=100", None),
            ("beta=-1", None),
            ("beta=+1", None),
            ("beta=NEW", None),
            ("beta=new2", None),
            ("xbeta=new", None),
            ("betax=new", None),
        ] {
            assert_eq!(said(text), lot, "{text}");
        }
        assert_eq!(
            cookie("beta", Lot::Drawn(7), "https").expect("a cookie"),
            "beta=7; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(cookie("beta", Lot::New, "http"), None);
    }
}
