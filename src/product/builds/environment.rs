//! The environment in which an image's processes start, from its launch layers (buildpack specification, "Environment");
//! pure. It goes into the image's config, so nothing has to compute it at the start.

use std::collections::BTreeMap;

use super::result::FoundLayer;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `layers` in the order of the group, then by name.
pub(super) fn launch_environment<'a>(layers: impl Iterator<Item = &'a FoundLayer>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/home/app".to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    for layer in layers.filter(|layer| layer.launch) {
        let at = format!("/layers/{}", layer.path());
        for (has, name, folder) in [(layer.has_bin, "PATH", "bin"), (layer.has_lib, "LD_LIBRARY_PATH", "lib")] {
            if has {
                modify(&mut variables, name, "prepend", &format!("{at}/{folder}"), ":");
            }
        }
        let delimiters: BTreeMap<&str, &str> = layer
            .environment
            .iter()
            .filter_map(|(file, text)| Some((file.strip_suffix(".delim")?, text.as_str())))
            .collect();
        for (file, text) in &layer.environment {
            let (name, action) = file.rsplit_once('.').unwrap_or((file, "override"));
            if action != "delim" && is_name(name) && !text.contains('\0') {
                modify(&mut variables, name, action, text, delimiters.get(name).unwrap_or(&""));
            }
        }
    }
    variables
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name != "PORT"
        && !name.starts_with("HYTHE_")
}

fn modify(variables: &mut BTreeMap<String, String>, name: &str, action: &str, value: &str, delimiter: &str) {
    let now = variables.get(name);
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

    fn layer(name: &str, environment: &[(&str, &str)]) -> FoundLayer {
        FoundLayer {
            buildpack: "one".into(),
            name: name.into(),
            launch: true,
            has_bin: true,
            environment: environment.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn each_suffix_does_what_the_specification_says() {
        let first = layer("a", &[("A", "1"), ("B.default", "1"), ("C.append", "1"), ("C.delim", ":"), ("E.bad", "x")]);
        let second = layer(
            "b",
            &[
                ("A.override", "2"),
                ("B.default", "2"),
                ("C.append", "2"),
                ("C.delim", ":"),
                ("D.prepend", "2"),
                ("PORT", "1"),
            ],
        );
        let not_launched = FoundLayer { launch: false, ..layer("c", &[("A", "3")]) };
        let variables = launch_environment([&first, &second, &not_launched].into_iter());
        assert_eq!((variables["A"].as_str(), variables["B"].as_str()), ("2", "1"));
        assert_eq!((variables["C"].as_str(), variables["D"].as_str()), ("1:2", "2"));
        assert_eq!(variables["PATH"], format!("/layers/one/b/bin:/layers/one/a/bin:{PATH}"));
        assert!(!variables.contains_key("PORT") && !variables.contains_key("E"));
    }
}
