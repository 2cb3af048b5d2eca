//! What differs between two releases of an environment. Variables by name, never by value.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::effective;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Checks, DomainName, Environment, Process, ProcessName, Release, VariableName, VariableSet,
};
use crate::product::Ctx;
use crate::product::apps;
use crate::product::converge::counts;
use crate::state::store::{self, Tx};

/// Each part is empty where the two are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseDiff {
    pub from: i64,
    pub to: i64,
    pub commit: Option<Change>,
    pub image: Option<Change>,
    /// Command lines.
    pub processes: BTreeMap<String, Change>,
    /// Names.
    pub variables: Names,
    /// Numbers of replicas.
    pub formation: BTreeMap<String, Change>,
    /// Within which bounds the platform counts, by process type.
    pub scaling: BTreeMap<String, Change>,
    pub hosts: Names,
    /// By process type and kind.
    pub checks: BTreeMap<String, Change>,
    /// By process type.
    pub sizes: BTreeMap<String, Change>,
    /// Path, by process type and volume.
    pub mounts: BTreeMap<String, Change>,
}

/// Before and after; none is "not there".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

impl Names {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl ReleaseDiff {
    pub fn is_empty(&self) -> bool {
        self.commit.is_none()
            && self.image.is_none()
            && self.processes.is_empty()
            && self.variables.is_empty()
            && self.formation.is_empty()
            && self.scaling.is_empty()
            && self.hosts.is_empty()
            && self.checks.is_empty()
            && self.sizes.is_empty()
            && self.mounts.is_empty()
    }
}

/// From release `from` to release `to`; none is the one that shall be live now.
pub async fn diff(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    from: i64,
    to: Option<i64>,
) -> Result<ReleaseDiff> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let mut tx = ctx.store.read().await?;
    let from = by_number(&mut tx, environment, from).await?;
    let to = match to {
        Some(number) => by_number(&mut tx, environment, number).await?,
        None => super::releases::current(&mut tx, &environment.id)
            .await?
            .ok_or_else(|| Error::conflict("nothing shall be live now; name both releases"))?,
    };
    let mut sets = Vec::with_capacity(2);
    for release in [&from, &to] {
        let (organization, version) = (&app.organization_id, release.variables_version);
        sets.push(apps::read_variables(&mut tx, ctx, organization, &environment.id, version).await?);
    }
    Ok(between((&from, &sets[0]), (&to, &sets[1])))
}

async fn by_number(tx: &mut Tx, environment: &Environment, number: i64) -> Result<Release> {
    let found = store::releases::by_number(tx, &environment.id, number).await?;
    found.ok_or_else(|| Error::not_found(format!("release v{number}")))
}

fn between((a, a_set): (&Release, &VariableSet), (b, b_set): (&Release, &VariableSet)) -> ReleaseDiff {
    let line = |p: &Process| super::commands::shown(&p.command);
    let processes = |r: &Release| r.processes.iter().map(|(n, p)| (n.to_string(), line(p))).collect();
    let formation = |r: &Release| {
        let counts = counts(&r.processes, &r.formation);
        counts.iter().map(|(name, count)| (name.to_string(), count.to_string())).collect()
    };
    ReleaseDiff {
        from: a.number,
        to: b.number,
        commit: one(a.commit.clone(), b.commit.clone()),
        image: one(Some(a.image.to_string()), Some(b.image.to_string())),
        processes: changes(&processes(a), &processes(b)),
        variables: variables(a_set, b_set),
        formation: changes(&formation(a), &formation(b)),
        scaling: changes(&scaling_lines(a), &scaling_lines(b)),
        hosts: hosts(&a.hosts, &b.hosts),
        checks: changes(&check_lines(a), &check_lines(b)),
        sizes: changes(&size_lines(a), &size_lines(b)),
        mounts: changes(&mount_lines(a), &mount_lines(b)),
    }
}

fn variables(a: &VariableSet, b: &VariableSet) -> Names {
    let names = |of: &VariableSet, with: &dyn Fn(&VariableName) -> bool| -> Vec<String> {
        of.values.keys().filter(|name| with(name)).map(ToString::to_string).collect()
    };
    Names {
        added: names(b, &|name| !a.values.contains_key(name)),
        removed: names(a, &|name| !b.values.contains_key(name)),
        changed: names(a, &|name| b.values.get(name).is_some_and(|new| *new != a.values[name])),
    }
}

fn hosts(a: &[DomainName], b: &[DomainName]) -> Names {
    let less =
        |a: &[DomainName], b: &[DomainName]| a.iter().filter(|h| !b.contains(h)).map(ToString::to_string).collect();
    Names { added: less(b, a), removed: less(a, b), changed: Vec::new() }
}

/// The checks of a release, by process type and kind, in words.
pub fn check_lines(release: &Release) -> BTreeMap<String, String> {
    lines(&effective(release))
}

fn size_lines(release: &Release) -> BTreeMap<String, String> {
    release.sizes.iter().map(|(process, size)| (process.to_string(), size.to_string())).collect()
}

/// Within which bounds the platform counts, by process type, in words.
pub fn scaling_lines(release: &Release) -> BTreeMap<String, String> {
    release.scaling.iter().map(|(process, scaling)| (process.to_string(), scaling.words(process))).collect()
}

/// Paths of a release's volumes, by process type and volume.
pub fn mount_lines(release: &Release) -> BTreeMap<String, String> {
    let each = release.mounts.iter().flat_map(|(process, here)| here.iter().map(move |mount| (process, mount)));
    each.map(|(process, mount)| (format!("{process} {}", mount.volume), mount.path.to_string())).collect()
}

fn lines(checks: &Checks) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let each = |(process, checks): (&ProcessName, &Vec<crate::base::model::HealthCheck>)| {
        checks.iter().map(|c| (format!("{process} {}", c.kind), c.to_string())).collect::<Vec<_>>()
    };
    for (place, text) in checks.iter().flat_map(each) {
        all.entry(place).and_modify(|known| *known = format!("{known}; {text}")).or_insert(text);
    }
    all
}

fn one(from: Option<String>, to: Option<String>) -> Option<Change> {
    (from != to).then_some(Change { from, to })
}

fn changes(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> BTreeMap<String, Change> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let change = |name: &String| Change { from: a.get(name).cloned(), to: b.get(name).cloned() };
    let all = names.into_iter().map(|name| (name.clone(), change(name)));
    all.filter(|(_, change)| change.from != change.to).collect()
}
