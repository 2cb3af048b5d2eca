//! What is in images.

use super::Session;
use super::args::{Sbom, SbomFormat};
use super::failure::Result;
use crate::edges::api::types::PackageView;

pub(super) async fn show(s: &mut Session, sbom: &Sbom) -> Result<()> {
    let app = s.app_flag(&sbom.at.app)?;
    if sbom.build {
        let found = s.client.build_bills(&app).await?.items;
        if found.is_empty() {
            s.io.say("no buildpack of the last build said what it built with").await?;
        }
        return Ok(s.io.json(&found).await?);
    }
    let (environment, release) = (&sbom.at.environment.environment, sbom.release.as_deref());
    let format = match sbom.format {
        SbomFormat::List => None,
        SbomFormat::Cyclonedx => Some("cyclonedx"),
        SbomFormat::Spdx => Some("spdx"),
    };
    if let Some(format) = format {
        let bill = s.client.bill(&app, environment, format, release).await?;
        return Ok(s.io.out(&format!("{bill:#}")).await?);
    }
    let contents = s.client.contents(&app, environment, release).await?;
    if s.json {
        return Ok(s.io.json(&contents).await?);
    }
    s.io.say(&format!("v{} has {} packages", contents.release, contents.packages.len())).await?;
    let rows: Vec<_> = contents.packages.into_iter().map(row).collect();
    s.print(&["KIND", "PACKAGE", "VERSION", "LICENSE"], &rows).await
}

fn row(package: PackageView) -> Vec<String> {
    vec![package.ecosystem, package.name, package.version, package.license.unwrap_or_default()]
}

pub(super) async fn find(s: &mut Session, condition: &str) -> Result<()> {
    let found = s.client.with_package(condition).await?;
    if s.json {
        return Ok(s.io.json(&found).await?);
    }
    if found.is_empty() {
        return Ok(s.io.say("nothing that is live has it, as far as you can see").await?);
    }
    let rows: Vec<_> = found
        .into_iter()
        .map(|found| {
            let release = format!("v{}", found.release);
            vec![found.app, found.environment, release, found.package.name, found.package.version]
        })
        .collect();
    s.print(&["APP", "ENVIRONMENT", "RELEASE", "PACKAGE", "VERSION"], &rows).await
}
