//! What is found again after the process died.

use std::collections::HashSet;
use std::fs;

use super::*;

#[test]
fn a_kept_quarantine_is_found_again_and_another_is_gone() {
    let world = World::new();
    let tip = world.commit("a", "1");
    let pack = world.pack_of("HEAD");
    drop(world.receive("dropped", &pack).unwrap());
    world.assert_nothing_left();
    assert!(Quarantine::reopen(&world.repo, "dropped").unwrap().is_none());

    world.receive("kept", &pack).unwrap().keep();
    let quarantine = Quarantine::reopen(&world.repo, "kept").unwrap().unwrap();
    quarantine.check(&[tip]).unwrap();
    assert!(!world.repo.contains(&tip).unwrap());
    drop(quarantine);
    assert_eq!(world.repo.sweep(&HashSet::from(["kept".into()])).unwrap(), 0);
    Quarantine::reopen(&world.repo, "kept").unwrap().unwrap().migrate().unwrap();
    assert!(world.repo.contains(&tip).unwrap());
    world.assert_nothing_left();
    assert!(world.receive("../x", &pack).is_err());
}

#[test]
fn one_that_was_being_received_is_swept_once_its_process_is_gone() {
    let world = World::new();
    let left = world.repo.path().join("incoming/.half/pack");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("draft.pack"), "PACK").unwrap();
    assert!(Quarantine::reopen(&world.repo, "half").unwrap().is_none());
    assert_eq!(world.repo.sweep(&HashSet::from(["half".into()])).unwrap(), 1);
    world.assert_nothing_left();
}

#[test]
fn taking_over_can_be_repeated_from_any_point() {
    // After how many of its steps the process dies: nothing, the pack moved, the index too, the directory removed but for
    // one of its parts or for all of them.
    for step in 0..6 {
        let world = World::new();
        let tip = world.commit("a", "1");
        world.receive("push", &world.pack_of("HEAD")).unwrap().keep();
        let from = world.repo.path().join("incoming/push/pack");
        let to = world.repo.path().join("objects/pack");
        for extension in ["pack", "idx"].iter().take(step.min(2)) {
            for file in super::super::quarantine::files(&from, extension).unwrap() {
                fs::rename(&file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
        if step == 3 || step == 5 {
            fs::remove_dir_all(from.parent().unwrap().join("info")).unwrap();
        }
        if step >= 4 {
            fs::remove_dir_all(&from).unwrap();
        }
        Quarantine::reopen(&world.repo, "push").unwrap().unwrap().migrate().unwrap();
        assert!(world.repo.contains(&tip).unwrap(), "step {step}");
        world.repo.update_ref("refs/heads/main", &zero(), &tip).unwrap();
        fsck(world.repo.path());
        world.assert_nothing_left();
        assert_eq!(world.packs(), 2);
    }
}

#[test]
fn the_same_push_twice_is_taken_over_once() {
    let world = World::new();
    let tip = world.commit("a", "1");
    let pack = world.pack_of("HEAD");
    for key in ["one", "two"] {
        let quarantine = world.receive(key, &pack).unwrap();
        quarantine.check(&[tip]).unwrap();
        quarantine.migrate().unwrap();
    }
    assert_eq!(world.packs(), 2);
}

#[test]
fn refs_are_compared_before_they_are_swapped() {
    let world = World::new();
    let first = world.commit("a", "1");
    world.accept_head("one");
    let second = world.commit("a", "2");
    world.accept_head("two");
    let main = "refs/heads/main";
    // Already there counts as done, whatever the old value was.
    world.repo.update_ref(main, &first, &second).unwrap();
    world.repo.update_ref(main, &zero(), &second).unwrap();
    assert!(matches!(world.repo.update_ref(main, &zero(), &first), Err(GitError::Moved { .. })));
    assert!(matches!(world.repo.update_ref(main, &first, &zero()), Err(GitError::Moved { .. })));
    assert!(world.repo.update_ref("refs/heads/x", &zero(), &id("1234567890123456789012345678901234567890")).is_err());
    // All or none.
    let command = |name: &str, old, new| Command { old, new, name: name.into() };
    let mixed = [command("refs/heads/new", zero(), first), command(main, first, zero())];
    assert!(matches!(world.repo.update_refs(&mixed), Err(GitError::Moved { .. })));
    assert_eq!(world.repo.head_of("new").unwrap(), None);
    // What a crash between writing and renaming leaves is no obstacle.
    fs::write(world.repo.path().join("refs/heads/main.lock"), "").unwrap();
    world.repo.update_ref(main, &second, &first).unwrap();
    assert_eq!(world.repo.head_of("main").unwrap(), Some(first));
}
