//! The engine as an onlooker sees it, through its own client.

use super::{Said, program, run};

/// The socket that the tests use; `/var/run/docker.sock` unless set.
pub fn socket() -> String {
    std::env::var("HYTHE_RUNTIME_ENGINE").unwrap_or_else(|_| "/var/run/docker.sock".into())
}

pub fn docker(words: &[&str]) -> Said {
    run(program("docker").arg("-H").arg(format!("unix://{}", socket())).args(words))
}

/// Names of the containers of `prefix`, stopped ones included.
pub fn containers(prefix: &str) -> Vec<String> {
    let filter = format!("label=hythe.prefix={prefix}");
    lines(docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &filter]).expect("docker ps"))
}

/// Containers that run an app's process, as opposed to builds.
pub fn replicas(prefix: &str, app: &str) -> Vec<String> {
    let (ours, app) = (format!("label=hythe.prefix={prefix}"), format!("label=hythe.app={app}"));
    let words = ["ps", "--format", "{{.Names}}", "--filter", ours.as_str(), "--filter", app.as_str()];
    lines(docker(&words).expect("docker ps"))
}

/// Ids of images that builds of Dockerfiles left, without a name or with one.
pub fn recipes(prefix: &str) -> Vec<String> {
    let filter = format!("label=hythe.prefix={prefix}");
    lines(docker(&["images", "-aq", "--filter", &filter]).expect("docker images"))
}

pub fn remove_all(prefix: &str) {
    let label = format!("label=hythe.prefix={prefix}");
    each(&["ps", "-aq", "--filter", &label], &["rm", "-f", "-v"]);
    each(&["volume", "ls", "-q", "--filter", &label], &["volume", "rm", "-f"]);
    each(&["network", "ls", "-q", "--filter", &label], &["network", "rm"]);
    let ours = format!("reference={prefix}/*");
    each(&["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &ours], &["rmi", "-f"]);
    docker(&["image", "prune", "-f", "--filter", &label]);
}

fn each(list: &[&str], act: &[&str]) {
    let found = lines(docker(list).out);
    if !found.is_empty() {
        let words: Vec<&str> = act.iter().copied().chain(found.iter().map(String::as_str)).collect();
        docker(&words);
    }
}

fn lines(text: String) -> Vec<String> {
    text.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
}
