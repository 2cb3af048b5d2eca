//! The software bill of materials of one image as CycloneDX 1.5 and as SPDX 2.3, both JSON. The same image gives the same
//! document: no time of asking, no random number is in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::machinery::image::{Ecosystem, Package};

/// What the document is about.
pub struct Subject<'a> {
    pub app: &'a str,
    pub release: i64,
    /// `sha256:…`
    pub image: &'a str,
    /// When the release was made, RFC 3339.
    pub created: &'a str,
}

/// CycloneDX inside an image: neither app nor time nor version of the platform is in it, so equal layers have equal bills.
pub(super) fn bare<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Value {
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "tools": { "components": [{ "type": "application", "name": "hythe" }] } },
        "components": components(packages),
    })
}

/// <https://cyclonedx.org/docs/1.5/json/>
pub fn cyclonedx<'a>(subject: &Subject<'_>, packages: impl IntoIterator<Item = &'a Package>) -> Value {
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "tools": { "components": [{ "type": "application", "name": "hythe", "version": env!("CARGO_PKG_VERSION") }] },
            "component": {
                "type": "container", "bom-ref": subject.image, "name": subject.app,
                "version": format!("v{}", subject.release),
                "hashes": [{ "alg": "SHA-256", "content": subject.image.trim_start_matches("sha256:") }],
            },
        },
        "components": components(packages),
    })
}

/// <https://spdx.github.io/spdx-spec/v2.3/>
pub fn spdx<'a>(subject: &Subject<'_>, packages: impl IntoIterator<Item = &'a Package>) -> Value {
    let image = subject.image.trim_start_matches("sha256:");
    let mut all = vec![json!({
        "SPDXID": "SPDXRef-image", "name": subject.app, "versionInfo": format!("v{}", subject.release),
        "downloadLocation": "NOASSERTION", "filesAnalyzed": false, "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": image }],
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image",
    })];
    for (number, package) in packages.into_iter().enumerate() {
        let id = format!("SPDXRef-package-{}", number + 1);
        let mut one = json!({
            "SPDXID": id, "name": package.name, "versionInfo": package.version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url(package),
            }],
        });
        if let Some(license) = &package.license {
            one["licenseComments"] = json!(format!("the package says: {license}"));
        }
        relations.push(json!({
            "spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": one["SPDXID"],
        }));
        all.push(one);
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{} v{}", subject.app, subject.release),
        "documentNamespace": format!("urn:hythe:image:{image}"),
        "creationInfo": {
            "created": whole_seconds(subject.created),
            "creators": [format!("Tool: hythe-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": all,
        "relationships": relations,
    })
}

/// SPDX knows no fractions of a second (2.3, "Created").
fn whole_seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// Each by one reference: copies of one package may differ in what they say of their license.
fn components<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    packages.into_iter().filter(|package| seen.insert(url(package))).map(component).collect()
}

fn component(package: &Package) -> Value {
    let url = url(package);
    let mut component = json!({
        "type": "library", "bom-ref": url, "name": package.name, "version": package.version, "purl": url,
    });
    if let Some(license) = &package.license {
        component["licenses"] = json!([{ "license": { "name": license } }]);
    }
    component
}

/// A package URL (<https://github.com/package-url/purl-spec>).
pub fn url(package: &Package) -> String {
    let version = escaped(&package.version, false);
    let name = match package.ecosystem {
        Ecosystem::Pypi => package.name.to_lowercase().replace('_', "-"),
        _ => package.name.clone(),
    };
    // A slash parts the namespace from the name; everything else is escaped.
    let name = escaped(&name, true);
    let (kind, more) = match package.ecosystem {
        Ecosystem::Deb => ("deb/debian", package.architecture.as_ref().map(|a| format!("?arch={}", escaped(a, false)))),
        Ecosystem::Npm => ("npm", None),
        Ecosystem::Pypi => ("pypi", None),
        Ecosystem::Gem => ("gem", None),
        Ecosystem::Composer => ("composer", None),
        Ecosystem::Golang => ("golang", None),
        // The group is not known by the name of a file.
        Ecosystem::Maven => ("maven", None),
        Ecosystem::Cargo => ("cargo", None),
    };
    format!("pkg:{kind}/{name}@{version}{}", more.unwrap_or_default())
}

fn escaped(text: &str, slash_stays: bool) -> String {
    let mut made = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) || slash_stays && byte == b'/' {
            made.push(char::from(byte));
        } else {
            made.push_str(&format!("%{byte:02X}"));
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
        let (name, version) = (name.into(), version.into());
        Package { ecosystem, name, version, source: None, architecture: None, license: Some("MIT".into()) }
    }

    #[test]
    fn package_urls_are_escaped_as_their_specification_says() {
        let deb = Package { architecture: Some("amd64".into()), ..package(Ecosystem::Deb, "libstdc++6", "1:12.2+x~1") };
        assert_eq!(url(&deb), "pkg:deb/debian/libstdc%2B%2B6@1:12.2%2Bx~1?arch=amd64");
        assert_eq!(url(&package(Ecosystem::Npm, "@babel/core", "7.1.0")), "pkg:npm/%40babel/core@7.1.0");
        assert_eq!(url(&package(Ecosystem::Pypi, "Flask_Login", "1.0")), "pkg:pypi/flask-login@1.0");
        assert_eq!(
            url(&package(Ecosystem::Golang, "golang.org/x/net", "v0.2.0")),
            "pkg:golang/golang.org/x/net@v0.2.0"
        );
        assert_eq!(url(&package(Ecosystem::Cargo, "serde_json", "1.0.1")), "pkg:cargo/serde_json@1.0.1");
    }

    /// `bom-ref` is unique within a document (CycloneDX 1.5, JSON schema).
    #[test]
    fn one_package_with_two_licenses_is_one_component() {
        let free = Package { license: None, ..package(Ecosystem::Npm, "a", "1") };
        let both = [free, package(Ecosystem::Npm, "a", "1"), package(Ecosystem::Npm, "a", "2")];
        assert_eq!(bare(&both)["components"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn both_documents_name_image_and_packages() {
        let image = format!("sha256:{}", "ab".repeat(32));
        let subject = Subject { app: "shop", release: 7, image: &image, created: "2026-01-01T00:00:00.123Z" };
        let packages = [package(Ecosystem::Npm, "a", "1"), package(Ecosystem::Gem, "b", "2")];
        insta::assert_snapshot!(format!("{:#}\n\n{:#}", cyclonedx(&subject, &packages), spdx(&subject, &packages)));
    }
}
