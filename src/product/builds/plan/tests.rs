//! Tables: what buildpacks say, and which group stands.

use super::*;

fn groups(texts: &[&str]) -> Vec<Vec<Slot>> {
    let slot = |word: &str| {
        let (id, optional) = word.strip_suffix('?').map_or((word, false), |id| (id, true));
        Slot::new(id, id.to_owned(), optional)
    };
    texts.iter().map(|text| text.split_whitespace().map(slot).collect()).collect()
}

fn looks(said: &[(&str, i64, &str)]) -> BTreeMap<String, Look> {
    let look = |exit, plan: &str| Look { exit, plan: plan.to_owned(), ..Look::default() };
    said.iter().map(|&(key, exit, plan)| (key.to_owned(), look(exit, &table(plan)))).collect()
}

/// `+a -b | -c`: provides a, requires b; or requires c.
fn table(short: &str) -> String {
    let mut text = String::new();
    for (place, plan) in short.split('|').enumerate() {
        let (or, header) = if place == 0 { ("", "") } else { ("or.", "[[or]]\n") };
        text.push_str(header);
        for word in plan.split_whitespace() {
            let (kind, name) = (if word.starts_with('+') { "provides" } else { "requires" }, &word[1..]);
            text.push_str(&format!("[[{or}{kind}]]\nname = \"{name}\"\n"));
        }
    }
    text
}

fn chosen(order: &[&str], said: &[(&str, i64, &str)]) -> Result<String, NoChoice> {
    choose(&groups(order), &looks(said), false).map(|choice| choice.group.join(" "))
}

#[test]
fn the_first_group_that_passes_builds() {
    for (order, said, expected) in [
        (&["a b?", "c"][..], &[("a", 100, ""), ("b", 0, ""), ("c", 0, "")][..], "c"),
        (&["a b?", "c"], &[("a", 0, ""), ("b", 0, ""), ("c", 0, "")], "a b"),
        (&["a b?", "c"], &[("a", 0, ""), ("b", 100, ""), ("c", 0, "")], "a"),
        // An error is as good as a refusal while another group stands.
        (&["a", "c"], &[("a", 7, ""), ("c", 0, "")], "c"),
        (&["a? c"], &[("a", 7, ""), ("c", 0, "")], "c"),
        // All are optional: one that passes is enough.
        (&["a? b?"], &[("a", 100, ""), ("b", 0, "")], "b"),
        // Own needs, and needs of later ones.
        (&["a b"], &[("a", 0, "+x"), ("b", 0, "-x")], "a b"),
        (&["a"], &[("a", 0, "+x -x")], "a"),
        (&["a b", "b"], &[("a", 0, "+x"), ("b", 0, "")], "b"),
        // The first plan that meets, depth first.
        (&["a b"], &[("a", 0, "+x|+y"), ("b", 0, "-y|-x")], "a b"),
        (&["a"], &[("a", 0, "-gone|+y -y")], "a"),
        // An optional one whose plan does not meet stays away.
        (&["a b?"], &[("a", 0, ""), ("b", 0, "-gone")], "a"),
        (&["a b?"], &[("a", 0, ""), ("b", 0, "+unwanted")], "a"),
    ] {
        assert_eq!(chosen(order, said).as_deref(), Ok(expected), "{order:?} {said:?}");
    }
}

#[test]
fn what_does_not_stand_says_why() {
    let unmet = |key: &str, cause: &str| NoChoice::Unmet { key: key.into(), cause: cause.into() };
    for (order, said, expected) in [
        (&["a"][..], &[("a", 1, "")][..], NoChoice::Errored { key: "a".into(), exit: 1 }),
        (&["a"], &[("a", 100, "")], NoChoice::Declined { key: "a".into() }),
        (&["a", "b"], &[("a", 100, ""), ("b", 100, "")], NoChoice::Unknown),
        (&["a? b?"], &[("a", 100, ""), ("b", 100, "")], NoChoice::Unknown),
        (&["a b"], &[("a", 0, "-x"), ("b", 0, "+x")], unmet("a", "nobody provides the \"x\" that it requires")),
        (&["a b"], &[("a", 0, "+x"), ("b", 0, "")], unmet("a", "nobody requires the \"x\" that it provides")),
    ] {
        assert_eq!(chosen(order, said), Err(expected), "{order:?} {said:?}");
    }
    assert_eq!(
        choose(&groups(&["a", "c"]), &looks(&[("a", 7, ""), ("c", 0, "")]), true).unwrap_err(),
        NoChoice::Errored { key: "a".into(), exit: 7 }
    );
    let broken = BTreeMap::from([("a".to_owned(), Look { plan: "not toml".into(), ..Look::default() })]);
    assert!(matches!(choose(&groups(&["a"]), &broken, false), Err(NoChoice::Unmet { .. })));
    let long = BTreeMap::from([("a".to_owned(), Look { plan: "#".repeat(LONGEST_PLAN + 1), ..Look::default() })]);
    assert!(
        matches!(choose(&groups(&["a"]), &long, false), Err(NoChoice::Unmet { cause, .. }) if cause.contains("longer"))
    );
}

#[test]
fn plans_that_cannot_meet_take_bounded_time() {
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let plan = "-gone|-gone|-gone|-gone";
    let said: Vec<_> = keys.iter().map(|key| (key.as_str(), 0, plan)).collect();
    assert!(matches!(chosen(&[&keys.join(" ")], &said), Err(NoChoice::Unmet { .. })));
}

#[test]
fn the_plan_of_each_holds_what_it_was_asked_for() {
    let order = groups(&["a b c"]);
    let choice = choose(&order, &looks(&[("a", 0, "+x -x +y"), ("b", 0, "+x -y"), ("c", 0, "-x")]), false).unwrap();
    let names = |plan: &[Demand], key: &str| entries_of(plan, key).map(|e| e.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&choice.plan, "a"), ["x", "x", "y"]);
    assert!(names(&choice.plan, "b").is_empty());
    // What is met is gone; what is not is for the next that provides it.
    let mut met = choice.plan.clone();
    after(&mut met, "a", &[]);
    assert!(names(&met, "b").is_empty());
    let mut unmet = choice.plan.clone();
    after(&mut unmet, "a", &["x".to_owned()]);
    assert_eq!(names(&unmet, "b"), ["x", "x"]);
    after(&mut unmet, "b", &["x".to_owned()]);
    assert!(unmet.is_empty());
}

#[test]
fn a_plan_is_written_with_its_metadata() {
    let plan =
        "[[provides]]\nname = \"a\"\n[[requires]]\nname = \"a\"\nversion = \"1\"\n[requires.metadata]\nroot = \"x\"\n";
    let looks = BTreeMap::from([("a".to_owned(), Look { plan: plan.into(), ..Look::default() })]);
    let choice = choose(&groups(&["a"]), &looks, false).unwrap();
    let text = plan_text(entries_of(&choice.plan, "a"));
    assert_eq!(text, "[[entries]]\nname = \"a\"\n\n[entries.metadata]\nroot = \"x\"\nversion = \"1\"\n");
}

#[test]
fn a_version_of_its_own_is_metadata() {
    let read = |text: &str| toml::from_str::<Entry>(text).unwrap().metadata;
    assert_eq!(read("name = \"a\"\nversion = \"1\"\n")["version"].as_str(), Some("1"));
    assert_eq!(read("name = \"a\"\nversion = \"1\"\n[metadata]\nversion = \"2\"\n")["version"].as_str(), Some("2"));
    assert!(read("name = \"a\"\n").is_empty());
}
