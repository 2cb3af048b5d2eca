use super::super::events::{self, NewEvent, Subject};
use super::super::webhooks::{self, Share};
use super::*;
use crate::base::model::{Kinds, Webhook};

const MINUTE: i64 = 60_000;

fn event<'a>(of: Subject<'a>, happened: Happened, once: &str) -> NewEvent<'a> {
    let subject = "production".into();
    NewEvent { at: at(1), of, happened, subject, actor: None, cause: None, once: Some(once.into()) }
}

fn share(each: i64) -> Share<'static> {
    Share { each, most: 9, but: &[] }
}

fn webhook(app: &App, environment: Option<&EnvironmentId>, kinds: &[&str]) -> Webhook {
    let kinds: Vec<String> = kinds.iter().map(|k| (*k).to_owned()).collect();
    Webhook {
        id: WebhookId::fresh(),
        app_id: app.id.clone(),
        environment_id: environment.cloned(),
        kinds: Kinds::new(&kinds).expect("kinds"),
        shown: "https://example.com:443/…".into(),
        created_at: at(1),
    }
}

#[tokio::test]
async fn an_event_goes_to_the_webhooks_that_ask_for_it() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let production = environment(&mut tx, &world.shop, "production").await;
        let staging = environment(&mut tx, &world.shop, "staging").await;
        let all = webhook(&world.shop, None, &[]);
        let one = webhook(&world.shop, Some(&staging.id), &[]);
        let kinds = webhook(&world.shop, None, &["route.withdrawn", "environment.*"]);
        let other = webhook(&world.blog, None, &[]);
        for (place, hook) in [&all, &one, &kinds, &other].into_iter().enumerate() {
            webhooks::insert(&mut tx, hook, &[place as u8]).await.expect("insert");
        }
        let asleep = || Happened::EnvironmentAsleep { rollout: 1 };
        let at_production = event(Subject::Environment(&production.id), asleep(), "a");
        assert!(events::insert(&mut tx, &at_production).await.expect("insert"));
        assert!(!events::insert(&mut tx, &at_production).await.expect("told before"));
        let of = Subject::Environment(&staging.id);
        assert!(events::insert(&mut tx, &event(of, Happened::Restarted {}, "b")).await.expect("insert"));
        let of = Subject::App(&world.shop.id);
        assert!(
            events::insert(&mut tx, &event(of, Happened::AppCreated { name: "x".into() }, "c")).await.expect("insert")
        );
        let mut counts = Vec::new();
        for hook in [&all, &one, &kinds, &other] {
            counts.push(webhooks::deliveries(&mut tx, &hook.id, None, 10).await.expect("deliveries").len());
        }
        assert_eq!(counts, [3, 1, 1, 0], "all of the app, one environment, some kinds, another app");
        let (found, sealed) = webhooks::sealed(&mut tx, &kinds.id).await.expect("sealed").expect("there");
        assert_eq!((found.kinds, sealed), (kinds.kinds, vec![2]));

        let outsider = world.member(&mut tx, "outsider", MembershipScope::Space(world.green.id.clone())).await;
        assert!(webhooks::of_app(&mut tx, &outsider, &world.shop.id).await.expect("of").is_empty());
        assert!(!webhooks::delete(&mut tx, &outsider, &world.shop.id, &all.id).await.expect("delete"));
        assert!(!webhooks::delete(&mut tx, &Scope::Platform, &world.blog.id, &all.id).await.expect("delete"));
        assert!(webhooks::delete(&mut tx, &Scope::Platform, &world.shop.id, &all.id).await.expect("delete"));
        assert_eq!(webhooks::deliveries(&mut tx, &all.id, None, 10).await.expect("deliveries"), []);
        assert_eq!(events::purge(&mut tx, at(2), 100).await.expect("purge"), 3);
        assert_eq!(webhooks::next_due(&mut tx).await.expect("due"), None, "what is purged is not sent");
    })
    .await;
}

#[tokio::test]
async fn a_delivery_is_claimed_by_one_and_given_back_by_time() {
    for_each_database(|store| async move {
        let mut tx = store.begin().await.expect("begin");
        let world = World::insert(&mut tx).await;
        let env = environment(&mut tx, &world.shop, "production").await;
        let (busy, idle) = (webhook(&world.shop, None, &[]), webhook(&world.shop, None, &["route.*"]));
        webhooks::insert(&mut tx, &busy, &[]).await.expect("insert");
        webhooks::insert(&mut tx, &idle, &[]).await.expect("insert");
        let of = Subject::Environment(&env.id);
        for once in ["a", "b", "c"] {
            events::insert(&mut tx, &event(of, Happened::Restarted {}, once)).await.expect("insert");
        }
        events::insert(&mut tx, &event(of, Happened::RouteWithdrawn(Default::default()), "d")).await.expect("insert");
        assert_eq!(webhooks::next_due(&mut tx).await.expect("due"), Some(at(1)));
        assert!(webhooks::claim(&mut tx, at(0), at(MINUTE), share(9)).await.expect("claim").is_empty(), "not due yet");
        let but = [busy.id.clone(), idle.id.clone()];
        let nothing = Share { but: &but, ..share(9) };
        assert!(webhooks::claim(&mut tx, at(1), at(MINUTE), nothing).await.expect("claim").is_empty());
        let claimed = webhooks::claim(&mut tx, at(1), at(MINUTE), share(2)).await.expect("claim");
        let of_busy = claimed.iter().filter(|d| d.webhook_id == busy.id).count();
        assert_eq!((claimed.len(), of_busy), (3, 2), "one webhook does not take all the room");
        assert!(claimed.iter().all(|d| d.attempts == 1 && d.due_at == at(MINUTE)));
        let rest = webhooks::claim(&mut tx, at(1), at(MINUTE), share(9)).await.expect("claim");
        assert_eq!(rest.len(), 2);
        assert!(webhooks::claim(&mut tx, at(2), at(MINUTE), share(9)).await.expect("claim").is_empty());

        let taken = Delivery { state: DeliveryState::Delivered, finished_at: Some(at(5)), ..claimed[0].clone() };
        webhooks::note(&mut tx, &taken, at(MINUTE)).await.expect("note");
        let again = Delivery { due_at: at(9), reason: Some("it answered\0 500".into()), ..claimed[1].clone() };
        webhooks::note(&mut tx, &again, at(MINUTE)).await.expect("note");
        let lost = Delivery { state: DeliveryState::Failed, finished_at: Some(at(5)), ..claimed[2].clone() };
        webhooks::note(&mut tx, &lost, at(MINUTE)).await.expect("note");
        // A note of a claim that is not ours any more changes nothing.
        webhooks::note(&mut tx, &lost, at(7)).await.expect("note");
        let second = webhooks::claim(&mut tx, at(9), at(2 * MINUTE), share(9)).await.expect("claim");
        assert_eq!(
            second.iter().map(|d| (d.attempts, d.reason.as_deref())).collect::<Vec<_>>(),
            [(2, Some("it answered 500"))]
        );
        let after_a_crash = webhooks::claim(&mut tx, at(MINUTE), at(2 * MINUTE), share(9)).await.expect("claim");
        assert_eq!(after_a_crash.len(), 2, "what was claimed and never noted is due again");

        let standing = webhooks::standing(&mut tx, &world.shop.id).await.expect("standing");
        assert_eq!(standing.iter().map(|(.., count)| count).sum::<i64>(), 4);
        assert_eq!(webhooks::replay_failed(&mut tx, &lost.webhook_id, at(MINUTE)).await.expect("replay"), 1);
        webhooks::replay(&mut tx, &taken.webhook_id, &taken.event_id, at(MINUTE)).await.expect("replay");
        let replayed = webhooks::claim(&mut tx, at(MINUTE), at(3 * MINUTE), share(9)).await.expect("claim");
        assert_eq!(replayed.iter().map(|d| d.attempts).collect::<Vec<_>>(), [1, 1]);
    })
    .await;
}
