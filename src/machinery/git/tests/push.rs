//! Pushes by the real client.

use super::*;

fn with_server() -> (World, Server) {
    let world = World::new();
    let server = Server::start(&world);
    git(&world.work(), &["remote", "add", "origin", &server.url()]);
    (world, server)
}

#[test]
fn first_push_then_a_thin_one_on_top() {
    let (world, _server) = with_server();
    let content: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
    world.write("src/deep/er/main.c", "int main;\n");
    let first = world.commit("big.txt", &content);
    git(&world.work(), &["push", "-q", "origin", "main"]);
    assert_eq!(world.repo.head_of("main").unwrap(), Some(first));
    assert_eq!(world.repo.head().unwrap().as_deref(), Some("refs/heads/main"));
    fsck(world.repo.path());

    let second = world.commit("big.txt", content + "one more\n");
    git(&world.work(), &["push", "-q", "origin", "main"]);
    assert_eq!(world.repo.head_of("main").unwrap(), Some(second));
    assert!(world.repo.contains(&second).unwrap());
    fsck(world.repo.path());
    world.assert_nothing_left();
    assert_eq!(world.packs(), 4, "two packs with their indices, no .keep");
    git(&world.work(), &["push", "origin", "main"]);
}

#[test]
fn protocol_one_and_texts_reach_the_client() {
    let (world, _server) = with_server();
    world.commit("a", "1");
    let output = run(&mut git_process(&world.work(), &["-c", "protocol.version=1", "push", "origin", "main"]), b"");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("remote: -----> Received"), "{text}");
}

#[test]
fn branches_tags_force_and_deletion() {
    let (world, _server) = with_server();
    let first = world.commit("a", "1");
    git(&world.work(), &["branch", "feature/one"]);
    git(&world.work(), &["tag", "-a", "v1", "-m", "annotated"]);
    git(&world.work(), &["tag", "light"]);
    git(&world.work(), &["push", "-q", "origin", "main", "feature/one", "v1", "light"]);
    let names: Vec<_> = world.repo.refs().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["refs/heads/feature/one", "refs/heads/main", "refs/tags/light", "refs/tags/v1"]);
    assert_eq!(world.packs(), 2);

    // The commit is there already: a pack without objects.
    git(&world.work(), &["push", "-q", "origin", "main:refs/heads/again"]);
    assert_eq!(world.repo.head_of("again").unwrap(), Some(first));
    assert_eq!(world.packs(), 2);

    git(&world.work(), &["commit", "-q", "--amend", "-m", "other"]);
    git_fails(&world.work(), &["push", "-q", "origin", "main"]);
    git(&world.work(), &["push", "-q", "--force", "origin", "main"]);
    assert_eq!(world.repo.head_of("main").unwrap(), Some(world.id("main")));

    git(&world.work(), &["push", "-q", "origin", ":feature/one", ":again"]);
    assert_eq!(world.repo.head_of("feature/one").unwrap(), None);
    // Directories that deleted branches left do not block one of their name.
    std::fs::create_dir_all(world.repo.path().join("refs/heads/feature/left/over")).unwrap();
    git(&world.work(), &["push", "-q", "origin", "main:refs/heads/feature"]);
    fsck(world.repo.path());

    let text = git_fails(&world.work(), &["push", "origin", "main:refs/heads/main/sub"]);
    assert!(text.contains("cannot exist beside refs/heads/main"), "{text}");
    let text = git_fails(&world.work(), &["push", "origin", "HEAD^{tree}:refs/heads/tree"]);
    assert!(text.contains("tree"), "{text}");
}

#[test]
fn deletion_of_packed_refs() {
    let (world, _server) = with_server();
    world.commit("a", "1");
    git(&world.work(), &["push", "-q", "origin", "main", "main:refs/heads/old"]);
    git(world.repo.path(), &["pack-refs", "--all"]);
    std::fs::write(world.repo.path().join("refs/heads/old.lock"), "left by a crash").unwrap();
    git(&world.work(), &["push", "-q", "origin", ":old"]);
    assert_eq!(world.repo.head_of("old").unwrap(), None);
    let next = world.commit("a", "2");
    git(&world.work(), &["push", "-q", "origin", "main"]);
    assert_eq!(world.repo.head_of("main").unwrap(), Some(next));
    fsck(world.repo.path());
}

#[test]
fn options_and_choices_of_the_client_arrive() {
    let (world, server) = with_server();
    world.commit("a", "1");
    let args = ["push", "-q", "--atomic", "-o", "env=staging", "-o", "message=zwei Wörter", "origin", "main"];
    git(&world.work(), &args);
    let requests = server.state.requests.lock().unwrap();
    let request = requests.last().unwrap();
    assert_eq!(request.options, ["env=staging", "message=zwei Wörter"]);
    assert!(request.capabilities.atomic && request.capabilities.quiet && request.capabilities.report_status);
    assert!(request.capabilities.agent.as_deref().unwrap().starts_with("git/2."));
}

#[test]
fn the_first_branch_is_head_until_main_comes() {
    let (world, _server) = with_server();
    world.commit("a", "1");
    git(&world.work(), &["push", "-q", "origin", "main:trunk"]);
    assert_eq!(world.repo.head().unwrap().as_deref(), Some("refs/heads/trunk"));
    git(&world.work(), &["push", "-q", "origin", "main:other"]);
    assert_eq!(world.repo.head().unwrap().as_deref(), Some("refs/heads/trunk"));
    git(&world.work(), &["push", "-q", "origin", "main"]);
    assert_eq!(world.repo.head().unwrap().as_deref(), Some("refs/heads/main"));
}

#[test]
fn limits_are_said_to_the_pusher() {
    let (world, server) = with_server();
    // Bytes that do not compress.
    let noise: Vec<u8> = (0..300_000_u32).flat_map(|n| gix::hash::hasher(gix::hash::Kind::Sha1).digest(n)).collect();
    world.commit("noise", &noise[..3_000_000]);
    let tries = [
        (Limits { pack_bytes: 1_000_000, ..limits() }, "limit of 1.0 MB"),
        (Limits { objects: 2, ..limits() }, "3 objects, the limit is 2"),
        (Limits { object_bytes: 2_000_000, ..limits() }, "object of 3.0 MB, the limit is 2.0 MB"),
    ];
    for (limits, text) in tries {
        *server.state.limits.lock().unwrap() = limits;
        let said = git_fails(&world.work(), &["push", "origin", "main"]);
        assert!(said.contains(text), "{said}");
        world.assert_nothing_left();
    }
    *server.state.limits.lock().unwrap() = limits();
    git(&world.work(), &["push", "-q", "origin", "main"]);
    fsck(world.repo.path());
}

trait Digest {
    fn digest(self, n: u32) -> Vec<u8>;
}

impl Digest for gix::hash::Hasher {
    fn digest(mut self, n: u32) -> Vec<u8> {
        self.update(&n.to_be_bytes());
        self.try_finalize().unwrap().as_slice().to_vec()
    }
}

#[test]
fn a_push_from_a_part_of_the_history_is_explained() {
    let (world, server) = with_server();
    for n in 0..3 {
        world.commit("a", n.to_string());
    }
    let url = format!("file://{}", world.work().display());
    git(world.directory.path(), &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let shallow = world.path("shallow");
    let said = git_fails(&shallow, &["push", &server.url(), "main"]);
    assert!(said.contains("--unshallow"), "{said}");
    assert!(server.state.requests.lock().unwrap().last().unwrap().shallow);

    // Where the rest is known, the part is enough.
    git(&world.work(), &["push", "-q", "origin", "main"]);
    std::fs::write(shallow.join("a"), "4").unwrap();
    git(&shallow, &["commit", "-qam", "4"]);
    git(&shallow, &["push", "-q", &server.url(), "main"]);
    fsck(world.repo.path());
}

#[test]
fn a_large_tree_and_a_small_push_on_top() {
    let (world, _server) = with_server();
    world.import(many(20_000));
    let start = std::time::Instant::now();
    git(&world.work(), &["push", "-q", "origin", "main"]);
    eprintln!("20,000 files: {:?}", start.elapsed());
    let main = world.id("main");
    let stream = format!(
        "commit refs/heads/main\ncommitter A <a@b> 1700000001 +0000\ndata 1\nx\nfrom {main}\nM 100644 inline d1/e1/new\ndata 1\nx\n"
    );
    git_input(&world.work(), &["fast-import", "--quiet"], stream.as_bytes());
    let pack = world.pack_of(&format!("HEAD\n^{}", world.repo.head_of("main").unwrap().unwrap()));
    let start = std::time::Instant::now();
    let quarantine = world.receive("small", &pack).unwrap();
    let received = start.elapsed();
    quarantine.check(&[world.id("HEAD")]).unwrap();
    eprintln!("one commit on top: received {received:?}, checked {:?}", start.elapsed() - received);
    quarantine.migrate().unwrap();
    git(&world.work(), &["push", "-q", "origin", "main"]);
    assert_eq!(world.repo.head_of("main").unwrap(), Some(world.id("main")));
    fsck(world.repo.path());
}
