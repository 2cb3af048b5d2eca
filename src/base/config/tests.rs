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

/// A variable that nobody reads would be ignored without a word.
#[test]
fn every_key_of_the_example_is_of_the_overlay() {
    let example: toml::Table = include_str!("../../../contrib/hythe.example.toml").parse().expect("TOML");
    for (section, keys) in &example {
        for (key, value) in keys.as_table().expect("a section") {
            let there = KEYS.iter().any(|(of, name, _)| of == section && name == key);
            assert!(there || value.is_array(), "{section}.{key}");
        }
    }
}

#[test]
fn sizes_are_a_list_whose_names_are_taken_once() {
    let file = |text: &'static str| Config::load(Some((Path::new("hythe.toml"), text)), |_| None);
    let usual = file("").expect("loads").runtime;
    let names: Vec<_> = usual.sizes.iter().map(|size| size.name.as_str()).collect();
    assert_eq!(names, ["small", "medium", "large", "xlarge"]);
    let small: crate::base::model::SizeName = "small".parse().expect("a name");
    assert_eq!(usual.limits_of(Some(&small)).memory_bytes, 256 << 20);
    assert_eq!(usual.limits_of(None).memory_bytes, 512 << 20);
    let own = "[[runtime.sizes]]\nname = \"one\"\nmemory_bytes = 33554432\ncpu_millis = 100\npids = 16\n";
    let own = file(own).expect("loads").runtime;
    assert_eq!((own.sizes.len(), own.limits_of(Some(&small))), (1, own.limits()), "one that is no more counts as none");
    let twice = "[[runtime.sizes]]\nname = \"default\"\nmemory_bytes = 1\ncpu_millis = 1\npids = 1\n\
                 disk_bytes = 1048575\n";
    let fault = file(twice).expect_err("four faults").to_string();
    for part in ["\"default\" is taken", "sizes[0].memory_bytes", "sizes[0].cpu_millis", "sizes[0].disk_bytes"] {
        assert!(fault.contains(part), "{part}: {fault}");
    }
}

#[test]
fn orders_want_an_agreement_and_what_the_chosen_dns_needs() {
    let file = |text: &'static str| Config::load(Some((Path::new("hythe.toml"), text)), |_| None);
    let wrong = "[acme]\ndirectory = \"http://ca.example/\"\nchallenges = []\nretry_seconds = 0\ncontact = \"nobody\"\n\
                 dns = \"rfc2136\"\ndns_zone = \"example.com\"\n";
    file(wrong).expect("what is not in use is not judged");
    let fault = Config::load(Some((Path::new("hythe.toml"), wrong)), |name| {
        (name == "HYTHE_CERTS_ISSUER").then(|| "acme".to_owned())
    });
    let fault = fault.expect_err("faults").to_string();
    for key in
        ["terms_agreed", "directory", "challenges", "retry_seconds", "contact", "dns_server", "dns_user", "dns_key"]
    {
        assert!(fault.contains(&format!("acme.{key}")), "{key}: {fault}");
    }
    assert!(!fault.contains("dns_zone") && !fault.contains("dns_api"), "{fault}");
    let good = "[certs]\nissuer = \"acme\"\n[acme]\nterms_agreed = true\nchallenges = [\"dns-01\", \"tls-alpn-01\"]\n\
                key_type = \"rsa-2048\"\ndns_key = \"sesame\"\n";
    let config = file(good).expect("loads");
    assert_eq!(config.acme.challenges, [ChallengeChoice::Dns, ChallengeChoice::TlsAlpn]);
    assert!(!format!("{config:?}").contains("sesame"));
}

#[test]
fn addresses_are_printed_as_people_open_them() {
    let mut config = Config::default();
    assert_eq!(config.url("shop.localhost"), "http://shop.localhost:8080");
    config.http.public_port = Some(80);
    config.http.tls_listen = Some("0.0.0.0:8443".parse().expect("an address"));
    assert_eq!(config.url("shop.localhost"), "http://shop.localhost", "who has a certificate is not known");
    config.certs.issuer = IssuerChoice::Acme;
    assert_eq!(config.url("shop.localhost"), "https://shop.localhost:8443");
    config.http.public_tls_port = Some(443);
    assert_eq!(config.url("shop.localhost"), "https://shop.localhost");
}
