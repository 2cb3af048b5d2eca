//! What the buildpacks of compiled languages and their kin report. One code serves all of them; the facts say which tool,
//! which file and which command it was.

use super::{Copy, Report, copy};

pub(super) fn reported(report: &Report) -> Option<Copy> {
    let fact = |key| report.fact(key);
    let (language, file, tool) = (fact("language"), fact("file"), fact("tool"));
    Some(match report.code.as_str() {
        "version_unavailable" => {
            let copy = copy(
                format!("{language} {} is not available", fact("wanted")),
                format!("{file} asks for {language} {}; this platform has {language} {}.", fact("wanted"), fact("available")),
            )
            .evidence(&report.evidence)
            .remedy(format!("Ask for what is there in {file}, commit, and push again."));
            match report.facts.get("setting") {
                Some(setting) => copy.remedy(format!(
                    "Other versions come from the network, which did not answer as above: the operator can name a mirror in {setting}."
                )),
                None => copy,
            }
        }

        "debian_failed" => copy(
            format!("{} could not be fetched", fact("what")),
            format!("Debian's archive did not give {}:", fact("what")),
        )
        .evidence(&report.evidence)
        .remedy("Nothing is known to be wrong with your code: push again when the mirror answers, or have the operator set build.mirror.")
        .temporary(),

        "packages_unknown" => copy(
            format!("no Debian package for {}", fact("wanted")),
            format!("{file} asks for {}, which no Debian package of this platform has.", fact("wanted")),
        )
        .and(format!("There are: {}.", fact("available")))
        .remedy(format!("Remove it from {file}, commit, and push again.")),

        "no_start" if report.facts.contains_key("what") => {
            copy("nothing says how to start the app", format!("Nothing says how to start the app: {}.", fact("what")))
                .remedy(format!("Add {},", fact("example")))
                .remedy("or a Procfile with the line \"web: COMMAND\".")
        }

        "program_choice" => copy(
            "several programs, and nothing says which one serves",
            format!("The tree has several programs: {}. Nothing says which one serves.", fact("programs")),
        )
        .remedy(format!("Add a Procfile with the line \"{}\".", fact("example"))),

        "site_rule" => copy(
            format!("{file} line {} is wrong", fact("line")),
            format!("Line {} of {file} is wrong: {}.", fact("line"), fact("cause")),
        )
        .evidence(&report.evidence)
        .remedy(if file == "_headers" {
            "A path stands alone in its line, what is said for it below, for example:  /assets/*  and then  Cache-Control: max-age=3600"
        } else {
            "Each line is \"/from /to STATUS\", for example:  /old/* /new/:splat 301"
        }),

        "no_site" => copy(
            "the build script made no site",
            format!("\"build\" of {file} ended well, and none of the directories {} has an index.html.", fact("directories")),
        )
        .remedy("Have it write there, or, if the app serves itself, say how: a \"start\" script, or a Procfile with the line \"web: COMMAND\"."),

        "document_root" => copy(
            format!("the document root {} is not there", fact("root")),
            format!("{file} names {} as document root, which is no directory of the tree.", fact("root")),
        )
        .remedy(format!("Correct it in {file}, commit, and push again.")),

        "install_failed" => {
            let copy = copy(
                format!("{tool} exited {}", fact("exit")),
                format!("\"{}\" failed with code {}; it installs what {file} asks for.", fact("command"), fact("exit")),
            )
            .evidence(&report.evidence);
            let (remedy, is_temporary) = install_remedy(report);
            let copy = copy.remedy(remedy);
            if is_temporary { copy.temporary() } else { copy }
        }

        "manager_unknown" => copy(
            format!("no such version of {}", fact("name")),
            format!("No version of {} meets \"{}\", which packageManager in {file} asks for.", fact("name"), fact("range")),
        )
        .remedy(format!("Change it in {file}, commit, and push again.")),

        "wrapper_missing" => copy(
            "the Gradle wrapper is missing",
            format!("{file} says that Gradle builds this tree, and there is no gradlew."),
        )
        .remedy("Run \"gradle wrapper\" on your machine, commit gradlew and gradle/wrapper, and push again."),

        "compile_failed" => copy(
            format!("{tool} exited {}", fact("exit")),
            format!("\"{}\" failed with code {}; its output is above.", fact("command"), fact("exit")),
        )
        .evidence(&report.evidence)
        .remedy(format!("Run \"{}\" on your machine, mend what it says, commit, and push again.", fact("command"))),

        "lock_outdated" => copy(
            format!("{file} is not up to date"),
            format!("{file} does not fit to {}.", fact("manifest")),
        )
        .evidence(&report.evidence)
        .remedy(format!("Run \"{}\" on your machine, commit {file}, and push again.", fact("command"))),

        _ => return None,
    })
}

/// What a tool says when the network does not give it what it needs.
const UNREACHABLE: [&str; 13] = [
    "Could not reach host",
    "no such host",
    "Could not resolve host",
    "could not resolve",
    "Could not fetch specs",
    "Temporary failure in name resolution",
    "Connection refused",
    "connection refused",
    "Network is unreachable",
    "i/o timeout",
    "timed out",
    "dial tcp",
    "Could not transfer",
];

fn install_remedy(report: &Report) -> (String, bool) {
    let (tool, file) = (report.fact("tool"), report.fact("file"));
    let is_unreachable = report.evidence.iter().any(|line| UNREACHABLE.iter().any(|text| line.contains(text)));
    let (vendor, setting) = match tool {
        "go" => ("go mod vendor", "build.go_proxy"),
        "bundle" => ("bundle cache", "build.gem_mirror"),
        "cargo" => ("cargo vendor", "build.cargo_registry"),
        "composer" => ("commit the directory vendor after \"composer install\"", "build.composer_mirror"),
        "mvn" | "gradle" => ("", "build.maven_mirror"),
        _ => ("", ""),
    };
    match (is_unreachable, vendor, setting) {
        (true, "", "") => ("The network does not answer: push again later.".to_owned(), true),
        (true, "", setting) => (
            format!("The network does not answer: push again later, or have the operator set {setting} to a mirror."),
            true,
        ),
        (true, vendor, setting) => (
            format!(
                "The network does not answer: push again later, have the operator set {setting} to a mirror, or bring the dependencies along ({vendor})."
            ),
            true,
        ),
        (false, ..) => (format!("Try it on your machine, mend {file}, commit, and push again."), false),
    }
}
