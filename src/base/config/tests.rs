use super::*;

#[test]
fn environment_wins_over_the_file() {
    let file = (Path::new("hythe.toml"), "[http]\nbase_domain = \"a.example\"\npublic_port = 1\n");
    let set = |name: &str| (name == "HYTHE_HTTP_BASE_DOMAIN").then(|| "b.example".to_owned());
    let config = Config::load(Some(file), set).expect("loads");
    assert_eq!(config.http.base_domain.as_str(), "b.example");
    assert_eq!(config.http.public_port, Some(1));
}

#[test]
fn a_wrong_key_names_itself() {
    let file = (Path::new("hythe.toml"), "[http]\nbase_domian = \"a\"\n");
    let fault = Config::load(Some(file), |_| None).expect_err("unknown key").to_string();
    assert!(fault.contains("base_domian"), "{fault}");
}

#[test]
fn all_faults_are_told_at_once() {
    let set = |name: &str| match name {
        "HYTHE_BUILD_TIMEOUT_SECONDS" | "HYTHE_RUNTIME_READY_SECONDS" => Some("0".to_owned()),
        _ => None,
    };
    let fault = Config::load(None, set).expect_err("two faults").to_string();
    assert!(fault.contains("build.timeout_seconds") && fault.contains("runtime.ready_seconds"), "{fault}");
}

#[test]
fn every_key_of_the_overlay_is_a_key() {
    for (section, key, _) in KEYS {
        let name = format!("HYTHE_{}_{}", section.to_uppercase(), key.to_uppercase());
        let result = Config::load(None, |asked| (asked == name).then(|| "[]".to_owned()));
        let fault = result.map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        assert!(!fault.contains("unknown field"), "{name}: {fault}");
    }
}
