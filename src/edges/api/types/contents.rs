//! What is in images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::product::deploy::{BuildBom, Found, Package};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PackageView {
    /// `deb`, `npm`, `pypi`, `gem`, `composer`, `golang` or `maven`.
    pub ecosystem: String,
    pub name: String,
    pub version: String,
    /// Of the source package, where it is called otherwise.
    pub source: Option<String>,
    /// As the package states it.
    pub license: Option<String>,
}

/// The packages of one release.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ContentsView {
    /// Number.
    pub release: i64,
    pub image: String,
    pub packages: Vec<PackageView>,
}

/// A package in what is live.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FoundView {
    pub app: String,
    pub environment: String,
    pub release: i64,
    pub package: PackageView,
}

/// What a buildpack said of what it built with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BuildBomView {
    /// Its id, with `_` in place of `/`.
    pub buildpack: String,
    /// The layer that it is of; none if it is of all.
    pub layer: Option<String>,
    /// `cdx.json`, `spdx.json` or `syft.json`.
    pub kind: String,
    /// As the buildpack wrote it.
    #[schema(value_type = Object)]
    pub document: serde_json::Value,
}

impl From<BuildBom> for BuildBomView {
    fn from(bom: BuildBom) -> Self {
        let BuildBom { buildpack, layer, kind, document } = bom;
        Self { buildpack, layer, kind, document }
    }
}

impl From<&Package> for PackageView {
    fn from(package: &Package) -> Self {
        let ecosystem = serde_json::to_value(package.ecosystem).ok();
        Self {
            ecosystem: ecosystem.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned(),
            name: package.name.clone(),
            version: package.version.clone(),
            source: package.source.clone(),
            license: package.license.clone(),
        }
    }
}

impl From<&Found> for FoundView {
    fn from(found: &Found) -> Self {
        Self {
            app: found.app.to_string(),
            environment: found.environment.to_string(),
            release: found.release,
            package: PackageView::from(&found.package),
        }
    }
}
