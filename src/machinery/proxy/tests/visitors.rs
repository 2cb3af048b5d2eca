use super::rules::asking;
use super::*;
use crate::base::model::Traffic;

/// The old and the new release of an app whose canary cookie is `beta`.
struct Shop {
    old: Backend,
    new: Backend,
    rules: Arc<Rules>,
}

impl Shop {
    async fn open(sticky: bool) -> Self {
        let traffic = Traffic { canary_cookie: Some("beta".into()), sticky, ..Traffic::default() };
        assert!(traffic.faults().is_empty());
        Self {
            old: Backend::saying("old").await,
            new: Backend::saying("new").await,
            rules: Arc::new(Rules::new(traffic)),
        }
    }

    /// `percent` of the requests to the new one; none: it is not there.
    fn table(&self, percent: Option<u8>) -> RouteTable {
        let rules = Some(Arc::clone(&self.rules));
        let upstream = |backend: &Backend, name: &str| vec![Upstream::new(backend.address, name)];
        let canary = percent.map(|percent| Portion { percent, upstreams: upstream(&self.new, "new") });
        let target = Target { rules, canary, ..plain(TargetState::Live, upstream(&self.old, "old")) };
        RouteTable::new(None, [(host("shop.test"), Arc::new(target))])
    }
}

/// Who answered, and the cookie that was given.
async fn ask(bench: &Bench, cookie: &str) -> (String, Option<String>) {
    let field_of = |cookie: &str| if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    let answer = bench.raw(asking(&field_of(cookie))).await;
    let given = answer.lines().filter_map(|line| line.to_lowercase().strip_prefix("set-cookie: ").map(str::to_owned));
    let given = given.into_iter().find(|cookie| cookie.starts_with("beta="));
    (body(&answer).to_owned(), given.and_then(|cookie| Some(cookie.split(';').next()?.to_owned())))
}

#[tokio::test]
async fn who_says_new_or_old_gets_it_however_small_the_canary() {
    for sticky in [false, true] {
        let shop = Shop::open(sticky).await;
        for percent in [0, 1, 100] {
            let bench = Bench::start(shop.table(Some(percent)), quick()).await;
            for _ in 0..20 {
                assert_eq!(ask(&bench, "a=b; beta=new").await, ("new".into(), None), "{percent} %");
                assert_eq!(ask(&bench, "beta=old").await, ("old".into(), None), "{percent} %");
            }
        }
        // Without a canary there is but one, and no cookie is given.
        let bench = Bench::start(shop.table(None), quick()).await;
        for cookie in ["beta=new", "beta=old", "beta=5", ""] {
            assert_eq!(ask(&bench, cookie).await, ("old".into(), None), "{cookie}");
        }
    }
}

#[tokio::test]
async fn a_visitor_stays_where_the_first_request_went_and_moves_once_as_the_canary_grows() {
    let shop = Shop::open(false).await;
    let bench = Bench::start(shop.table(Some(50)), quick()).await;
    let mut visitors = Vec::new();
    for _ in 0..40 {
        let (first, cookie) = ask(&bench, "").await;
        visitors.push((first, cookie.expect("a cookie")));
    }
    // One in 2^39 of these tests has all of one kind.
    assert!(visitors.iter().any(|(first, _)| first == "new") && visitors.iter().any(|(first, _)| first == "old"));
    for _ in 0..3 {
        for (first, cookie) in &visitors {
            assert_eq!(ask(&bench, cookie).await, (first.clone(), None), "{cookie}");
        }
    }
    let bench = Bench::start(shop.table(Some(80)), quick()).await;
    for (first, cookie) in &visitors {
        let number: u8 = cookie.trim_start_matches("beta=").parse().expect("a number");
        let (now, _) = ask(&bench, cookie).await;
        assert_eq!(now, if number < 80 { "new" } else { "old" }, "{cookie}");
        assert!(first == "old" || now == "new", "{cookie}: who had the new one keeps it");
    }
}

#[tokio::test]
async fn what_the_cookie_cannot_say_is_drawn_anew() {
    let shop = Shop::open(false).await;
    let bench = Bench::start(shop.table(Some(100)), quick()).await;
    for cookie in ["beta=100", "beta=../new", "beta=", "beta=new%0d%0a", "beta=\"new\"", "alpha=new"] {
        let (answer, given) = ask(&bench, cookie).await;
        assert_eq!(answer, "new", "{cookie}");
        let number = given.and_then(|given| given.strip_prefix("beta=")?.parse::<u8>().ok());
        assert!(number.is_some_and(|number| number < 100), "{cookie}");
    }
}

#[tokio::test]
async fn the_group_goes_before_the_replica_and_nobody_is_left_without_an_answer() {
    let shop = Shop::open(true).await;
    let bench = Bench::start(shop.table(Some(0)), quick()).await;
    // The cookie of the old replica, and of the new group: a browser that was served before the canary began.
    let first = bench.raw(asking("")).await;
    let replica = first
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("set-cookie: ")?.split(';').next().map(str::to_owned));
    let replica = replica.filter(|cookie| cookie.starts_with("hythe_replica=")).expect("a cookie of the replica");
    for _ in 0..20 {
        assert_eq!(ask(&bench, &format!("{replica}; beta=new")).await.0, "new");
    }
    // Nobody of the canary takes requests: the others do.
    let table = shop.table(Some(50));
    table.upstreams().filter(|upstream| upstream.replica() == "new").for_each(|upstream| upstream.retire());
    let bench = Bench::start(table, quick()).await;
    assert_eq!(ask(&bench, "beta=new").await.0, "old");
}
