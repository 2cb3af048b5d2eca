//! Java: wrappers of Maven and Gradle, their jars, which one starts.

use super::*;
use crate::harness::docker;

#[test]
fn a_wrapper_and_its_jar() {
    answers(
        "java/fixtures/wrapper",
        "java 17, heap ",
        &["-----> Java 17.", " from Debian (pom.xml \"11\")", "repository reused", "target/app-1.0.jar"],
    );
}

#[test]
fn the_image_has_what_runs() {
    let app = App::new();
    let tree = || {
        Tree::of("buildpacks/java/fixtures/wrapper")
            .file("src/main/webapp/page.html", "a page")
            .file("src/test/app/MainTest.java", "class MainTest {}")
            .file("static/target/classes/kept.txt", "no module's")
    };
    let files = |tree| {
        let done = app.build(&tree);
        let image = app.lab.engine.image_reference(&done.imaged.image);
        let found =
            docker(&["run", "--rm", &image, "find", "/workspace", "-type", "f", "-printf", "%P\n"]).expect("find");
        found.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let kept =
        ["src/main/webapp/page.html", "static/target/classes/kept.txt", "target/app-1.0.jar", "target/library.jar"];
    let kept: BTreeSet<_> = kept.map(str::to_owned).into();
    assert_eq!(files(tree()), kept);
    // Where people start it by its classes, they are there.
    let with = files(tree().file("Procfile", "web: java -cp target/classes app.Main\n"));
    let more: Vec<_> = with.difference(&kept).collect();
    assert_eq!(more, ["Procfile", "target/classes/app/Main.class"]);
}

#[test]
fn jars_inside_of_the_app_s_are_named() {
    let app = App::new();
    let maven = include_str!("../../../../buildpacks/java/fixtures/wrapper/mvnw");
    let inside = "mkdir -p /tmp/in/BOOT-INF/lib && cp target/library.jar /tmp/in/BOOT-INF/lib/greeting-core-1.2.3.jar\n\
                  jar --update --file target/app-1.0.jar -C /tmp/in BOOT-INF\n";
    let tree = Tree::of("buildpacks/java/fixtures/wrapper").program("mvnw", &format!("{maven}{inside}"));
    let done = app.build(&tree);
    let packages = app.await_(app.builder.packages(&done.imaged.image)).expect("packages");
    assert!(packages.iter().any(|one| one.name == "greeting-core" && one.version == "1.2.3"), "{packages:?}");
}

#[test]
fn gradle_and_its_stage() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/java/fixtures/gradle"));
    for text in [" from Debian (system.properties \"17\")", "-----> Building (gradle stage)", "build/libs/app.jar"] {
        assert!(done.log.contains(text), "{text:?} is not in:\n{}", done.log);
    }
    assert!(Container::start(&app, &done).body("/").contains("java 17"));
}

#[test]
fn what_fails() {
    fails("java/fixtures/newer", "Java 99 is not available", &["system.properties", "this platform has Java 17"]);
    fails("java/fixtures/no-gradle", "the Gradle wrapper is missing", &["build.gradle", "gradle wrapper"]);
    fails("java/fixtures/no-main", "nothing says how to start the app", &["Main-Class"]);
    fails("java/fixtures/fails", "mvn exited 1", &["mvn package"]);
    fails(
        "java/fixtures/two",
        "several programs, and nothing says which one serves",
        &["app-1.0.jar", "other-1.0.jar"],
    );
}
