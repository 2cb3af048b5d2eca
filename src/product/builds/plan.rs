//! Which buildpacks take part, from what each of them said; pure. Groups are tried in order. A group stands when its
//! buildpacks pass and their build plans meet: everything required is provided by the same or an earlier buildpack, and
//! everything provided is required by the same or a later one (buildpack specification, "Phase #1: Detection").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

/// What `bin/detect` of one buildpack left; all of it is hostile.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub exit: i64,
    pub plan: String,
    pub log: String,
}

pub(super) const PASSED: i64 = 0;
pub(super) const DECLINED: i64 = 100;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// Ids, in the order of building.
    pub group: Vec<String>,
    /// By id of the buildpack that provides it: what it was asked for.
    pub entries: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub name: String,
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub metadata: Table,
}

#[derive(Debug, PartialEq)]
pub(super) enum NoChoice {
    /// Nobody knows the tree.
    Unknown,
    /// `bin/detect` of this buildpack ended with an error.
    Errored { id: String, exit: i64 },
    /// Somebody passed, but what was asked for and what was offered did not meet.
    Unmet { id: String, cause: String },
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Plan {
    provides: Vec<Provide>,
    requires: Vec<Entry>,
    or: Vec<Alternative>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Alternative {
    provides: Vec<Provide>,
    requires: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provide {
    name: String,
}

/// Alternatives of one buildpack that are looked at; more are ignored, so that a plan cannot keep the platform busy.
const ALTERNATIVES: usize = 8;

pub(super) fn choose(order: &[&[(&str, bool)]], looks: &BTreeMap<String, Look>) -> Result<Choice, NoChoice> {
    if let Some((id, look)) = looks.iter().find(|(_, look)| look.exit != PASSED && look.exit != DECLINED) {
        return Err(NoChoice::Errored { id: id.clone(), exit: look.exit });
    }
    let mut unmet = None;
    for group in order {
        match stand(group, looks) {
            Ok(Some(choice)) => return Ok(choice),
            Ok(None) => {}
            Err(fault) => unmet = unmet.or(Some(fault)),
        }
    }
    Err(unmet.unwrap_or(NoChoice::Unknown))
}

/// The group as far as it passes; none if one that must pass does not.
fn stand(group: &[(&str, bool)], looks: &BTreeMap<String, Look>) -> Result<Option<Choice>, NoChoice> {
    let mut members = Vec::new();
    for &(id, optional) in group {
        let Some(look) = looks.get(id).filter(|look| look.exit == PASSED) else {
            if optional {
                continue;
            }
            return Ok(None);
        };
        let plan: Plan = toml::from_str(&look.plan)
            .map_err(|error| NoChoice::Unmet { id: id.to_owned(), cause: error.message().to_owned() })?;
        let mut alternatives = vec![Alternative { provides: plan.provides, requires: plan.requires }];
        alternatives.extend(plan.or.into_iter().take(ALTERNATIVES - 1));
        members.push(Member { id, optional, alternatives });
    }
    if members.iter().all(|member| member.optional) && !group.iter().all(|(_, optional)| *optional) {
        return Ok(None);
    }
    let mut fault = None;
    let mut trial = Vec::new();
    let found = search(&members, &mut trial, &mut fault);
    match (found, fault) {
        (Some(choice), _) => Ok(Some(choice)),
        (None, Some((id, cause))) => Err(NoChoice::Unmet { id, cause }),
        (None, None) => Ok(None),
    }
}

struct Member<'a> {
    id: &'a str,
    optional: bool,
    alternatives: Vec<Alternative>,
}

type Trial<'a> = Vec<(&'a str, &'a Alternative)>;

/// Depth first over the alternatives of each member; an optional one may also stay away.
fn search<'a>(
    members: &'a [Member<'a>],
    trial: &mut Trial<'a>,
    fault: &mut Option<(String, String)>,
) -> Option<Choice> {
    let Some((member, rest)) = members.split_first() else {
        return match meet(trial) {
            Ok(choice) => Some(choice),
            Err(cause) => {
                fault.get_or_insert(cause);
                None
            }
        };
    };
    for alternative in &member.alternatives {
        trial.push((member.id, alternative));
        let found = search(rest, trial, fault);
        trial.pop();
        if found.is_some() {
            return found;
        }
    }
    if member.optional { search(rest, trial, fault) } else { None }
}

fn meet(trial: &Trial<'_>) -> Result<Choice, (String, String)> {
    let mut entries: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for (place, (id, alternative)) in trial.iter().enumerate() {
        for provide in &alternative.provides {
            if !trial[place..].iter().any(|(_, other)| other.requires.iter().any(|r| r.name == provide.name)) {
                return Err(((*id).to_owned(), format!("nobody requires the \"{}\" that it provides", provide.name)));
            }
        }
        for require in &alternative.requires {
            let provider =
                trial[..=place].iter().find(|(_, other)| other.provides.iter().any(|p| p.name == require.name));
            let Some((provider, _)) = provider else {
                return Err(((*id).to_owned(), format!("nobody provides the \"{}\" that it requires", require.name)));
            };
            entries.entry((*provider).to_owned()).or_default().push(require.clone());
        }
    }
    if trial.is_empty() {
        return Err((String::new(), "no buildpack is left".to_owned()));
    }
    Ok(Choice { group: trial.iter().map(|(id, _)| (*id).to_owned()).collect(), entries })
}

/// The file at `CNB_BP_PLAN_PATH`.
pub(super) fn plan_text(entries: &[Entry]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        entries: &'a [Entry],
    }
    toml::to_string(&Document { entries }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(said: &[(&str, i64, &str)]) -> BTreeMap<String, Look> {
        let look = |exit, plan: &str| Look { exit, plan: plan.to_owned(), log: String::new() };
        said.iter().map(|&(id, exit, plan)| (id.to_owned(), look(exit, plan))).collect()
    }

    const OWN: &str = "[[provides]]\nname = \"a\"\n[[requires]]\nname = \"a\"\n[requires.metadata]\nroot = \"x\"\n";

    #[test]
    fn the_first_group_that_passes_builds() {
        let order: [&[(&str, bool)]; 2] = [&[("a", false), ("b", true)], &[("c", false)]];
        let choice = choose(&order, &looks(&[("a", 100, ""), ("b", 0, ""), ("c", 0, OWN)])).unwrap();
        assert_eq!(choice.group, ["c"]);
        assert_eq!(plan_text(&choice.entries["c"]), "[[entries]]\nname = \"a\"\n\n[entries.metadata]\nroot = \"x\"\n");
        let choice = choose(&order, &looks(&[("a", 0, ""), ("b", 0, ""), ("c", 0, "")])).unwrap();
        assert_eq!(choice.group, ["a", "b"]);
        let choice = choose(&order, &looks(&[("a", 0, ""), ("b", 100, ""), ("c", 0, "")])).unwrap();
        assert_eq!(choice.group, ["a"]);
    }

    #[test]
    fn requirements_are_met_by_earlier_buildpacks_only() {
        let order: [&[(&str, bool)]; 1] = [&[("a", false), ("b", false)]];
        let provide = "[[provides]]\nname = \"x\"\n";
        let require = "[[requires]]\nname = \"x\"\n";
        let choice = choose(&order, &looks(&[("a", 0, provide), ("b", 0, require)])).unwrap();
        assert_eq!(choice.entries["a"][0].name, "x");
        let fault = choose(&order, &looks(&[("a", 0, require), ("b", 0, provide)])).unwrap_err();
        assert!(matches!(fault, NoChoice::Unmet { id, .. } if id == "a"));
        assert!(choose(&order, &looks(&[("a", 0, provide), ("b", 0, "")])).is_err());
    }

    #[test]
    fn an_alternative_is_taken_when_the_first_plan_does_not_meet() {
        let order: [&[(&str, bool)]; 1] = [&[("a", false)]];
        let plan =
            "[[requires]]\nname = \"gone\"\n[[or]]\n[[or.provides]]\nname = \"y\"\n[[or.requires]]\nname = \"y\"\n";
        assert_eq!(choose(&order, &looks(&[("a", 0, plan)])).unwrap().entries["a"][0].name, "y");
    }

    #[test]
    fn an_optional_buildpack_that_does_not_meet_stays_away() {
        let order: [&[(&str, bool)]; 1] = [&[("a", false), ("b", true)]];
        let choice = choose(&order, &looks(&[("a", 0, ""), ("b", 0, "[[requires]]\nname = \"gone\"\n")])).unwrap();
        assert_eq!(choice.group, ["a"]);
    }

    #[test]
    fn nobody_and_errors_are_told_apart() {
        let order: [&[(&str, bool)]; 1] = [&[("a", false)]];
        assert_eq!(choose(&order, &looks(&[("a", 100, "")])).unwrap_err(), NoChoice::Unknown);
        assert_eq!(choose(&order, &looks(&[("a", 1, "")])).unwrap_err(), NoChoice::Errored { id: "a".into(), exit: 1 });
        assert!(matches!(choose(&order, &looks(&[("a", 0, "not toml")])), Err(NoChoice::Unmet { .. })));
    }
}
