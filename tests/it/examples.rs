//! What contrib/ shows is true.

use std::path::Path;

use hythe::base::config::Config;

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/hythe.example.toml");
    std::fs::read_to_string(path).expect("the example configuration")
}

#[test]
fn the_example_configuration_is_the_default() {
    let shown = Config::load(Some((Path::new("example"), &example())), |_| None).expect("it loads");
    let default = Config::load(None, |_| None).expect("defaults load");
    assert_eq!(format!("{shown:#?}"), format!("{default:#?}"));
}

#[test]
fn the_example_configuration_shows_every_key() {
    // A key without a default stands behind a comment mark.
    let text = example();
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let table: toml::Table = uncommented.parse().expect("TOML");
    Config::load(Some((Path::new("example"), &uncommented)), |_| None).expect("every key exists");
    for (section, key, _) in hythe::base::config::KEYS {
        assert!(table[*section].as_table().is_some_and(|t| t.contains_key(*key)), "{section}.{key} is not shown");
    }
}
