//! Which images an environment keeps. Pure.

use std::collections::HashSet;

use crate::base::model::{ImageDigest, Release, ReleaseId};

/// Of releases that have their image yet, newest first: those to be marked. The images of `needed` stay, and beside them
/// the `keep` newest others. What counts are images: a hundred changes of settings push no image out.
pub(super) fn beyond<'a>(releases: &'a [Release], needed: &HashSet<ReleaseId>, keep: usize) -> Vec<&'a Release> {
    let mut kept: HashSet<&ImageDigest> =
        releases.iter().filter(|release| needed.contains(&release.id)).map(|release| &release.image).collect();
    let most = kept.len() + keep;
    for release in releases {
        if kept.len() == most {
            break;
        }
        kept.insert(&release.image);
    }
    releases.iter().filter(|release| !kept.contains(&release.image)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::{Id, Manifest, ReleaseKind};

    /// Numbers from the highest down, each with the image of this letter.
    fn releases(images: &str) -> Vec<Release> {
        let environment_id = crate::base::model::EnvironmentId::fresh();
        let release = |(at, letter): (usize, char)| Release {
            id: ReleaseId::fresh(),
            environment_id: environment_id.clone(),
            number: (images.len() - at) as i64,
            build_id: None,
            commit: None,
            image: format!("sha256:{}", letter.to_string().repeat(64)).parse().expect("a digest"),
            processes: Default::default(),
            variables_version: 0,
            formation: Default::default(),
            hosts: Vec::new(),
            manifest: Manifest::default(),
            checks: Default::default(),
            sizes: Default::default(),
            mounts: Default::default(),
            scaling: Default::default(),
            kind: ReleaseKind::Rollout,
            description: String::new(),
            created_by: None,
            created_at: crate::base::clock::Timestamp(0),
            image_gone_at: None,
        };
        images.chars().enumerate().map(release).collect()
    }

    fn marked(images: &str, needed: &[i64], keep: usize) -> Vec<i64> {
        let all = releases(images);
        let needed = all.iter().filter(|r| needed.contains(&r.number)).map(|r| r.id.clone()).collect();
        beyond(&all, &needed, keep).iter().map(|release| release.number).collect()
    }

    #[test]
    fn the_newest_images_stay_beside_those_that_are_needed() {
        assert_eq!(marked("fedcba", &[6, 5], 2), [2, 1]);
        assert_eq!(marked("fedcba", &[6, 5], 0), [4, 3, 2, 1]);
        assert_eq!(marked("fedcba", &[1], 2), [4, 3, 2], "an old one that runs stays, and the newest beside it");
        assert!(marked("fed", &[3], 10).is_empty());
        assert!(marked("", &[], 0).is_empty());
    }

    #[test]
    fn images_count_and_not_releases() {
        assert!(marked("bbbbbbba", &[8], 1).is_empty(), "settings push no image out");
        assert_eq!(marked("cababa", &[6], 1), [4, 2], "one release with a kept image is as good as another");
    }
}
