use super::super::metrics;
use super::*;

#[tokio::test]
async fn samples_add_up_in_their_step_and_are_purged() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let sample = |requests: u64| {
            let requests = Requests { statuses: [0, requests, 0, 0, 0], ..Requests::default() };
            Sample { requests, ..Sample::default() }
        };
        for (millis, requests) in [(0, 1), (59_999, 2), (60_000, 4), (120_000, 8)] {
            for step in [60, 600] {
                metrics::add(&mut tx, "env_a", step, at(millis), &sample(requests)).await.expect("add");
            }
        }
        metrics::add(&mut tx, "env_b", 60, at(0), &sample(100)).await.expect("add");
        let list = async |tx: &mut Tx, subject: &str, step: i64, since: i64, until: i64| {
            let found = metrics::list(tx, subject, step, (at(since), at(until))).await.expect("list");
            found.into_iter().map(|(at, sample)| (at.0, sample.requests.count())).collect::<Vec<_>>()
        };
        assert_eq!(list(&mut tx, "env_a", 60, 0, 120_000).await, [(0, 3), (60_000, 4)]);
        assert_eq!(list(&mut tx, "env_a", 600, 0, 600_000).await, [(0, 15)]);
        assert_eq!(list(&mut tx, "env_b", 60, 0, 600_000).await, [(0, 100)]);
        assert_eq!(metrics::purge(&mut tx, 60, at(60_000)).await.expect("purge"), 2);
        assert_eq!(list(&mut tx, "env_a", 60, 0, 600_000).await, [(60_000, 4), (120_000, 8)]);
        assert_eq!(list(&mut tx, "env_a", 600, 0, 600_000).await, [(0, 15)]);
    })
    .await;
}
