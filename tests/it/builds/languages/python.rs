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
