//! Symbolic links must stay inside the tree, however many of them a path goes through.

use std::collections::{HashMap, VecDeque};

use super::super::{GitError, Result};
use super::shown;
use super::walk::{Item, What};

/// As many as the kernel follows.
const MAX_HOPS: usize = 40;
/// Parts of paths looked at for all links together: far above any real tree, it stops trees made to take hours.
const MAX_STEPS: usize = 2_000_000;

pub(super) fn check(items: &[Item]) -> Result<()> {
    let links: HashMap<&[u8], &[u8]> = items
        .iter()
        .filter_map(|item| match &item.what {
            What::Link(target) => Some((item.path.as_slice(), target.as_slice())),
            _ => None,
        })
        .collect();
    let mut steps = MAX_STEPS;
    for item in items {
        if let What::Link(target) = &item.what {
            follow(&links, &item.path, target, &mut steps).map_err(|fault| {
                GitError::Refused(format!("the symbolic link {} -> {} {fault}", shown(&item.path), shown(target)))
            })?;
        }
    }
    Ok(())
}

/// Walks the target as the kernel would. What does not exist yet may be made by a build; it is taken as a directory.
fn follow(links: &HashMap<&[u8], &[u8]>, path: &[u8], target: &[u8], steps: &mut usize) -> Result<(), &'static str> {
    if target.starts_with(b"/") {
        return Err("is absolute; make it relative to its own directory");
    }
    let mut here: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    here.pop();
    let mut ahead: VecDeque<&[u8]> = target.split(|b| *b == b'/').collect();
    let mut hops = 0;
    while let Some(part) = ahead.pop_front() {
        *steps =
            steps.checked_sub(1 + here.len()).ok_or("belongs to a tangle of links that is too large; remove links")?;
        match part {
            b"" | b"." => continue,
            b".." => {
                here.pop().ok_or("leads out of the repository; point it at something inside")?;
                continue;
            }
            name => here.push(name),
        }
        let Some(next) = links.get(here.join(&b'/').as_slice()) else { continue };
        hops += 1;
        if hops > MAX_HOPS {
            return Err("never ends; remove the loop");
        }
        if next.starts_with(b"/") {
            return Err("goes through an absolute link; make that relative to its own directory");
        }
        here.pop();
        for part in next.rsplit(|b| *b == b'/') {
            ahead.push_front(part);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(links: &[(&str, &str)]) -> Result<(), String> {
        let items: Vec<Item> = links
            .iter()
            .map(|(path, target)| Item { path: path.as_bytes().to_vec(), what: What::Link(target.as_bytes().to_vec()) })
            .collect();
        check(&items).map_err(|error| error.to_string())
    }

    #[test]
    fn links_inside_pass_dangling_ones_too() {
        verdict(&[("a", "b"), ("d/e", "../f"), ("d/up", ".."), ("d/here", "."), ("x", "d/up/d/e"), ("q", "d//./e")])
            .unwrap();
    }

    #[test]
    fn absolute_escaping_and_looping_links_are_refused_by_name() {
        for (links, word) in [
            (&[("a", "/etc/passwd")][..], "absolute"),
            (&[("a", "..")], "out of"),
            (&[("d/a", "../../x")], "out of"),
            (&[("d/a", "b/../../../x")], "out of"),
            (&[("d/up", ".."), ("x", "d/up/..")], "out of"),
            (&[("a", "a")], "never ends"),
            (&[("a", "b"), ("b", "c/../a")], "never ends"),
            (&[("a", "a/b")], "never ends"),
        ] {
            let fault = verdict(links).unwrap_err();
            assert!(fault.contains(word), "{links:?}: {fault}");
        }
        assert!(verdict(&[("d/a", "../../x")]).unwrap_err().contains("d/a -> ../../x"));
    }

    #[test]
    fn a_tangle_of_links_ends() {
        let doubling: Vec<(String, String)> =
            (0..40).map(|n| (format!("l{n}"), format!("l{}/{}", n + 1, ["l0"; 400].join("/")))).collect();
        let items: Vec<Item> = doubling
            .iter()
            .map(|(path, target)| Item {
                path: path.clone().into_bytes(),
                what: What::Link(target.clone().into_bytes()),
            })
            .collect();
        assert!(check(&items).is_err());
    }
}
