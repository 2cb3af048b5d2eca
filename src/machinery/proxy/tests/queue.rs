use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::rules::asking;
use super::*;
use crate::base::model::{DomainName, Traffic};

/// Answers with its name, one request for each permit that the test gives.
struct Slow {
    backend: Backend,
    go: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
}

impl Slow {
    async fn start(name: &'static str) -> Self {
        let (go, most, inside) =
            (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (leave, peak) = (Arc::clone(&go), Arc::clone(&most));
        let backend = Backend::start(move |mut stream, seen| {
            let (leave, peak, inside) = (Arc::clone(&leave), Arc::clone(&peak), Arc::clone(&inside));
            async move {
                while let Some(heard) = request(&mut stream).await {
                    peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    seen.lock().expect("no panic").push(heard);
                    leave.acquire().await.expect("open").forget();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if stream.write_all(ok(name).as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { backend, go, most }
    }

    fn upstream(&self, name: &str) -> Arc<Upstream> {
        Upstream::new(self.backend.address, name)
    }
}

/// An app of which the tests send one table after the other.
struct App {
    meter: Arc<Meter>,
    name: &'static str,
}

impl App {
    fn new(name: &'static str) -> Self {
        Self { meter: Arc::new(Meter::new(name)), name }
    }

    fn route(&self, words: &[(&str, &str)], upstreams: Vec<Arc<Upstream>>) -> (DomainName, Arc<Target>) {
        let mut traffic = Traffic::default();
        words.iter().for_each(|(name, value)| traffic.say(name, value).expect("a rule"));
        assert!(traffic.faults().is_empty(), "{:?}", traffic.faults());
        let rules = (!traffic.is_plain()).then(|| Arc::new(Rules::new(traffic)));
        let meter = Arc::clone(&self.meter);
        (host(self.name), Arc::new(Target { rules, meter, ..plain(TargetState::Live, upstreams) }))
    }

    fn table(&self, words: &[(&str, &str)], upstreams: Vec<Arc<Upstream>>) -> RouteTable {
        RouteTable::new(None, [self.route(words, upstreams)])
    }

    async fn waits(&self, count: usize) {
        until(|| self.meter.queue().waiting() == count).await;
    }
}

async fn send(bench: &Bench) -> TcpStream {
    let mut stream = bench.connect().await;
    stream.write_all(asking("").as_bytes()).await.expect("writes");
    stream
}

#[tokio::test]
async fn a_replica_is_given_so_many_and_the_rest_come_in_the_order_they_came() {
    let (one, two) = (Slow::start("ok").await, Slow::start("ok").await);
    let (app, upstreams) = (App::new("shop.test"), [one.upstream("one"), two.upstream("two")]);
    let bench = Bench::start(app.table(&[("in-flight", "2"), ("wait", "300")], upstreams.to_vec()), quick()).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(send(&bench).await);
    }
    until(|| one.backend.requests() + two.backend.requests() == 4).await;
    for n in 0..20 {
        let mut stream = bench.connect().await;
        let text = format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.expect("writes");
        open.push(stream);
        // One after the other, so that their order is known.
        app.waits(n + 1).await;
    }
    assert_eq!(upstreams.each_ref().map(|u| u.in_flight()), [2, 2]);
    for n in 0..20 {
        let slow = if n % 3 == 0 { &two } else { &one };
        slow.go.add_permits(1);
        app.waits(19 - n).await;
        let came = || [&one, &two].iter().any(|s| s.backend.last().starts_with(&format!("GET /{n} ")));
        until(came).await;
    }
    one.go.add_permits(30);
    two.go.add_permits(30);
    for mut stream in open {
        assert_eq!(body(&rest(&mut stream).await), "ok");
    }
    assert_eq!([&one, &two].map(|slow| slow.most.load(Ordering::SeqCst)), [2, 2], "never more at once");
    until(|| upstreams.iter().all(|u| u.in_flight() == 0)).await;
}

#[tokio::test]
async fn who_finds_the_line_full_or_waits_too_long_is_refused_with_a_time_to_come_back() {
    let slow = Slow::start("ok").await;
    let app = App::new("shop.test");
    let bench = |words: &[(&str, &str)]| Bench::start(app.table(words, vec![slow.upstream("one")]), quick());
    let bench_full = bench(&[("in-flight", "1"), ("queue", "2"), ("wait", "300")]).await;
    let mut inside = send(&bench_full).await;
    until(|| slow.backend.requests() == 1).await;
    let mut waiting = [send(&bench_full).await, send(&bench_full).await];
    app.waits(2).await;
    for accepted in ["text/html", "application/json"] {
        let answer = bench_full.raw(asking(&format!("Accept: {accepted}\r\n"))).await;
        assert_eq!((status(&answer), field(&answer, "retry-after").as_deref()), (503, Some("5")), "{answer}");
        assert!(answer.contains("App is busy"), "{answer}");
    }
    slow.go.add_permits(3);
    assert_eq!(body(&rest(&mut inside).await), "ok");
    for stream in &mut waiting {
        assert_eq!(body(&rest(stream).await), "ok");
    }

    // A line of none, and one in which nothing moves.
    let none = bench(&[("in-flight", "1"), ("queue", "0")]).await;
    let mut inside = send(&none).await;
    until(|| slow.backend.requests() == 4).await;
    assert_eq!(status(&none.get("shop.test").await), 503);
    slow.go.add_permits(1);
    rest(&mut inside).await;
    let short = bench(&[("in-flight", "1"), ("wait", "1")]).await;
    let mut inside = send(&short).await;
    until(|| slow.backend.requests() == 5).await;
    assert_eq!(status(&short.get("shop.test").await), 503, "after its second");
    assert_eq!(app.meter.queue().waiting(), 0);
    slow.go.add_permits(1);
    assert_eq!(body(&rest(&mut inside).await), "ok");
}

#[tokio::test]
async fn who_leaves_the_line_holds_nobody_up() {
    let slow = Slow::start("ok").await;
    let app = App::new("shop.test");
    let bench =
        Bench::start(app.table(&[("in-flight", "1"), ("wait", "300")], vec![slow.upstream("one")]), quick()).await;
    let mut inside = send(&bench).await;
    until(|| slow.backend.requests() == 1).await;
    let (first, second) = (send(&bench).await, send(&bench).await);
    app.waits(2).await;
    let mut third = send(&bench).await;
    app.waits(3).await;
    drop(second);
    app.waits(2).await;
    drop(first);
    app.waits(1).await;
    slow.go.add_permits(2);
    assert_eq!([body(&rest(&mut inside).await), body(&rest(&mut third).await)], ["ok", "ok"]);
    assert_eq!(slow.backend.requests(), 2, "the app heard nothing of those who left");
}

#[tokio::test]
async fn a_new_table_lets_in_whom_it_has_room_for() {
    let (old, new) = (Slow::start("old").await, Slow::start("new").await);
    let app = App::new("shop.test");
    let bounds = [("in-flight", "1"), ("wait", "300")];
    let gone = old.upstream("old");
    let bench = Bench::start(app.table(&bounds, vec![Arc::clone(&gone)]), quick()).await;
    let mut inside = send(&bench).await;
    until(|| old.backend.requests() == 1).await;
    let mut waiting = vec![send(&bench).await, send(&bench).await, send(&bench).await];
    app.waits(3).await;
    // A switch: what is inside the old one takes no room in the new one.
    let fresh = new.upstream("new");
    bench.publish(app.table(&bounds, vec![Arc::clone(&fresh)]));
    gone.retire();
    until(|| new.backend.requests() == 1).await;
    app.waits(2).await;
    // A larger bound, and none.
    bench.publish(app.table(&[("in-flight", "2"), ("wait", "300")], vec![Arc::clone(&fresh)]));
    until(|| new.backend.requests() == 2).await;
    app.waits(1).await;
    bench.publish(app.table(&[], vec![Arc::clone(&fresh)]));
    until(|| new.backend.requests() == 3).await;
    app.waits(0).await;
    new.go.add_permits(3);
    old.go.add_permits(1);
    assert_eq!(body(&rest(&mut inside).await), "old");
    for stream in &mut waiting {
        assert_eq!(body(&rest(stream).await), "new");
    }

    // Whoever waits when the app is stopped, or its host becomes another's, waits no longer.
    for (end, code) in [
        (RouteTable::new(None, [(host("shop.test"), target(TargetState::Stopped, vec![Arc::clone(&fresh)]))]), 503),
        (App::new("shop.test").table(&[], vec![Arc::clone(&fresh)]), 503),
        (RouteTable::default(), 404),
    ] {
        let bench = Bench::start(app.table(&bounds, vec![Arc::clone(&fresh)]), quick()).await;
        let heard = new.backend.requests();
        let mut inside = send(&bench).await;
        until(|| new.backend.requests() == heard + 1).await;
        let mut waits = send(&bench).await;
        app.waits(1).await;
        bench.publish(end);
        assert_eq!(status(&rest(&mut waits).await), code);
        new.go.add_permits(1);
        assert_eq!(body(&rest(&mut inside).await), "new");
        assert_eq!(new.backend.requests(), heard + 1);
    }
}

#[tokio::test]
async fn one_app_s_line_is_nothing_to_another() {
    let (slow, quick_one) = (Slow::start("slow").await, Backend::saying("quick").await);
    let (busy, free) = (App::new("shop.test"), App::new("free.test"));
    let bounds = [("in-flight", "1"), ("queue", "1000"), ("wait", "300")];
    let routes = [
        busy.route(&bounds, vec![slow.upstream("slow")]),
        free.route(&[("in-flight", "1"), ("queue", "0")], vec![quick_one.upstream()]),
    ];
    let bench = Bench::start(RouteTable::new(None, routes), quick()).await;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(send(&bench).await);
    }
    busy.waits(199).await;
    for _ in 0..50 {
        assert_eq!(body(&bench.get("free.test").await), "quick");
    }
    slow.go.add_permits(200);
    for mut stream in open {
        assert_eq!(body(&rest(&mut stream).await), "slow");
    }
    assert_eq!(slow.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_tunnel_has_a_place_as_long_as_it_is_open() {
    let shop = Backend::start(|mut stream, seen| async move {
        while let Some(heard) = request(&mut stream).await {
            let upgrades = heard.to_lowercase().contains("upgrade: chat");
            seen.lock().expect("no panic").push(heard);
            if upgrades {
                let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
                stream.write_all(head).await.expect("writes");
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            stream.write_all(ok("ok").as_bytes()).await.expect("writes");
        }
    })
    .await;
    let app = App::new("shop.test");
    let bench = Bench::start(app.table(&[("in-flight", "1"), ("wait", "300")], vec![shop.upstream()]), quick()).await;
    let mut tunnel = bench.connect().await;
    let upgrade = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
    tunnel.write_all(upgrade.as_bytes()).await.expect("writes");
    assert_eq!(status(&read_to(&mut tunnel, "\r\n\r\n").await), 101);
    let mut waits = send(&bench).await;
    app.waits(1).await;
    assert_eq!(shop.requests(), 1);
    drop(tunnel);
    assert_eq!(body(&rest(&mut waits).await), "ok");
}

#[tokio::test]
async fn a_replica_that_refuses_is_no_reason_to_overfill_the_others() {
    let slow = Slow::start("ok").await;
    let app = App::new("shop.test");
    let (down, up) = (Upstream::new(nobody().await, "down"), slow.upstream("up"));
    let bounds = [("in-flight", "1"), ("wait", "300")];
    let bench = Bench::start(app.table(&bounds, vec![Arc::clone(&down), Arc::clone(&up)]), quick()).await;
    let mut open = Vec::new();
    for n in 0..10 {
        open.push(send(&bench).await);
        until(|| app.meter.queue().waiting() + slow.backend.requests() == n + 1).await;
        assert!(up.in_flight() <= 1);
    }
    slow.go.add_permits(10);
    for mut stream in open {
        assert_eq!(body(&rest(&mut stream).await), "ok");
    }
    assert_eq!(slow.most.load(Ordering::SeqCst), 1);
}

/// Clients come and go at random, tables change: in the end nobody waits and nothing is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_in_the_line() {
    let backends = [Backend::saying("ok").await, Backend::saying("ok").await];
    let upstreams: Vec<_> =
        backends.iter().enumerate().map(|(n, b)| Upstream::new(b.address, format!("replica-{n}"))).collect();
    let app = Arc::new(App::new("shop.test"));
    let bounds = [("in-flight", "2"), ("queue", "1000"), ("wait", "300")];
    let bench = Arc::new(Bench::start(app.table(&bounds, upstreams.clone()), quick()).await);
    let mut clients = tokio::task::JoinSet::new();
    for worker in 0..32 {
        let bench = Arc::clone(&bench);
        clients.spawn(async move {
            for n in 0..40 {
                let mut stream = send(&bench).await;
                if (worker + n) % 5 == 0 {
                    drop(stream);
                } else {
                    assert_eq!(body(&rest(&mut stream).await), "ok");
                }
            }
        });
    }
    while !clients.is_empty() {
        bench.publish(app.table(&bounds, upstreams.clone()));
        tokio::task::yield_now().await;
        while let Some(client) = clients.try_join_next() {
            client.expect("no client failed");
        }
    }
    until(|| app.meter.queue().waiting() == 0 && upstreams.iter().all(|u| u.in_flight() == 0)).await;
    assert!(backends.iter().map(Backend::requests).sum::<usize>() >= 32 * 32);
}
