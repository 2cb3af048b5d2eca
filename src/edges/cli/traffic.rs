//! What holds for an app's requests.

use super::Session;
use super::args::TrafficVerb;
use super::failure::{Failure, Result};
use crate::base::model::Traffic;
use crate::edges::api::types::{HeldRule, TrafficChangeBody, TrafficView};

pub(super) async fn run(s: &mut Session, verb: TrafficVerb) -> Result<()> {
    let (app, environment) = match &verb {
        TrafficVerb::Traffic(at) | TrafficVerb::MaintenanceOn(at) | TrafficVerb::MaintenanceOff(at) => {
            (s.app_word(&at.app)?, at.environment.environment.clone())
        }
        TrafficVerb::TrafficSet { at, .. }
        | TrafficVerb::TrafficUnset { at, .. }
        | TrafficVerb::TrafficPagesSet { at, .. }
        | TrafficVerb::TrafficPagesRemove { at, .. }
        | TrafficVerb::TrafficUsersSet { at, .. }
        | TrafficVerb::TrafficUsersRemove { at, .. } => (s.app_flag(&at.app)?, at.environment.environment.clone()),
    };
    let mut change = TrafficChangeBody::default();
    let said = match verb {
        TrafficVerb::Traffic(_) => {
            let traffic = s.client.traffic(&app, &environment).await?;
            return show(s, &traffic).await;
        }
        TrafficVerb::MaintenanceOn(_) => {
            change.maintenance = Some(true);
            "under maintenance: every request is answered 503; end it with hythe maintenance:off".to_owned()
        }
        TrafficVerb::MaintenanceOff(_) => {
            change.maintenance = Some(false);
            "requests are served again".to_owned()
        }
        TrafficVerb::TrafficSet { rules, .. } => {
            for rule in &rules {
                let (name, value) = rule.split_once('=').ok_or_else(|| wrong(rule, "write RULE=VALUE"))?;
                set(&mut change, name, value)?;
            }
            String::new()
        }
        TrafficVerb::TrafficUnset { rules, .. } => {
            rules.iter().try_for_each(|rule| unset(&mut change, rule))?;
            String::new()
        }
        TrafficVerb::TrafficUsersSet { user, .. } => {
            if s.io.stdin_is_terminal {
                s.io.say(&format!("password of {user}:")).await?;
            }
            let password = s.io.read_line().await?;
            let said = format!("{user} comes in with the password");
            change.users.insert(user, Some(password));
            said
        }
        TrafficVerb::TrafficPagesSet { page, file, .. } => {
            let text = match file.filter(|file| file.as_os_str() != "-") {
                Some(file) => std::fs::read_to_string(&file)
                    .map_err(|error| Failure::new(format!("{} cannot be read: {error}", file.display())))?,
                None => s.io.read_all().await?,
            };
            let said = format!("{page} is shown as the app has it");
            change.pages.insert(page, Some(text));
            said
        }
        TrafficVerb::TrafficPagesRemove { page, .. } => {
            let said = format!("{page} is shown as the platform has it");
            change.pages.insert(page, None);
            said
        }
        TrafficVerb::TrafficUsersRemove { user, .. } => {
            let said = format!("{user} comes in no more");
            change.users.insert(user, None);
            said
        }
    };
    let traffic = s.client.change_traffic(&app, &environment, &change).await?;
    match said.is_empty() || s.json {
        true => show(s, &traffic).await,
        false => Ok(s.io.say(&said).await?),
    }
}

fn wrong(rule: &str, text: &str) -> Failure {
    Failure::usage(format!("{rule}: {text}"))
}

fn set(change: &mut TrafficChangeBody, name: &str, value: &str) -> Result<()> {
    let mut said = Traffic::default();
    said.say(name, value).map_err(|text| wrong(name, &text))?;
    match name.parse() {
        Ok(rule) => change.set(rule, &said),
        Err(_) => field(change, name, Some(value.to_owned())),
    }
    Ok(())
}

fn unset(change: &mut TrafficChangeBody, name: &str) -> Result<()> {
    let mut said = Traffic::default();
    said.say(name, "off").map_err(|text| wrong(name, &text))?;
    match name.parse() {
        Ok(rule) => change.set(rule, &Traffic::default()),
        Err(_) => field(change, name, None),
    }
    Ok(())
}

fn field(change: &mut TrafficChangeBody, name: &str, value: Option<String>) {
    match name.split_once('.') {
        Some(("request-header", field)) => drop(change.request_headers.insert(field.to_owned(), value)),
        Some((_, field)) => drop(change.response_headers.insert(field.to_owned(), value)),
        None => {}
    }
}

async fn show(s: &mut Session, traffic: &TrafficView) -> Result<()> {
    if s.json {
        return Ok(s.io.json(traffic).await?);
    }
    if traffic.held.is_empty() {
        return Ok(s.io.say("no rules: every request goes to the app as it is").await?);
    }
    let row = |held: &HeldRule| vec![held.rule.clone(), held.value.clone(), held.origin.clone()];
    let rows: Vec<_> = traffic.held.iter().map(row).collect();
    s.print(&["RULE", "VALUE", "FROM"], &rows).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_set_excepted_and_taken_away() {
        let mut beneath = Traffic::default();
        beneath.say("rate", "1/2").expect("a rule");
        let mut traffic = Traffic::default();
        let mut after = |step: &dyn Fn(&mut TrafficChangeBody)| {
            let mut change = TrafficChangeBody::default();
            step(&mut change);
            let (apply, _) = change.read().expect("it reads");
            apply(&mut traffic);
            let held = TrafficView::new(&traffic, &beneath).held;
            held.into_iter().map(|h| format!("{}={} {}", h.rule, h.value, h.origin)).collect::<Vec<_>>()
        };
        let say = |name: &'static str, value: &'static str| {
            move |change: &mut TrafficChangeBody| set(change, name, value).unwrap_or_else(|_| panic!("{name}"))
        };
        assert_eq!(after(&|_| {}), ["rate=1/2 app.json"]);
        assert_eq!(after(&say("rate", "10/20")), ["rate=10/20 set"]);
        assert_eq!(after(&say("rate", "off")), ["rate=off set"]);
        assert_eq!(after(&|change| unset(change, "rate").unwrap_or_else(|_| panic!("it is"))), ["rate=1/2 app.json"]);
        assert_eq!(after(&say("response-header.Server", "")), ["response-header.server= set", "rate=1/2 app.json"]);
        assert_eq!(
            after(&|change| unset(change, "response-header.server").unwrap_or_else(|_| panic!("it is"))),
            ["rate=1/2 app.json"]
        );
        for (name, value) in [("rate", "x"), ("sticky", "maybe"), ("allowed", "x"), ("request-headers", "x")] {
            assert!(set(&mut TrafficChangeBody::default(), name, value).is_err(), "{name}");
        }
        assert!(unset(&mut TrafficChangeBody::default(), "colour").is_err());
    }
}
