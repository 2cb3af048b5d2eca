use std::path::PathBuf;

use super::*;
use crate::base::model::Process;
use crate::machinery::image::{AddedLayer, ImageFacts, ImageSpec, Layer, LayerWriter, assemble};
use crate::product::builds::descriptor::Target;
use crate::product::builds::seam::Own;
use crate::product::builds::{Built, BuiltLayer, Detected};

struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    blobs: BlobStore,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let blobs = BlobStore::open(&path).unwrap();
        Self { _dir: dir, path, blobs }
    }

    fn layer(&self, path: &str, content: &str) -> Layer {
        let mut writer = LayerWriter::new(&self.blobs);
        writer.file(path, 0o644, (0, 0), content.as_bytes()).unwrap();
        writer.finish().unwrap()
    }

    /// A base that says of itself which one it is.
    fn ground(&self, name: &str) -> Ground {
        let added = |path: &str| AddedLayer { layer: self.layer(path, name), created_by: format!("{path} of {name}") };
        let spec = ImageSpec {
            layers: vec![added("etc/base"), added("usr/lib/packages")],
            env: [("LANG", "C"), ("OF_BASE", name)].map(|(k, v)| (k.into(), v.into())).into(),
            labels: [("org.base.name".to_owned(), name.to_owned()), (format!("only.{name}"), "1".into())].into(),
            ..Default::default()
        };
        let packages = [Ingredient::Package("nginx".into())].into();
        Ground { image: assemble(&self.blobs, &spec).unwrap(), target: Target::debian("bookworm"), packages }
    }

    fn build(&self, ground: &Ground) -> Imaged {
        let of = |path: &str| {
            let layer = self.layer(&format!("layers/{path}/file"), path);
            let (digest, path) = (layer.digest.to_string(), path.to_owned());
            BuiltLayer { digest, bytes: layer.size, path, ..BuiltLayer::default() }
        };
        let process = Process { command: vec!["serve".into()], working_dir: None, port: None };
        let built = Built {
            processes: [("web".parse().unwrap(), process)].into(),
            default: None,
            origins: BTreeMap::new(),
            layers: ["hythe_nodejs/node", "hythe_nodejs/modules", "launcher", "sbom", "workspace"].map(of).into(),
            environment: [("LANG", "C.UTF-8"), ("PATH", "/layers/bin:/bin")].map(|(k, v)| (k.into(), v.into())).into(),
            labels: [("com.example.said".to_owned(), "yes".to_owned())].into(),
            run_packages: BTreeSet::new(),
        };
        let detected = serde_json::json!({
            "group": ["hythe/nodejs"], "build_ingredients": [], "run_packages": [], "mark": "", "plan": [],
            "members": [{"id": "hythe/nodejs", "version": "1", "name": "Node.js", "api": 10}],
        });
        let detected: Detected = serde_json::from_value(detected).unwrap();
        assembly::image(&self.blobs, ground, None, &detected, &built).unwrap()
    }

    fn facts(&self, image: &ImageDigest) -> ImageFacts {
        inspect(&self.blobs, image).unwrap()
    }
}

#[test]
fn a_rebased_image_is_the_one_that_a_build_on_that_base_makes() {
    let bench = Bench::new();
    let (old, new) = (bench.ground("old"), bench.ground("new"));
    let (on_old, on_new) = (bench.build(&old).image, bench.build(&new).image);
    assert_ne!(on_old, on_new);
    let rebased = assembly::rebased(&bench.blobs, &on_old, &new).unwrap();
    assert_eq!(rebased, on_new, "{:#?}\n{:#?}", bench.facts(&rebased), bench.facts(&on_new));
    assert_eq!(assembly::rebased(&bench.blobs, &rebased, &old).unwrap(), on_old, "and back");
    assert_eq!(assembly::rebased(&bench.blobs, &on_old, &old).unwrap(), on_old, "nothing to do");

    let facts = bench.facts(&rebased);
    assert_eq!(facts.layers[2..], bench.facts(&on_old).layers[2..], "the layers of the app");
    assert_eq!(facts.layers[..2], bench.facts(&new.image).layers, "those of the base");
    assert_eq!((facts.env["OF_BASE"].as_str(), facts.env["LANG"].as_str()), ("new", "C.UTF-8"));
    assert!(facts.labels.contains_key("only.new") && !facts.labels.contains_key("only.old"));
    assert_eq!(facts.labels["com.example.said"], "yes");
    assert_eq!((facts.user.as_deref(), facts.exposed_ports.as_slice()), (Some("1000:1000"), &["8080/tcp".into()][..]));
    let said: Vec<_> = stacked(&bench.blobs, &rebased).unwrap().into_iter().map(|added| added.created_by).collect();
    assert_eq!(said[1..3], ["usr/lib/packages of new", "hythe_nodejs/node"]);
}

#[test]
fn the_seam_stands_in_the_labels_of_the_specification() {
    let bench = Bench::new();
    let ground = bench.ground("old");
    let facts = bench.facts(&bench.build(&ground).image);
    let lifecycle: serde_json::Value = serde_json::from_str(&facts.labels["io.buildpacks.lifecycle.metadata"]).unwrap();
    let digest = |n: usize| serde_json::json!(facts.layers[n].digest.to_string());
    assert_eq!(lifecycle["runImage"]["topLayer"], digest(1));
    assert_eq!(lifecycle["runImage"]["reference"], ground.image.as_str());
    assert_eq!((&lifecycle["sbom"]["sha"], &lifecycle["launcher"]["sha"]), (&digest(5), &digest(4)));
    assert_eq!(lifecycle["app"][0]["sha"], digest(6));
    assert_eq!(facts.labels["io.buildpacks.rebasable"], "true");
    assert_eq!(facts.labels["io.buildpacks.base.distro.version"], "12");
}

#[test]
fn what_nobody_can_tell_is_not_guessed() {
    let bench = Bench::new();
    let facts = bench.facts(&bench.build(&bench.ground("old")).image);
    let seam = Seam::read(&facts).unwrap();
    assert_eq!((seam.beneath, seam.own.packages.len(), seam.own.port), (2, 1, Some(8080)));

    let why = |change: &dyn Fn(&mut ImageFacts)| {
        let mut changed = facts.clone();
        change(&mut changed);
        Seam::read(&changed).expect_err("unfit")
    };
    let label = |name: &'static str, text: &'static str| {
        move |facts: &mut ImageFacts| drop(facts.labels.insert(name.to_owned(), text.to_owned()))
    };
    assert_eq!(why(&label("io.hythe.buildpacks", "")), messages::NOT_BUILT_HERE);
    assert_eq!(why(&|facts| drop(facts.labels.remove("io.hythe.base"))), messages::NO_SEAM);
    let old = r#"{"app":[],"sbom":null,"buildpacks":[],"runImage":{"reference":"sha256:1"}}"#;
    assert_eq!(why(&label("io.buildpacks.lifecycle.metadata", old)), messages::NO_SEAM);
    for hostile in ["", "[]", "{", r#"{"app":7}"#] {
        why(&label("io.buildpacks.lifecycle.metadata", hostile));
    }
    // Somebody built upon it, or took a layer out.
    let more = bench.layer("usr/bin/more", "");
    assert_eq!(why(&|facts| facts.layers.push(more)), messages::FOREIGN_LAYERS);
    assert_eq!(why(&|facts| facts.layers.insert(2, more)), messages::FOREIGN_LAYERS);
    assert_eq!(why(&|facts| facts.layers.truncate(facts.layers.len() - 1)), messages::FOREIGN_LAYERS);
    assert_eq!(why(&|facts| facts.layers.truncate(3)), messages::FOREIGN_LAYERS);
}

fn names(packages: &[(&str, &str)]) -> BTreeMap<String, String> {
    packages.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
}

#[test]
fn what_an_app_is_linked_with_stays() {
    let own = Own { packages: ["nodejs".to_owned()].into(), ..Own::default() };
    let seam = Seam { reference: String::new(), beneath: 1, own, distro: Default::default() };
    let before = [("libssl3", "3.0.11-1"), ("nodejs", "18.19.0+dfsg-6~deb12u2"), ("tzdata", "2024a-0"), ("gone", "1")];
    let with = |after: &[(&str, &str)]| unbroken(&names(&before), &names(after), &seam);
    assert_eq!(with(&[("libssl3", "3.0.15-1"), ("nodejs", "18.20.4+dfsg-1"), ("tzdata", "2025b-0")]), Ok(()));
    let said = with(&[("libssl1.1", "1"), ("nodejs", "18.20.4-1")]).unwrap_err();
    assert!(said.contains("no libssl3 (3.0.11-1 was there)"), "{said}");
    let said = with(&[("libssl3", "3.0.15-1"), ("nodejs", "20.1.0-1")]).unwrap_err();
    assert!(said.contains("nodejs would go from 18.19.0") && said.contains("push it once more"), "{said}");
    assert!(with(&[("libssl3", "3.0.15-1")]).unwrap_err().contains("no nodejs"));
    for (version, expected) in [("1:9.2p1-2", "1:9"), ("3.11.2-1+b1", "3"), ("20230311", "20230311"), ("", "")] {
        assert_eq!(major(version), expected, "{version}");
    }
}

#[test]
fn differences_are_listed_by_name() {
    let found = changes(&names(&[("a", "1"), ("b", "1"), ("c", "1")]), &names(&[("a", "1"), ("b", "2"), ("d", "1")]));
    let said = messages::packages(&found).join("\n");
    for text in ["3 packages of the base are not as they were", "b 1 → 2", "c 1 → none", "d none → 1"] {
        assert!(said.contains(text), "{said}");
    }
    let many: Vec<_> = (0..20).map(|n| Changed { name: format!("p{n}"), from: None, to: Some("1".into()) }).collect();
    assert!(messages::packages(&many).last().is_some_and(|line| line.contains("and 8 more")));
}

#[tokio::test]
async fn what_is_to_be_installed_is_only_what_buildpacks_may_ask_for() {
    let bench = Bench::new();
    let engine = crate::machinery::runtime::fake::FakeEngine::new();
    let config = crate::base::config::Build::default();
    let builder = Builder::new(std::sync::Arc::new(engine), bench.blobs.clone(), &config, &bench.path);
    let with = |package: &str| {
        let packages = [Ingredient::Package(package.to_owned())].into();
        bench.build(&Ground { packages, ..bench.ground("old") }).image
    };
    assert_eq!(builder.standing(&with("nginx")), Standing::Older);
    for hostile in ["./evil.deb", "openssh-server", "-o", "nginx=0.1"] {
        let Standing::Unfit(why) = builder.standing(&with(hostile)) else { panic!("{hostile}") };
        assert!(why.contains("no buildpack of today asks for"), "{why}");
        let refused = builder.rebase(&with(hostile), &Processes::new(), &Silent).await.unwrap_err();
        assert!(refused.reason.starts_with("not rebased: its image names the package"), "{refused:?}");
    }
    let trixie = Ground { target: Target::debian("trixie"), packages: BTreeSet::new(), ..bench.ground("old") };
    let Standing::Unfit(why) = builder.standing(&bench.build(&trixie).image) else { panic!("another suite") };
    assert!(why.contains("built for debian 13, and the base is debian 12 now"), "{why}");
    let gone = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert!(matches!(builder.standing(&gone), Standing::Unfit(why) if why.contains("not in this server's store")));
}
