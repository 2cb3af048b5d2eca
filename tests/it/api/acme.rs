//! Certificates ordered from a real authority: the keeper and the proxy in process, pebble beside them. The clock is the
//! test's, so that years pass at once.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hythe::base::clock::{Clock, SystemClock};
use hythe::base::config::{ChallengeChoice, Config, DnsChoice, IssuerChoice, KeyType};
use hythe::base::model::{App, DomainName};
use hythe::base::secret::Secret;
use hythe::machinery::proxy::{Bell, Meter, Proxy, ProxySettings, RouteTable, Target, TargetState};
use hythe::product::routing::CertificateKeeper;
use hythe::state::store::{certificates, orders};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::harness::{Person, TestApi};
use crate::harness::{Dns, Named, PATIENCE, Pebble, free_port, program, run};

const AT: &str = "/v1/apps/shop/environments/production/certs";
const BASE: &str = "apps.example.test";
const SHOP: &str = "shop.apps.example.test";
const API: &str = "hythe.apps.example.test";

/// The platform, as far as certificates go.
struct Stage {
    api: TestApi,
    root: Person,
    app: App,
    table: watch::Sender<Arc<RouteTable>>,
    keeper: CertificateKeeper,
    tls_port: u16,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

struct Ports {
    http: TcpListener,
    tls: TcpListener,
}

impl Ports {
    async fn open() -> Self {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Self { http: bind().await.expect("a port"), tls: bind().await.expect("a port") }
    }

    fn numbers(&self) -> (u16, u16) {
        let of = |listener: &TcpListener| listener.local_addr().expect("its address").port();
        (of(&self.http), of(&self.tls))
    }
}

fn config(pebble: &Pebble) -> Config {
    let mut config = Config::default();
    config.certs.issuer = IssuerChoice::Acme;
    config.http.base_domain = BASE.parse().expect("a host");
    config.http.tls_listen = Some(([127, 0, 0, 1], 1).into());
    config.acme.directory = pebble.directory.clone();
    config.acme.root_ca = Some(pebble.root());
    config.acme.terms_agreed = true;
    config.acme.contact = Some("operator@example.com".into());
    config.acme.challenges = vec![ChallengeChoice::Http];
    config.acme.retry_seconds = 60;
    config
}

fn here(dns: &Dns) {
    for host in [SHOP, API] {
        dns.host(host, Ipv4Addr::LOCALHOST);
    }
}

impl Stage {
    async fn set(config: Config, ports: Ports) -> Self {
        let (api, root) = TestApi::start_with(config).await;
        api.clock.advance(SystemClock.now().since(api.clock.now()));
        let app = api.app(&root, "shop").await;
        let target = Target {
            app: "shop".into(),
            upstreams: Vec::new(),
            canary: None,
            state: TargetState::Live,
            bell: Arc::new(Bell::default()),
            meter: Arc::new(Meter::new("env")),
            rules: None,
            https: Default::default(),
        };
        let routes = RouteTable::new(None, [(SHOP.parse().expect("a name"), Arc::new(target))]);
        let (table, receiver) = watch::channel(Arc::new(routes));
        let (_, tls_port) = ports.numbers();
        let proxy = Proxy::new(receiver, ProxySettings { tls_port: Some(tls_port), ..ProxySettings::default() });
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (plain, token) = (proxy.clone(), shutdown.clone());
        tasks.spawn(async move { plain.serve(ports.http, token).await });
        let token = shutdown.clone();
        tasks.spawn(async move { proxy.serve_tls(ports.tls, token).await.expect("TLS") });
        let keeper = CertificateKeeper::new(api.ctx.clone(), table.clone());
        Self { api, root, app, table, keeper, tls_port, shutdown, tasks }
    }

    /// Another life of the platform: the one before is cut off wherever it is.
    fn kill(&mut self) {
        self.keeper = CertificateKeeper::new(self.api.ctx.clone(), self.table.clone());
    }

    /// Rounds of the keeper until something is so.
    async fn until<T>(&mut self, what: &str, mut ask: impl AsyncFnMut(&mut Self) -> Option<T>) -> T {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.keeper.look().await.expect("a round");
            if let Some(found) = ask(self).await {
                return found;
            }
            assert!(tokio::time::Instant::now() < end, "{what}: {:?}", self.names().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn names(&self) -> Value {
        self.api.call("GET", &format!("{AT}/names"), Some(&self.root.token), None).await.json()["items"].clone()
    }

    async fn shop(&self) -> Value {
        self.names().await[0].clone()
    }

    async fn served(&mut self) -> Value {
        self.until("it has a certificate", async |stage: &mut Self| {
            let shop = stage.shop().await;
            (shop["state"] == "served" && stage.orders().await == 0).then_some(shop)
        })
        .await
    }

    async fn orders(&self) -> usize {
        orders::all(&mut self.api.ctx.store.read().await.expect("read")).await.expect("all").len()
    }

    async fn order(&self) -> Option<hythe::base::model::CertificateOrder> {
        let name: DomainName = SHOP.parse().expect("a name");
        orders::of_name(&mut self.api.ctx.store.read().await.expect("read"), &name).await.expect("find")
    }

    async fn failed(&mut self, words: &str) -> Value {
        self.until("a try fails with its reason", async |stage: &mut Self| {
            let shop = stage.shop().await;
            shop["reason"].as_str().is_some_and(|reason| reason.contains(words)).then_some(shop)
        })
        .await
    }

    async fn kept(&self) -> Vec<(String, Vec<String>)> {
        let all = certificates::all(&mut self.api.ctx.store.read().await.expect("read")).await.expect("all");
        let words = |kept: &certificates::Kept| {
            let one = &kept.certificate;
            (one.id.to_string(), one.names.iter().map(ToString::to_string).collect())
        };
        all.iter().map(words).collect()
    }

    async fn events(&self, kind: &str) -> usize {
        let all = self.api.call("GET", "/v1/apps/shop/events", Some(&self.root.token), None).await.json();
        let of = |event: &&Value| event["kind"] == kind;
        all["items"].as_array().map_or(0, |items| items.iter().filter(of).count())
    }

    /// What a client sees that trusts the authority and nobody else.
    async fn get(&mut self, pebble: &Pebble, host: &str) -> String {
        self.keeper.look().await.expect("a round");
        let (place, issuer) = (format!("{host}:{}", self.tls_port), pebble.issuer());
        let get = move || {
            run(program("curl")
                .args([
                    "-sS",
                    "--noproxy",
                    "*",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "--max-time",
                    "20",
                    "--cacert",
                ])
                .arg(issuer)
                .args(["--resolve", &format!("{place}:127.0.0.1"), &format!("https://{place}/")]))
        };
        tokio::task::spawn_blocking(get).await.expect("curl").out
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("done")
}

#[tokio::test]
async fn names_get_certificates_over_http_though_nonces_are_refused_and_they_renew_at_two_thirds() {
    let (ports, dns) = (Ports::open().await, Dns::start());
    here(&dns);
    let (numbers, address) = (ports.numbers(), dns.address);
    let pebble = off(move || Pebble::start(numbers, address, &[("PEBBLE_WFE_NONCEREJECT", "20")])).await;
    let mut stage = Stage::set(config(&pebble), ports).await;
    // Refused three times in a row, a step is tried again later: the clock of this test goes on by itself.
    let shop = stage
        .until("both names have one", async |stage: &mut Stage| {
            stage.api.clock.advance(1000);
            let shop = stage.shop().await;
            (shop["state"] == "served" && stage.orders().await == 0).then_some(shop)
        })
        .await;
    assert!(shop["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")), "{shop}");
    for host in [SHOP, API] {
        assert_ne!(stage.get(&pebble, host).await, "000", "{host}");
    }
    assert_eq!(stage.events("certificate.issued").await, 1);
    let first = stage.kept().await;
    assert_eq!(
        first.iter().map(|(_, names)| names.join(" ")).collect::<std::collections::BTreeSet<_>>(),
        [API, SHOP].map(str::to_owned).into()
    );
    stage.keeper.look().await.expect("a round");
    assert_eq!((stage.kept().await, stage.orders().await), (first.clone(), 0), "nothing to do");

    let renews: jiff::Timestamp = shop["renews_at"].as_str().expect("a time").parse().expect("RFC 3339");
    let ahead = renews.as_millisecond() - stage.api.clock.now().0;
    stage.api.clock.advance(ahead - 1000);
    stage.keeper.look().await.expect("a round");
    assert!(stage.order().await.is_none(), "too early");
    stage.api.clock.advance(2000);
    stage
        .until("it is made anew", async |stage: &mut Stage| {
            stage.api.clock.advance(1000);
            let kept = stage.kept().await;
            let has = |host: &str| kept.iter().any(|one| one.1 == [host] && !first.contains(one));
            (has(SHOP) && kept.len() == 2).then_some(())
        })
        .await;
    assert_eq!(pebble.log().matches("There are now 2 accounts").count(), 0, "one account for all");

    // Where no other one is to be had, its end is warned of. (The authority's root went with it.)
    drop(pebble);
    let until: jiff::Timestamp = stage.shop().await["not_after"].as_str().expect("a time").parse().expect("RFC 3339");
    let ahead = until.as_millisecond() - 10 * 86_400_000 - stage.api.clock.now().0;
    stage.api.clock.advance(ahead);
    let shop = stage.failed("cannot be").await;
    stage.keeper.look().await.expect("a round");
    assert_eq!(stage.events("certificate.expiring").await, 1, "once");
    assert!(shop["certificate"].is_string(), "it answers until then");
    stage.end().await;
}

#[tokio::test]
async fn an_order_cut_off_in_the_middle_is_gone_on_with_and_its_key_is_sealed() {
    let (ports, dns) = (Ports::open().await, Dns::start());
    here(&dns);
    let (numbers, address) = (ports.numbers(), dns.address);
    // It looks for each challenge a second or two after it was told to.
    let slow = [("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "2"), ("PEBBLE_WFE_NONCEREJECT", "0")];
    let pebble = off(move || Pebble::start(numbers, address, &slow)).await;
    let mut stage = Stage::set(config(&pebble), ports).await;
    stage.until("the order is known there", async |stage: &mut Stage| stage.order().await?.url).await;
    let (before, name) = (stage.order().await.expect("an order"), SHOP.parse::<DomainName>().expect("a name"));
    stage.kill();
    let mut tx = stage.api.ctx.store.read().await.expect("read");
    let draft = orders::draft(&mut tx, &before.id).await.expect("read").expect("a draft");
    assert!(!draft.sealed.windows(7).any(|part| part == b"PRIVATE"));
    drop(tx);
    let after = stage.order().await.expect("the same order");
    assert_eq!((after.id, after.name, after.url), (before.id, name, before.url));
    // Where the authority looked while nobody answered, that try has failed, and another one comes in its time.
    stage
        .until("it has a certificate", async |stage: &mut Stage| {
            stage.api.clock.advance(1000);
            (stage.shop().await["state"] == "served" && stage.orders().await == 0).then_some(())
        })
        .await;
    assert!(pebble.orders() <= 4, "one for each name, and one anew at the most:\n{}", pebble.log());
    assert_eq!(stage.kept().await.len(), 2);
    stage.end().await;
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_told_why_and_served_once_it_leads_here() {
    let (ports, dns) = (Ports::open().await, Dns::start());
    dns.host(API, Ipv4Addr::LOCALHOST);
    // Nobody listens there.
    dns.host(SHOP, Ipv4Addr::new(127, 0, 0, 99));
    let (numbers, address) = (ports.numbers(), dns.address);
    let pebble = off(move || Pebble::start(numbers, address, &[("PEBBLE_WFE_NONCEREJECT", "0")])).await;
    let mut all = config(&pebble);
    all.acme.challenges = vec![ChallengeChoice::Http, ChallengeChoice::TlsAlpn];
    let mut stage = Stage::set(all, ports).await;
    let shop = stage.failed("HTTP-01").await;
    let reason = shop["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("127.0.0.99") || reason.contains("refused"), "{reason}");
    assert_eq!((&shop["state"], &shop["attempts"], shop["next_at"].is_string()), (&json!("failed"), &json!(1), true));
    assert_eq!(stage.events("certificate.failed").await, 1);
    for _ in 0..5 {
        stage.keeper.look().await.expect("a round");
    }
    assert_eq!(stage.shop().await["attempts"], 1, "not before its time");
    stage.api.clock.advance(60_000);
    stage.failed("TLS-ALPN-01").await;

    let said = json!({"ordered": false, "domain": SHOP});
    let put = format!("{AT}/auto");
    let off = stage.api.call("PUT", &put, Some(&stage.root.token), Some(&said)).await.json();
    assert_eq!(off["items"][0]["state"], "off", "{off}");
    stage.until("its order is dropped", async |stage: &mut Stage| stage.order().await.is_none().then_some(())).await;
    dns.forget(SHOP);
    dns.host(SHOP, Ipv4Addr::LOCALHOST);
    let absent = json!({"ordered": true, "domain": "www.example.com"});
    assert_eq!(stage.api.call("PUT", &put, Some(&stage.root.token), Some(&absent)).await.status, 422);
    let said = json!({"ordered": true});
    assert_eq!(stage.api.call("PUT", &put, Some(&stage.root.token), Some(&said)).await.status, 200);
    stage.served().await;
    assert_ne!(stage.get(&pebble, SHOP).await, "000");
    stage.end().await;
}

#[tokio::test]
async fn an_authority_that_is_down_is_told_and_the_second_one_steps_in_after_three_tries_by_tls_alpn() {
    let (ports, dns) = (Ports::open().await, Dns::start());
    here(&dns);
    let (numbers, address) = (ports.numbers(), dns.address);
    let pebble = off(move || Pebble::start(numbers, address, &[("PEBBLE_WFE_NONCEREJECT", "0")])).await;
    let mut all = config(&pebble);
    all.acme.directory = format!("https://localhost:{}/dir", free_port());
    all.acme.second_directory = Some(pebble.directory.clone());
    all.acme.challenges = vec![ChallengeChoice::TlsAlpn];
    all.acme.key_type = KeyType::Rsa2048;
    let mut stage = Stage::set(all, ports).await;
    for attempts in 1..=3 {
        stage
            .until("a try fails", async |stage: &mut Stage| {
                let shop = stage.shop().await;
                (shop["attempts"] == attempts).then_some(())
            })
            .await;
        let shop = stage.shop().await;
        assert!(shop["reason"].as_str().is_some_and(|reason| reason.contains("cannot be reached")), "{shop}");
        stage.api.clock.advance(60_000 << (attempts - 1));
    }
    assert_eq!(pebble.orders(), 0);
    stage.served().await;
    assert_ne!(stage.get(&pebble, SHOP).await, "000");
    assert_eq!(stage.events("certificate.failed").await, 1, "the same reason is told once");
    stage.end().await;
}

#[tokio::test]
async fn an_authority_that_comes_back_and_has_forgotten_everything_is_asked_anew() {
    let (ports, dns) = (Ports::open().await, Dns::start());
    here(&dns);
    let (numbers, address) = (ports.numbers(), dns.address);
    let mut pebble = off(move || Pebble::prepared(numbers, address, &[("PEBBLE_WFE_NONCEREJECT", "0")])).await;
    let mut stage = Stage::set(config(&pebble), ports).await;
    stage.failed("cannot be reached").await;
    // An account of another life: pebble keeps nothing.
    let mut tx = stage.api.ctx.store.begin().await.expect("begin");
    let gone = pebble.directory.replace("/dir", "/my-account/7");
    orders::register(&mut tx, &pebble.directory, Some(&gone)).await.expect("written");
    tx.commit().await.expect("committed");
    let pebble = off(move || {
        pebble.boot();
        pebble
    })
    .await;
    stage
        .until("it is back", async |stage: &mut Stage| {
            stage.api.clock.advance(10_000);
            let shop = stage.shop().await;
            (shop["state"] == "served" && stage.orders().await == 0).then_some(())
        })
        .await;
    assert_ne!(stage.get(&pebble, SHOP).await, "000");
    stage.end().await;
}

#[tokio::test]
async fn all_hosts_of_the_base_domain_share_a_wildcard_that_dynamic_updates_prove() {
    let ports = Ports::open().await;
    let named = off(|| Named::start("example.test")).await;
    let (numbers, address) = (ports.numbers(), named.address);
    let pebble = off(move || Pebble::start(numbers, address, &[("PEBBLE_WFE_NONCEREJECT", "0")])).await;
    let mut all = config(&pebble);
    all.acme.challenges = vec![ChallengeChoice::Http, ChallengeChoice::Dns];
    all.acme.dns = DnsChoice::Rfc2136;
    all.acme.dns_zone = Some("example.test".parse().expect("a host"));
    all.acme.dns_server = Some(named.address);
    all.acme.dns_user = Some(Named::KEY_NAME.into());
    all.acme.dns_key = Some(Secret::new(Named::KEY.into()));
    let mut stage = Stage::set(all.clone(), ports).await;
    stage.served().await;
    assert_eq!(pebble.orders(), 1, "one for all");
    for host in [SHOP, API, "another.apps.example.test"] {
        assert_ne!(stage.get(&pebble, host).await, "000", "{host}");
    }
    let kept = stage.kept().await;
    assert_eq!(kept.iter().map(|(_, names)| names.clone()).collect::<Vec<_>>(), [[format!("*.{BASE}")]]);
    let log = named.log();
    assert!(log.contains("adding an RR") && log.contains("deleting an RR"), "the record is taken back:\n{log}");
    assert_eq!(stage.app.name.as_str(), "shop");
    stage.end().await;
}
