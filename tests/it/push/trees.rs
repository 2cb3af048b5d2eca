//! Trees that git can store and no honest one has, and those that are only large or odd.

use std::fs::File;

use super::{Deployed, ok};

/// An id that stands for no object.
const NOWHERE: &str = "1234567890123456789012345678901234567890";

#[test]
fn a_path_that_climbs_out_is_refused() {
    let app = Deployed::new();
    let blob = app.repo.blob("root::0:0::/:/bin/sh\n");
    for name in ["100644 ../x", "100644 ..", "100644 a/b", "100644 .git", "100644 /etc"] {
        app.repo.commit_raw_tree(&[(name, &blob)]);
        app.repo.push("--force main").refused(&["tree "]);
    }
    app.untouched();
}

#[test]
fn an_absolute_link_is_refused() {
    let app = Deployed::new();
    let link = app.repo.blob("/etc/passwd");
    app.repo.commit_raw_tree(&[("120000 leak", &link)]);
    app.repo.push("--force main").refused(&["leak -> /etc/passwd", "is absolute"]);
    app.untouched();
}

#[test]
fn a_link_that_leads_out_is_refused() {
    let app = Deployed::new();
    let link = app.repo.blob("../../etc/passwd");
    app.repo.commit_raw_tree(&[("120000 leak", &link)]);
    app.repo.push("--force main").refused(&["leak -> ../../etc/passwd", "leads out of the repository"]);
    app.untouched();
}

#[test]
fn links_that_loop_are_refused() {
    let app = Deployed::new();
    let (a, b) = (app.repo.blob("b"), app.repo.blob("a"));
    app.repo.commit_raw_tree(&[("120000 a", &a), ("120000 b", &b)]);
    app.repo.push("--force main").refused(&["a -> b", "never ends"]);
    app.untouched();
}

#[test]
fn a_file_of_200_megabytes_is_refused_with_the_limit() {
    let app = Deployed::new();
    let file = File::create(app.repo.file("huge.bin")).expect("file");
    file.set_len(200_000_000).expect("size");
    app.repo.commit(&[]);
    app.repo.push("main").refused(&["200", "limit", "remove it from the history"]);
    app.untouched();
}

#[test]
fn twenty_thousand_files_are_served() {
    let app = Deployed::new();
    for i in 0..20_000 {
        app.repo.write(&format!("many/{}/{i}.txt", i % 100), i.to_string());
    }
    let count = "const fs = require('fs');\nlet n = 0;\nfor (const d of fs.readdirSync('many')) n += fs.readdirSync('many/' + d).length;\n\
        require('http').createServer((_, r) => r.end(String(n))).listen(process.env.PORT, '0.0.0.0');\n";
    app.repo.commit(&[("server.js", count)]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("20000"));
    app.nothing_left();
}

#[test]
fn odd_names_arrive_as_they_are() {
    let app = Deployed::new();
    let names = ["a b", "it's \"quoted\"", "two\nlines", "🚀 emoji", "-rf", "$(id)", "back\\slash", "über", "*"];
    for name in names {
        app.repo.write(&format!("odd/{name}"), "x");
    }
    let list = "const fs = require('fs');\nconst names = JSON.stringify(fs.readdirSync('odd').sort());\n\
        require('http').createServer((_, r) => r.end(names)).listen(process.env.PORT, '0.0.0.0');\n";
    app.repo.commit(&[("server.js", list)]);
    app.repo.push("main").accepted();
    let answer = app.server.get("hello");
    let mut served: Vec<String> = serde_json::from_str(&answer.body).expect("a list of names");
    let mut names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    served.sort();
    names.sort();
    assert_eq!(served, names);
}

#[test]
fn a_submodule_is_named() {
    let app = Deployed::new();
    let package = app.repo.blob("{}");
    app.repo.commit_raw_tree(&[("100644 package.json", &package), ("160000 vendor", NOWHERE)]);
    app.repo.push("--force main").refused(&["vendor is a submodule"]);
    app.untouched();
}
