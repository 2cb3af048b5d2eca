//! Which buildpacks take part, from what each of them said; pure. Groups are tried in order. A group stands when its
//! buildpacks pass and their build plans meet: everything required is provided by the same or an earlier buildpack, and
//! everything provided is required by the same or a later one (buildpack specification, "Phase #1: Detection").
//! Buildpacks are named by keys of the caller's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::order::Slot;

/// What `bin/detect` of one buildpack left; all of it is hostile.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub exit: i64,
    pub plan: String,
    pub log: String,
    /// The file that speaks for it, of those that it is asked for.
    pub by: Option<String>,
}

pub(super) const PASSED: i64 = 0;
pub(super) const DECLINED: i64 = 100;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// In the order of building.
    pub group: Vec<String>,
    pub plan: Vec<Demand>,
}

/// What buildpacks of the group asked for under one name, and who can meet it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Demand {
    /// Those that may still be asked, first the one whose turn it is.
    pub providers: Vec<String>,
    pub entries: Vec<Entry>,
}

/// What a buildpack finds in its plan.
pub(super) fn entries_of<'p>(plan: &'p [Demand], key: &str) -> impl Iterator<Item = &'p Entry> {
    let own = plan.iter().filter(move |demand| demand.providers.first().is_some_and(|first| first == key));
    own.flat_map(|demand| &demand.entries)
}

/// The plan behind a buildpack that built: what it leaves unmet is for the next one that provides it ("Unmet buildpack
/// plan entries").
pub(super) fn after(plan: &mut Vec<Demand>, key: &str, unmet: &[String]) {
    for demand in plan.iter_mut() {
        let Some(first) = demand.providers.first() else { continue };
        let is_unmet = demand.entries.first().is_some_and(|entry| unmet.contains(&entry.name));
        if first == key && is_unmet {
            demand.providers.remove(0);
        } else if first == key {
            demand.providers.clear();
        }
    }
    plan.retain(|demand| !demand.providers.is_empty());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Require")]
pub(super) struct Entry {
    pub name: String,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub metadata: Table,
}

/// An entry as buildpacks write it: what had a key of its own before API 0.3 is part of the metadata.
#[derive(Deserialize)]
struct Require {
    name: String,
    version: Option<toml::Value>,
    #[serde(default)]
    metadata: Table,
}

impl From<Require> for Entry {
    fn from(require: Require) -> Self {
        let Require { name, version, mut metadata } = require;
        if let Some(version) = version {
            metadata.entry("version").or_insert(version);
        }
        Self { name, metadata }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum NoChoice {
    /// Nobody knows the tree.
    Unknown,
    /// `bin/detect` of this buildpack ended with an error.
    Errored { key: String, exit: i64 },
    /// Somebody passed, but what was asked for and what was offered did not meet.
    Unmet { key: String, cause: String },
    /// All of these would have had to pass, and this one did not.
    Declined { key: String },
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Plan {
    provides: Vec<Provide>,
    requires: Vec<Entry>,
    or: Vec<Alternative>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Alternative {
    provides: Vec<Provide>,
    requires: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Provide {
    name: String,
}

/// Plans that are tried for one group; so that no plan can keep the platform busy.
const MOST_TRIALS: usize = 20_000;
/// Bytes of the plan of one buildpack.
const LONGEST_PLAN: usize = 64 << 10;

/// `strict`: an error of any of them ends it. Else it is as if that one had declined.
pub(super) fn choose(groups: &[Vec<Slot>], looks: &BTreeMap<String, Look>, strict: bool) -> Result<Choice, NoChoice> {
    let mut errors = looks.iter().filter(|(_, look)| look.exit != PASSED && look.exit != DECLINED);
    let errored = errors.next().map(|(key, look)| NoChoice::Errored { key: key.clone(), exit: look.exit });
    if strict && let Some(errored) = errored {
        return Err(errored);
    }
    let mut unmet = None;
    for group in groups {
        match stand(group, looks) {
            Ok(Some(choice)) => return Ok(choice),
            Ok(None) => {}
            Err(fault) => unmet = unmet.or(Some(fault)),
        }
    }
    let declined = || {
        let [only] = groups else { return None };
        let passes = |slot: &Slot| looks.get(&slot.key).is_some_and(|look| look.exit == PASSED);
        let slot = only.iter().find(|slot| !slot.optional && !passes(slot))?;
        (!strict).then(|| NoChoice::Declined { key: slot.key.clone() })
    };
    Err(unmet.or(errored).or_else(declined).unwrap_or(NoChoice::Unknown))
}

/// The group as far as it passes; none if one that must pass does not.
fn stand(group: &[Slot], looks: &BTreeMap<String, Look>) -> Result<Option<Choice>, NoChoice> {
    let mut members = Vec::new();
    for Slot { key, optional, .. } in group {
        let Some(look) = looks.get(key).filter(|look| look.exit == PASSED) else {
            if *optional {
                continue;
            }
            return Ok(None);
        };
        let unmet = |cause: String| NoChoice::Unmet { key: key.clone(), cause };
        if look.plan.len() > LONGEST_PLAN {
            return Err(unmet(format!("it is longer than {LONGEST_PLAN} bytes")));
        }
        let plan: Plan = toml::from_str(&look.plan).map_err(|error| unmet(error.message().to_owned()))?;
        let mut alternatives = vec![Alternative { provides: plan.provides, requires: plan.requires }];
        alternatives.extend(plan.or);
        members.push(Member { key, optional: *optional, alternatives });
    }
    if members.is_empty() {
        return Ok(None);
    }
    if members.iter().all(|member| member.optional) && !group.iter().all(|slot| slot.optional) {
        return Ok(None);
    }
    let mut search = Search { fault: None, left: MOST_TRIALS };
    let found = search.from(&members, &mut Vec::new());
    match (found, search.fault) {
        (Some(choice), _) => Ok(Some(choice)),
        (None, Some((key, cause))) => Err(NoChoice::Unmet { key, cause }),
        (None, None) => Ok(None),
    }
}

struct Member<'a> {
    key: &'a str,
    optional: bool,
    alternatives: Vec<Alternative>,
}

type Trial<'a> = Vec<(&'a str, &'a Alternative)>;

struct Search {
    /// Of the first trial that failed.
    fault: Option<(String, String)>,
    left: usize,
}

impl Search {
    /// Depth first over the alternatives of each member; an optional one may also stay away.
    fn from<'a>(&mut self, members: &'a [Member<'a>], trial: &mut Trial<'a>) -> Option<Choice> {
        let Some((member, rest)) = members.split_first() else {
            self.left = self.left.checked_sub(1)?;
            return match meet(trial) {
                Ok(choice) => Some(choice),
                Err(cause) => {
                    self.fault.get_or_insert(cause);
                    None
                }
            };
        };
        for alternative in &member.alternatives {
            trial.push((member.key, alternative));
            let found = self.from(rest, trial);
            trial.pop();
            if found.is_some() || self.left == 0 {
                return found;
            }
        }
        if member.optional { self.from(rest, trial) } else { None }
    }
}

fn meet(trial: &Trial<'_>) -> Result<Choice, (String, String)> {
    let mut plan: BTreeMap<&str, Demand> = BTreeMap::new();
    for (place, (key, alternative)) in trial.iter().enumerate() {
        for provide in &alternative.provides {
            if !trial[place..].iter().any(|(_, other)| other.requires.iter().any(|r| r.name == provide.name)) {
                return Err(((*key).to_owned(), format!("nobody requires the \"{}\" that it provides", provide.name)));
            }
        }
        for require in &alternative.requires {
            let provides = |(_, other): &&(&str, &Alternative)| other.provides.iter().any(|p| p.name == require.name);
            if !trial[..=place].iter().any(|member| provides(&member)) {
                return Err(((*key).to_owned(), format!("nobody provides the \"{}\" that it requires", require.name)));
            }
            let providers = || trial.iter().filter(provides).map(|(key, _)| (*key).to_owned()).collect();
            let new = || Demand { providers: providers(), entries: Vec::new() };
            plan.entry(&require.name).or_insert_with(new).entries.push(require.clone());
        }
    }
    if trial.is_empty() {
        return Err((String::new(), "every one of them stays away".to_owned()));
    }
    let group = trial.iter().map(|(key, _)| (*key).to_owned()).collect();
    Ok(Choice { group, plan: plan.into_values().collect() })
}

/// The file at `CNB_BP_PLAN_PATH`.
pub(super) fn plan_text<'e>(entries: impl Iterator<Item = &'e Entry>) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        entries: Vec<&'a Entry>,
    }
    toml::to_string(&Document { entries: entries.collect() }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
