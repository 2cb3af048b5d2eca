//! Java: wrappers of Maven and Gradle, their jars, which one starts.

use super::*;

#[test]
fn a_wrapper_and_its_jar() {
    answers(
        "java/fixtures/wrapper",
        "java 17, heap ",
        &["-----> Java 17.", " from Debian (pom.xml \"11\")", "repository reused", "target/app-1.0.jar"],
    );
}

#[test]
fn gradle_and_its_stage() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/java/fixtures/gradle"));
    for text in ["(OpenJDK, system.properties \"17\")", "-----> Building (gradle stage)", "build/libs/app.jar"] {
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
