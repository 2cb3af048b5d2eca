//! Schedules: of `app.json` with the release that is live, and by hand.

use serde_json::Value;

use super::{listed, none_left};
use crate::harness::eventually;
use crate::push::Deployed;

fn crons(app: &Deployed) -> Vec<Value> {
    listed(&app.server, &["cron", "-a", "hello", "--json"])
}

fn names(app: &Deployed) -> Vec<String> {
    crons(app).iter().map(|cron| cron["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn schedules_come_and_go_with_the_live_release() {
    let app = Deployed::new();
    let owner = &app.server.owner;
    app.server.cli(owner, &["cron:add", "-a", "hello", "--name", "mine", "@weekly", "true"]).expect("cron:add");
    let manifest = |schedule: &str| {
        format!(
            r#"{{"cron": [{{"name": "tidy", "schedule": "{schedule}", "timezone": "Europe/Zurich", "command": "echo tidied"}},
                {{"schedule": "@hourly", "command": "bin/beat"}}]}}"#
        )
    };
    app.repo.commit(&[("app.json", &manifest("0 3 * * *"))]);
    app.repo.push("main").accepted();
    assert_eq!(names(&app), ["bin/beat", "mine", "tidy"]);
    let tidy = crons(&app).pop().expect("tidy");
    assert_eq!((tidy["origin"].as_str(), tidy["timezone"].as_str()), (Some("app.json"), Some("Europe/Zurich")));
    assert!(tidy["next_due"].is_string(), "{tidy}");
    // One that is not understood keeps the release from going live, and names its place.
    app.repo.commit(&[("app.json", &manifest("0 3 * *"))]);
    app.repo.push("main").refused(&["app.json: cron[0]: the schedule \"0 3 * *\" is not understood"]);
    assert_eq!(crons(&app).pop().expect("tidy")["schedule"], "0 3 * * *");
    app.repo.commit(&[("app.json", r#"{"cron": [{"name": "tidy", "schedule": "@daily", "command": "true"}]}"#)]);
    app.repo.push("main").accepted();
    assert_eq!(names(&app), ["mine", "tidy"]);
    assert_eq!(crons(&app)[1]["schedule"], "@daily");
    // Back to the first release, which had no schedules.
    app.server.cli(owner, &["rollback", "v1", "-a", "hello"]).expect("rollback");
    assert_eq!(names(&app), ["mine"]);
    app.server.cli(owner, &["cron:remove", "-a", "hello", "mine"]).expect("cron:remove");
    assert_eq!(names(&app), Vec::<String>::new());
}

#[test]
fn a_scheduled_command_is_run_now_and_remembered() {
    let app = Deployed::new();
    let owner = &app.server.owner;
    let line = "echo tidied by $HYTHE_PROCESS | cut -d. -f1; exit 2";
    app.server.cli(owner, &["cron:add", "-a", "hello", "--name", "tidy", "@yearly", line]).expect("cron:add");
    let taken = app.server.cli(owner, &["cron:add", "-a", "hello", "--name", "tidy", "@daily", "true"]);
    assert!(!taken.ok && taken.err.contains("already exists"), "{taken:?}");
    for (schedule, zone) in [("* * * * * *", "UTC"), ("$(id)", "UTC"), ("@daily", "Mars/Olympus")] {
        let told = app.server.cli(owner, &["cron:add", "-a", "hello", "--timezone", zone, schedule, "true"]);
        assert!(told.code == Some(2) && told.err.contains("write"), "{told:?}");
    }
    let id = app.server.cli(owner, &["cron:run", "-a", "hello", "tidy"]).expect("cron:run").trim().to_owned();
    let ended = app.server.cli(owner, &["run:logs", "-t", "-a", "hello", &id]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), "tidied by cron\n"), "{ended:?}");
    none_left(&app.server);
    let runs = listed(&app.server, &["cron:runs", "-a", "hello", "tidy", "--json"]);
    assert_eq!((runs.len(), runs[0]["exit_code"].as_i64(), runs[0]["state"].as_str()), (1, Some(2), Some("failed")));
    assert!(runs[0]["duration"].as_i64().is_some_and(|millis| millis > 0), "{runs:?}");
    let shown = app.server.ssh(owner, &["cron", "hello"]).expect("cron");
    assert!(shown.contains("tidy") && shown.contains("failed (2)"), "{shown}");
}

/// The real clock, the real engine: the next full minute.
#[test]
fn a_schedule_runs_when_it_is_due() {
    let app = Deployed::new();
    let owner = &app.server.owner;
    app.server.cli(owner, &["cron:add", "-a", "hello", "--name", "beat", "* * * * *", "echo beat"]).expect("cron:add");
    let run = eventually("it ran", || {
        let runs = listed(&app.server, &["cron:runs", "-a", "hello", "beat", "--json"]);
        runs.into_iter().next().filter(|run| run["state"] == "succeeded")
    });
    assert!(run["due_at"].as_str().is_some_and(|at| at.ends_with(":00.000Z")), "{run}");
    app.server.cli(owner, &["cron:remove", "-a", "hello", "beat"]).expect("cron:remove");
}
