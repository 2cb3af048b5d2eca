//! Ruby: gems of the tree, assets, scripts.

use super::*;

#[test]
fn gems_of_the_tree_and_assets() {
    let (app, first) = answers(
        "ruby/fixtures/rack",
        "rack 2.2.22, assets built, production",
        &[
            "-----> Ruby 3.1.2 from Debian (Gemfile \"~> 3.1\")",
            "gems reused",
            "-----> Building assets (rake assets:precompile)",
        ],
    );
    let container = Container::start(&app, &first);
    container.body("/");
    container.stop();
}

#[test]
fn a_script_without_gems() {
    answers("ruby/fixtures/plain", "plain 3.1.2", &["-----> Ruby 3.1.2 from Debian ("]);
}

#[test]
fn what_fails() {
    fails("ruby/fixtures/newer", "Ruby 3.9.1 is not available", &["Gemfile", "3.1.2"]);
    fails("ruby/fixtures/no-start", "nothing says how to start the app", &["config.ru", "app.rb"]);
    fails("ruby/fixtures/gem-fails", "bundle exited 17", &["Gemfile", "bundle cache", "build.gem_mirror"]);
    fails("ruby/fixtures/assets-fail", "rake exited 1", &["rake assets:precompile"]);
}
