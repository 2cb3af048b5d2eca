//! The environments that layers make (buildpack specification, "Environment"), at build and at launch; pure. The one of
//! launch goes into the image's config where it can, so that nothing has to compute it at the start.

use std::collections::BTreeMap;

use super::result::FoundLayer;

/// Where nothing else is said.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Search paths: what people set goes before what is there ("Provided by the platform").
const SEARCHED: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH"];
/// Directories of a layer, and the variables that lead there ("Layer paths").
const AT_BUILD: [(&str, &str); 5] = [
    ("PATH", "bin"),
    ("LD_LIBRARY_PATH", "lib"),
    ("LIBRARY_PATH", "lib"),
    ("CPATH", "include"),
    ("PKG_CONFIG_PATH", "pkgconfig"),
];
const AT_LAUNCH: [(&str, &str); 2] = [("PATH", "bin"), ("LD_LIBRARY_PATH", "lib")];

pub(super) type Variables = BTreeMap<String, String>;

/// What the next buildpack starts with: `layers` are those of the buildpacks before it, in the order of building.
pub(super) fn at_build<'l>(layers: impl Iterator<Item = &'l FoundLayer>) -> Variables {
    let layers: Vec<_> = layers.filter(|layer| layer.build).collect();
    let mut variables = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    apply(&mut variables, &layers, &AT_BUILD, &["env", "env.build"]);
    variables
}

/// With what people set; some of it would take the platform's or the tools' own place, and reaches buildpacks as files only.
pub(super) fn with_people_s<'p>(mut variables: Variables, said: impl Iterator<Item = (&'p str, &'p str)>) -> Variables {
    for (name, value) in said {
        if !is_open(name) {
            continue;
        }
        let value = match variables.get(name).filter(|now| SEARCHED.contains(&name) && !now.is_empty()) {
            Some(now) => format!("{value}:{now}"),
            None => value.to_owned(),
        };
        variables.insert(name.to_owned(), value);
    }
    variables
}

/// For all processes of an image.
pub(super) fn at_launch<'l>(layers: impl Iterator<Item = &'l FoundLayer>) -> Variables {
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/home/app".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    let layers: Vec<_> = layers.filter(|layer| layer.launch).collect();
    apply(&mut variables, &layers, &AT_LAUNCH, &["env", "env.launch"]);
    variables.retain(|name, _| name != "PORT" && !name.starts_with("HYTHE_"));
    variables
}

/// As `at_launch`, with what layers have for this process type alone; none if they have nothing.
pub(super) fn of_process(layers: &[FoundLayer], process: &str) -> Option<Variables> {
    let folder = format!("env.launch/{process}");
    if !layers.iter().any(|layer| layer.launch && layer.environment.keys().any(|(of, _)| *of == folder)) {
        return None;
    }
    let mut variables = at_launch(std::iter::empty());
    let layers: Vec<_> = layers.iter().filter(|layer| layer.launch).collect();
    apply(&mut variables, &layers, &AT_LAUNCH, &["env", "env.launch", &folder]);
    variables.retain(|name, _| name != "PORT" && !name.starts_with("HYTHE_"));
    Some(variables)
}

/// Buildpack by buildpack: first the directories of its layers, then their files, folder by folder.
fn apply(variables: &mut Variables, layers: &[&FoundLayer], paths: &[(&str, &str)], folders: &[&str]) {
    for own in layers.chunk_by(|a, b| a.buildpack == b.buildpack) {
        for (name, part) in paths {
            // Later buildpacks go before earlier ones. Within one, each layer goes before those of earlier names: the
            // specification can be read otherwise, but this is what buildpacks in the field are tried with.
            for layer in own.iter().filter(|layer| layer.parts.iter().any(|have| have == part)) {
                modify(variables, name, "prepend", &format!("/layers/{}/{part}", layer.path()), ":");
            }
        }
        for layer in own {
            for folder in folders {
                let of = |(in_folder, _): &&(String, String)| in_folder == folder;
                for (key, text) in layer.environment.iter().filter(|(key, _)| of(key)) {
                    let (name, action) = key.1.split_once('.').unwrap_or((&key.1, "override"));
                    if action == "delim" || !is_name(name) || text.contains('\0') {
                        continue;
                    }
                    let delimiter = layer.environment.get(&(key.0.clone(), format!("{name}.delim")));
                    modify(variables, name, action, text, delimiter.map_or("", String::as_str));
                }
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with("CNB_")
}

/// Whether a variable of people's may stand in the environment of a buildpack.
fn is_open(name: &str) -> bool {
    const CLOSED: [&str; 8] = ["HOME", "LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "ENV", "IFS", "SHELLOPTS", "BASHOPTS"];
    !CLOSED.contains(&name) && !name.starts_with("CNB_") && !name.starts_with("HYTHE_")
}

/// "Environment variable modification rules".
fn modify(variables: &mut Variables, name: &str, action: &str, value: &str, delimiter: &str) {
    let now = variables.get(name).filter(|now| !now.is_empty());
    let new = match (action, now) {
        ("default", Some(_)) => return,
        ("append", Some(now)) => format!("{now}{delimiter}{value}"),
        ("prepend", Some(now)) => format!("{value}{delimiter}{now}"),
        ("override" | "default" | "append" | "prepend", _) => value.to_owned(),
        _ => return,
    };
    variables.insert(name.to_owned(), new);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `folder/file` and its text.
    fn layer(path: &str, environment: &[(&str, &str)]) -> FoundLayer {
        let (buildpack, name) = path.split_once('/').unwrap();
        let file = |(path, text): &(&str, &str)| {
            let (folder, file) = path.rsplit_once('/').unwrap();
            ((folder.to_owned(), file.to_owned()), (*text).to_owned())
        };
        FoundLayer {
            buildpack: buildpack.into(),
            name: name.into(),
            launch: true,
            build: true,
            environment: environment.iter().map(file).collect(),
            ..Default::default()
        }
    }

    fn launched(layers: &[FoundLayer]) -> Variables {
        at_launch(layers.iter())
    }

    #[test]
    fn each_suffix_does_what_the_specification_says() {
        // Two layers of one buildpack, one of the next, in this order; what A is at the end.
        type Row<'t> = ([&'t [(&'t str, &'t str)]; 3], Option<&'t str>);
        let table: [Row; 12] = [
            ([&[("env/A", "1")], &[("env/A", "2")], &[]], Some("2")),
            ([&[("env/A.override", "1")], &[], &[("env/A", "3")]], Some("3")),
            ([&[("env/A.default", "1")], &[("env/A.default", "2")], &[]], Some("1")),
            ([&[("env/A", "")], &[("env/A.default", "2")], &[]], Some("2")),
            ([&[("env/A.append", "1")], &[("env/A.append", "2")], &[("env/A.append", "3")]], Some("123")),
            ([&[("env/A.prepend", "1")], &[("env/A.prepend", "2")], &[("env/A.prepend", "3")]], Some("321")),
            (
                [
                    &[("env/A.append", "1"), ("env/A.delim", ":")],
                    &[("env/A.append", "2"), ("env/A.delim", ";")],
                    &[("env/A.append", "3")],
                ],
                Some("1;23"),
            ),
            ([&[("env/A.append", "1"), ("env.launch/A.append", "2")], &[("env/A.append", "3")], &[]], Some("123")),
            ([&[("env.launch/A", "1"), ("env/A", "2")], &[], &[]], Some("1")),
            ([&[("env.build/A", "1")], &[], &[]], None),
            ([&[("env/A.what", "1")], &[("env/A.b.append", "2")], &[]], None),
            ([&[("env/A.delim", ":")], &[], &[]], None),
        ];
        for (given, expected) in table {
            let layers = [layer("a/one", given[0]), layer("a/two", given[1]), layer("b/one", given[2])];
            assert_eq!(launched(&layers).get("A").map(String::as_str), expected, "{given:?}");
        }
    }

    #[test]
    fn directories_of_what_comes_later_go_first() {
        let parts = |mut layer: FoundLayer, parts: &[&str]| {
            layer.parts = parts.iter().map(|part| (*part).to_owned()).collect();
            layer
        };
        let layers = [
            parts(layer("a/one", &[("env/PATH.prepend", "/own"), ("env/PATH.delim", ":")]), &["bin", "lib"]),
            parts(layer("a/two", &[]), &["bin", "include", "pkgconfig"]),
            parts(layer("b/one", &[]), &["bin"]),
        ];
        let build = at_build(layers.iter());
        assert_eq!(build["PATH"], format!("/layers/b/one/bin:/own:/layers/a/two/bin:/layers/a/one/bin:{PATH}"));
        assert_eq!(build["LIBRARY_PATH"], "/layers/a/one/lib");
        assert_eq!(build["LD_LIBRARY_PATH"], "/layers/a/one/lib");
        assert_eq!(build["CPATH"], "/layers/a/two/include");
        assert_eq!(build["PKG_CONFIG_PATH"], "/layers/a/two/pkgconfig");
        let launch = launched(&layers);
        assert_eq!(launch["PATH"], build["PATH"]);
        assert!(!launch.contains_key("CPATH") && !launch.contains_key("LIBRARY_PATH"));
    }

    #[test]
    fn a_layer_is_seen_where_its_types_say() {
        let of = |build, launch| FoundLayer { build, launch, ..layer("a/x", &[("env/A", "1"), ("env.build/B", "1")]) };
        assert!(at_build([of(true, false)].iter()).contains_key("B"));
        assert!(!at_build([of(false, true)].iter()).contains_key("A"));
        assert!(launched(&[of(false, true)]).contains_key("A"));
        assert!(!launched(&[of(true, false)]).contains_key("A"));
    }

    #[test]
    fn a_process_has_what_is_its_own_on_top() {
        let layers = [
            layer("a/one", &[("env/A.append", "1"), ("env.launch/worker/A.append", "w"), ("env.launch/web/B", "x")]),
            layer("b/one", &[("env/A.append", "2")]),
        ];
        assert_eq!(of_process(&layers, "worker").unwrap()["A"], "1w2");
        assert_eq!(of_process(&layers, "web").unwrap()["B"], "x");
        assert!(of_process(&layers, "other").is_none());
        assert_eq!(launched(&layers)["A"], "12");
    }

    #[test]
    fn what_is_the_platform_s_stays_so() {
        let layers =
            [layer("a/x", &[("env/PORT", "1"), ("env/HYTHE_APP", "1"), ("env/CNB_STACK_ID", "1"), ("env/1A", "1")])];
        let launch = launched(&layers);
        assert_eq!(launch.keys().collect::<Vec<_>>(), ["HOME", "LANG", "PATH"]);
        let build = with_people_s(
            at_build([layer("a/x", &[("env/A", "layer"), ("env/B", "layer")])].iter()),
            [("A", "mine"), ("PATH", "/mine"), ("HOME", "/x"), ("LD_PRELOAD", "x"), ("CNB_STACK_ID", "x")].into_iter(),
        );
        assert_eq!((build["A"].as_str(), build["B"].as_str()), ("mine", "layer"));
        assert_eq!(build["PATH"], format!("/mine:{PATH}"));
        assert!(
            !build.contains_key("HOME") && !build.contains_key("CNB_STACK_ID") && !build.contains_key("LD_PRELOAD")
        );
    }
}
