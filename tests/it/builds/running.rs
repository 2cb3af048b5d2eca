//! Images that were built, run by the engine as any other.

use std::net::TcpListener;
use std::time::Instant;

use super::lab::Done;
use super::{App, Tree};
use crate::harness::{docker, eventually, program, run};

pub struct Container {
    id: String,
    port: u16,
}

impl Container {
    pub fn start(app: &App, done: &Done) -> Self {
        let web = &done.imaged.processes[&"web".parse().expect("name")];
        let image = app.lab.engine.image_reference(&done.imaged.image);
        let port = TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
        let label = format!("hythe.prefix={}", app.lab.prefix);
        let publish = format!("127.0.0.1:{port}:8080");
        let mut words = vec!["run", "-d", "--init", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
        words.extend(["--label", &label, "-p", &publish, "-e", "PORT=8080", &image]);
        words.extend(web.command.iter().map(String::as_str));
        let id = docker(&words).expect("docker run").trim().to_owned();
        Self { id, port }
    }

    /// Status, headers in lower case, body.
    pub fn get(&self, path: &str, headers: &[&str]) -> (u16, String, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        eventually(&format!("{url} answers"), || {
            let mut command = program("curl");
            command.args(["-s", "-i", "--compressed", "--path-as-is", "--max-time", "5", &url]);
            for header in headers {
                command.args(["-H", header]);
            }
            let said = run(&mut command);
            let (head, body) = said.out.split_once("\r\n\r\n")?;
            let status = head.split(' ').nth(1)?.parse().ok()?;
            Some((status, head.to_lowercase(), body.to_owned()))
        })
    }

    /// Status and headers in lower case; the body may be anything.
    pub fn head(&self, path: &str, headers: &[&str]) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        eventually(&format!("{url} answers"), || {
            let mut command = program("curl");
            command.args(["-s", "-D", "-", "-o", "/dev/null", "--max-time", "5", &url]);
            for header in headers {
                command.args(["-H", header]);
            }
            let head = run(&mut command).out.to_lowercase();
            Some((head.split(' ').nth(1)?.parse().ok()?, head))
        })
    }

    pub fn body(&self, path: &str) -> String {
        self.get(path, &[]).2
    }

    /// Exit code after SIGTERM; 137 would be SIGKILL after the grace.
    pub fn stop(&self) -> String {
        docker(&["stop", "-t", "20", &self.id]).expect("docker stop");
        docker(&["inspect", "-f", "{{.State.ExitCode}}", &self.id]).expect("docker inspect").trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "-f", "-v", &self.id]);
    }
}

#[test]
fn samples_answer_and_stop_when_told() {
    for (sample, answer, codes) in [
        ("hello-node", "Hello from Hythe, by Node.js\n", ["0", "0"]),
        ("hello-python", "Hello from Hythe, by Python\n", ["0", "143"]),
        ("hello-static", "<h1>Hello from Hythe</h1>", ["0", "0"]),
    ] {
        let app = App::new();
        let done = app.build(&Tree::of(&format!("contrib/samples/{sample}")));
        let container = Container::start(&app, &done);
        let body = container.body("/");
        assert!(body.contains(answer), "{sample}: {body}");
        let began = Instant::now();
        let code = container.stop();
        assert!(codes.contains(&code.as_str()), "{sample} ended with {code} after {:?}", began.elapsed());
    }
}

#[test]
fn an_app_runs_with_what_its_build_made() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/nodejs/fixtures/dependencies"));
    // The dependency, the build's output, and no devDependency.
    assert_eq!(Container::start(&app, &done).body("/"), "function built false\n");
}

#[test]
fn a_version_that_was_asked_for_is_the_one_that_runs() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/nodejs/fixtures/version"));
    assert_eq!(Container::start(&app, &done).body("/"), "v22.11.0");
}

#[test]
fn a_static_site_is_served_well() {
    let app = App::new();
    let root = app.build(&Tree::of("buildpacks/static/fixtures/root"));
    let site = Container::start(&app, &root);
    assert!(site.body("/").contains("<title>root"));
    assert!(site.body("/about").contains("<title>about"));
    assert!(site.body("/docs/").contains("<title>docs"));
    let (status, head, _) = site.get("/docs", &[]);
    assert!(status == 301 && head.contains("location: /docs/"), "{head}");
    for hidden in ["/.env", "/.hythe-static", "/nothing", "/..%2f..%2fetc/passwd"] {
        let status = site.get(hidden, &[]).0;
        assert!(status == 404 || status == 400, "{hidden}: {status}");
    }
    let (_, head, _) = site.get("/", &[]);
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").trim().to_owned();
    assert_eq!(site.get("/", &[&format!("If-None-Match: {tag}")]).0, 304);

    // A file of the same size is another version all the same.
    let changed = app
        .build(&Tree::of("buildpacks/static/fixtures/root").file("index.html", "<!doctype html><title>toor</title>\n"));
    let (status, head, body) = Container::start(&app, &changed).get("/", &[&format!("If-None-Match: {tag}")]);
    assert!(status == 200 && body.contains("toor") && !head.contains(&tag), "{head}");

    let public = app.build(&Tree::of("buildpacks/static/fixtures/public"));
    let site = Container::start(&app, &public);
    assert!(site.body("/").contains("<title>public"));
    let (status, _, body) = site.get("/nothing", &[]);
    assert!(status == 404 && body.contains("not here"), "{status} {body}");
    assert!(
        site.get("/x.mjs", &[]).1.contains("content-type: application/javascript"),
        "{}",
        site.get("/x.mjs", &[]).1
    );
}
