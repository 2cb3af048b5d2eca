//! Buildpacks of an environment.

use super::Session;
use super::args::BuildpackVerb;
use super::failure::{Failure, Result};
use crate::edges::api::types::BuildpacksView;

pub(super) async fn run(s: &mut Session, verb: BuildpackVerb) -> Result<()> {
    let (app, environment) = match &verb {
        BuildpackVerb::Buildpacks(at) | BuildpackVerb::BuildpacksClear(at) => {
            (s.app_word(&at.app)?, at.environment.environment.clone())
        }
        BuildpackVerb::BuildpacksSet { at, .. }
        | BuildpackVerb::BuildpacksAdd { at, .. }
        | BuildpackVerb::BuildpacksRemove { at, .. } => (s.app_flag(&at.app)?, at.environment.environment.clone()),
    };
    let mut list = s.client.buildpacks(&app, &environment).await?.buildpacks;
    let listing = matches!(verb, BuildpackVerb::Buildpacks(_));
    match verb {
        BuildpackVerb::Buildpacks(_) => {}
        BuildpackVerb::BuildpacksSet { buildpacks, .. } => list = buildpacks,
        BuildpackVerb::BuildpacksClear(_) => list.clear(),
        BuildpackVerb::BuildpacksAdd { buildpack, index, .. } => {
            let place = index.map_or(list.len(), |index| index.saturating_sub(1)).min(list.len());
            list.insert(place, buildpack);
        }
        BuildpackVerb::BuildpacksRemove { buildpack, index, .. } => {
            let place = match (&buildpack, index) {
                (Some(name), _) => list.iter().position(|known| known == name),
                (None, Some(index)) => index.checked_sub(1).filter(|place| *place < list.len()),
                (None, None) => return Err(Failure::usage("name the buildpack to remove, or its place with --index")),
            };
            let none = || Failure::new("there is no such buildpack; hythe buildpacks lists those that were set");
            list.remove(place.ok_or_else(none)?);
        }
    }
    let now = match listing {
        true => BuildpacksView { buildpacks: list },
        false => s.client.set_buildpacks(&app, &environment, &BuildpacksView { buildpacks: list }).await?,
    };
    if s.json {
        return Ok(s.io.json(&now.buildpacks).await?);
    }
    if now.buildpacks.is_empty() {
        return Ok(s.io.say("no buildpacks are set: the tree says which there are").await?);
    }
    let rows: Vec<_> =
        now.buildpacks.iter().enumerate().map(|(n, name)| vec![(n + 1).to_string(), name.clone()]).collect();
    s.print(&["PLACE", "BUILDPACK"], &rows).await?;
    if !listing {
        s.io.say("the next push is built with them").await?;
    }
    Ok(())
}
