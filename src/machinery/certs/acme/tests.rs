use super::*;
use crate::base::clock::Timestamp;

struct Zone;

#[async_trait]
impl DnsChanger for Zone {
    fn keeps(&self, name: &str) -> bool {
        name == "apps.example.com"
    }

    async fn add(&self, _: &str, _: &str, _: Timestamp) -> Result<(), String> {
        Ok(())
    }

    async fn remove(&self, _: &str, _: &str, _: Timestamp) -> Result<(), String> {
        Ok(())
    }
}

fn means(methods: &[Method], dns: Option<Arc<dyn DnsChanger>>) -> Means {
    let key = KeyKind::EcdsaP256;
    Means { methods: methods.to_vec(), dns, key, poll: Duration::from_secs(1), patience: Duration::from_secs(1) }
}

fn name(text: &str) -> DomainName {
    text.parse().expect("a name")
}

#[test]
fn each_try_begins_with_the_next_method_and_a_wildcard_knows_one() {
    use Method::{Dns, Http, TlsAlpn};
    let all = means(&[Http, TlsAlpn, Dns], Some(Arc::new(Zone)));
    let host = name("www.example.com");
    assert_eq!(all.methods(&host, 0), [Http, TlsAlpn], "its DNS is another's");
    assert_eq!(all.methods(&host, 1), [TlsAlpn, Http]);
    assert_eq!(all.methods(&host, 2), [Http, TlsAlpn]);
    assert_eq!(all.methods(&name("*.apps.example.com"), 3), [Dns]);
    assert!(all.fault(&name("*.example.com")).expect("none serves").contains("hythe certs:add"));
    assert!(means(&[Dns], None).fault(&host).expect("none serves").contains("acme.challenges"));
    assert!(all.fault(&host).is_none());
}

#[test]
fn what_an_authority_says_is_told_by_what_follows_from_it() {
    let heard = Heard::default();
    let of = |kind: &str, detail: &str| {
        let json = serde_json::json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail});
        told("ca.example", &heard, Error::Api(serde_json::from_value(json).expect("a problem")))
    };
    assert!(of("rateLimited", "too many").is_limit());
    assert!(matches!(of("accountDoesNotExist", ""), IssueError::NoAccount { .. }));
    assert!(of("serverInternal", "oops").is_temporary() && of("badNonce", "again").is_temporary());
    let refused = of("rejectedIdentifier", "no \u{1b}[31mred\nlines");
    assert_eq!(refused.to_string(), "the authority ca.example refuses: no  [31mred lines");
    assert!(told("ca.example", &heard, Error::Timeout(None)).is_temporary());
    assert_eq!(host_of("https://ca.example:14000/dir"), "ca.example:14000");
    let long = of("malformed", &"x".repeat(5000)).to_string();
    assert!(long.len() < 700, "{}", long.len());
}
