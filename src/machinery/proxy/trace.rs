//! Trace context (W3C, <https://www.w3.org/TR/trace-context/>). A sound one passes as it came, since nothing is recorded here that
//! could be the parent of anything; in the place of a missing or damaged one a trace begins.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;
const MOST_MEMBERS: usize = 32;
const LONGEST_STATE: usize = 4096;

/// The digits of a trace.
pub(super) type TraceId = [u8; 32];

/// Sees to it that `headers` have a trace. One that begins here is called as the request is, if that is a name for one, and is
/// left to be recorded, as it would be by an app that nobody had told of a trace.
pub(super) fn follow(headers: &mut HeaderMap, request_id: &HeaderValue) -> TraceId {
    let mut given = headers.get_all(TRACEPARENT).iter();
    if let (Some(one), None) = (given.next(), given.next())
        && let Some(trace) = trace_of(one.as_bytes())
    {
        if !is_state(headers) {
            headers.remove(TRACESTATE);
        }
        return trace;
    }
    headers.remove(TRACESTATE);
    let trace = request_id.as_bytes().try_into().ok().filter(|id: &TraceId| is_id(id));
    let trace = trace.unwrap_or_else(|| digits(rand::random::<u128>().max(1).to_be_bytes()));
    let parent: [u8; 16] = digits(rand::random::<u64>().max(1).to_be_bytes());
    let whole = [b"00-", &trace[..], b"-", &parent, b"-01"].concat();
    if let Ok(whole) = HeaderValue::from_bytes(&whole) {
        headers.insert(TRACEPARENT, whole);
    }
    trace
}

fn digits<const N: usize, const M: usize>(bytes: [u8; N]) -> [u8; M] {
    let mut text = [b'0'; M];
    // Each byte becomes two digits, always.
    let _ = hex::encode_to_slice(bytes, &mut text);
    text
}

/// `None` when it is none. Of versions to come only the beginning is known (§3.2.4).
fn trace_of(text: &[u8]) -> Option<TraceId> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let (version, flags) = (&known[..2], &known[53..]);
    let trace: TraceId = known[3..35].try_into().ok()?;
    let parent = &known[36..52];
    let is_sound = [2, 35, 52].iter().all(|at| known[*at] == b'-')
        && version != b"ff"
        && is_hex(version)
        && is_hex(flags)
        && is_id(&trace)
        && is_id(parent)
        && (rest.is_empty() || (version != b"00" && rest[0] == b'-'));
    is_sound.then_some(trace)
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &[u8]) -> bool {
    is_hex(text) && text.iter().any(|b| *b != b'0')
}

/// Members `key=value`, in as many fields as may be; empty ones count for nothing (§3.3.1).
fn is_state(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(TRACESTATE);
    let members = fields.iter().flat_map(|field| field.as_bytes().split(|b| *b == b','));
    let members: Vec<_> = members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()).collect();
    let is_member = |member: &&[u8]| {
        let Some(at) = member.iter().position(|b| *b == b'=') else { return false };
        let (key, value) = (&member[..at], &member[at + 1..]);
        let is_key = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
        (1..=256).contains(&key.len())
            && key.iter().all(is_key)
            && (1..=256).contains(&value.len())
            && value.iter().all(|b| matches!(b, b' '..=b'~') && *b != b'=')
    };
    let length: usize = fields.iter().map(HeaderValue::len).sum();
    length <= LONGEST_STATE && members.len() <= MOST_MEMBERS && members.iter().all(is_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn followed(parents: &[&str], states: &[&str], id: &str) -> (HeaderMap, String) {
        let mut headers = HeaderMap::new();
        for (name, values) in [(TRACEPARENT, parents), (TRACESTATE, states)] {
            for value in values {
                headers.append(&name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
            }
        }
        let trace = follow(&mut headers, &HeaderValue::from_str(id).expect("an id"));
        (headers, String::from_utf8(trace.to_vec()).expect("digits"))
    }

    #[test]
    fn a_sound_one_passes_as_it_came() {
        for sound in [
            SOUND,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            &format!("cc{}-what-will-be", &SOUND[2..]),
        ] {
            let (headers, trace) = followed(&[sound], &["a=1, b@c=2 3", "", "d/e=~"], "x");
            assert_eq!((headers[TRACEPARENT].as_bytes(), trace.as_str()), (sound.as_bytes(), &SOUND[3..35]));
            assert_eq!(headers.get_all(TRACESTATE).iter().count(), 3);
        }
    }

    #[test]
    fn in_the_place_of_a_damaged_one_another_begins_without_its_state() {
        let id = "0123456789abcdef0123456789abcdef";
        for damaged in [
            &[][..],
            &[""],
            &[SOUND, SOUND],
            &[&SOUND[..54]],
            &[&format!("{SOUND}-x")],
            &[&format!("ff{}", &SOUND[2..])],
            &[&format!("0x{}", &SOUND[2..])],
            &[&SOUND.to_ascii_uppercase()],
            &[&SOUND.replace('-', "_")],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{e9}"],
            &[&"0".repeat(10_000)],
        ] {
            let (headers, trace) = followed(damaged, &["a=1"], id);
            let begun = headers[TRACEPARENT].to_str().expect("text");
            assert!(trace_of(begun.as_bytes()).is_some() && begun.ends_with("-01"), "{damaged:?}: {begun}");
            assert_eq!((trace.as_str(), &begun[3..35]), (id, id), "{damaged:?}");
            assert!(headers.get_all(TRACEPARENT).iter().count() == 1 && !headers.contains_key(TRACESTATE));
        }
        // A request whose name is none for a trace has one that is made up.
        for id in ["mine", "00000000000000000000000000000000", "0123456789ABCDEF0123456789ABCDEF"] {
            let (headers, trace) = followed(&[], &[], id);
            assert!(trace != id && trace_of(headers[TRACEPARENT].as_bytes()).is_some(), "{id}: {headers:?}");
        }
        let fresh = || followed(&[], &[], "mine").0[TRACEPARENT].clone();
        assert_ne!(fresh(), fresh());
    }

    #[test]
    fn a_state_that_is_none_ends_here() {
        let long = format!("a={}", "x".repeat(257));
        let many = vec!["a=1"; 33].join(",");
        for state in ["a", "=1", "A=1", "a=", "a=1=2", "a=\u{e9}", "a=\t", &long, &many] {
            let (headers, _) = followed(&[SOUND], &[state], "x");
            assert!(headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE), "{state}");
        }
    }
}
