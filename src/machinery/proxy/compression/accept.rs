//! `Accept-Encoding` (RFC 9110 §12.5.3): the coding that the client likes best, of those there are.

use hyper::header::{GetAll, HeaderValue};

use super::Coding;

/// In the order of what they cost here, which decides between those that the client likes alike.
const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// Weights in thousandths.
#[derive(Default)]
struct Said {
    codings: [Option<u16>; ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

/// None: as it is.
pub(super) fn chosen(fields: GetAll<'_, HeaderValue>) -> Option<Coding> {
    let mut said = Said::default();
    let parts = fields.iter().filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(','));
    parts.for_each(|part| said.take(part));
    let mut best: Option<(Coding, u16)> = None;
    for (coding, weight) in ALL.into_iter().zip(said.codings) {
        // Who takes anything is given what everybody reads.
        let any = said.any.filter(|_| coding == Coding::Gzip);
        let weight = weight.or(any).unwrap_or(0);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    best.filter(|(_, weight)| said.identity.is_none_or(|identity| identity <= *weight)).map(|(coding, _)| coding)
}

impl Said {
    fn take(&mut self, part: &str) {
        let (name, parameters) = part.split_once(';').map_or((part, None), |(name, rest)| (name, Some(rest)));
        let weight = parameters.map_or(1000, weight);
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "zstd" => &mut self.codings[0],
            "br" => &mut self.codings[1],
            "gzip" | "x-gzip" => &mut self.codings[2],
            "identity" => &mut self.identity,
            "*" => &mut self.any,
            _ => return,
        };
        // Of two words about one the more careful counts.
        *place = Some(place.map_or(weight, |before| before.min(weight)));
    }
}

/// What is no weight asks for nothing.
fn weight(parameters: &str) -> u16 {
    let text = parameters.trim();
    let Some(text) = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q=")) else { return 0 };
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let thousandths = format!("{rest:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => thousandths,
        "1" if thousandths == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::ACCEPT_ENCODING;

    use super::*;

    #[test]
    fn the_client_chooses_and_among_equals_the_cheapest() {
        use Coding::{Brotli, Gzip, Zstd};
        for (fields, choice) in [
            (&["gzip, deflate, br, zstd"][..], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip"], Some(Gzip)),
            (&["X-GZip"], Some(Gzip)),
            (&["gzip", "br"], Some(Brotli)),
            (&["br;q=0.5, gzip;q=0.8, zstd;q=0.799"], Some(Gzip)),
            (&["br ; q=1.000 , gzip;Q=1"], Some(Brotli)),
            (&["zstd;q=0, br;q=0.001"], Some(Brotli)),
            (&["*"], Some(Gzip)),
            (&["*;q=0.1, br;q=0"], Some(Gzip)),
            (&["gzip;q=0, *"], None),
            (&["br, *;q=0"], Some(Brotli)),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip"], Some(Gzip)),
            (&["identity;q=0, gzip"], Some(Gzip)),
            (&[], None),
            (&[""], None),
            (&["identity"], None),
            (&["deflate, compress"], None),
            // What is no weight asks for nothing, and of two words the more careful counts.
            (&["gzip;q=NaN"], None),
            (&["gzip;q=inf"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;q=0.0001"], None),
            (&["gzip;q="], None),
            (&["gzip;level=9"], None),
            (&["gzip;q=0", "gzip"], None),
            (&["gzipped, brr, zstd2, gz ip"], None),
            (&[",,;,;q=1, gzip ,"], Some(Gzip)),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(field));
            }
            assert_eq!(chosen(headers.get_all(ACCEPT_ENCODING)), choice, "{fields:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_bytes(b"gzip\xff, br").expect("a value"));
        assert_eq!(chosen(headers.get_all(ACCEPT_ENCODING)), None);
    }
}
