//! Lock files of uv, Poetry and Pipenv; Django.

use super::*;

#[test]
fn lock_files_of_other_tools() {
    for tool in ["uv", "poetry", "pipenv"] {
        let page = "locked, bottle 0.13.4, dev False";
        answers(&format!("python/fixtures/{tool}"), page, &["dependencies reused"]);
    }
}

#[test]
fn django_with_its_static_files() {
    answers(
        "python/fixtures/django",
        "django, collected True",
        &["dependencies reused", "-----> Collecting static files (manage.py collectstatic)"],
    );
}

#[test]
fn the_version_that_a_manifest_asks_for() {
    let asking =
        |file: &str, text: &str| Tree::empty().file("app.py", "").file("requirements.txt", "").file(file, text);
    let project = |text: &str| format!("[project]\nname = \"a\"\nversion = \"1\"\nrequires-python = \"{text}\"\n");
    let poetry = |text: &str| format!("[tool.poetry.dependencies]\npython = \"{text}\"\n");
    let app = App::new();
    for (file, text, asks) in [
        ("pyproject.toml", project(">=3.8,<4"), ">=3.8,<4"),
        ("pyproject.toml", poetry("^3.9"), "^3.9"),
        ("Pipfile", "[requires]\npython_version = \"3.11\"\n".to_owned(), "3.11"),
        ("Pipfile", "[requires]\npython_full_version = \"3.11.99\"\n".to_owned(), "3.11.99"),
    ] {
        let log = app.build(&asking(file, &text)).log;
        assert!(log.contains(&format!("({file} \"{asks}\")")), "{log}");
    }
    for (file, text, says) in [
        ("pyproject.toml", project(">=3.99"), ["Python >=3.99 is not available", "this platform has Python 3.11."]),
        ("pyproject.toml", poetry("^2.7"), ["Python ^2.7 is not available", "pyproject.toml asks"]),
        (
            "Pipfile",
            "[requires]\npython_version = \"3.7\"\n".to_owned(),
            ["Python 3.7 is not available", "Pipfile asks"],
        ),
        ("pyproject.toml", project("newest"), ["requires-python", "newest"]),
    ] {
        let (failure, _) = app.fail(&asking(file, &text));
        let said = format!("{}\n{}", failure.reason, failure.lines.join("\n"));
        assert!(says.iter().all(|text| said.contains(text)), "{said}");
    }
}
