//! What is said of builds that break their bounds, and of those that wait for room.

use super::super::admission::Wait;
use super::{BuildFailure, clean, copy};
use crate::machinery::image::Beyond;

pub(in super::super) fn too_many_processes(most: u64) -> BuildFailure {
    copy(
        "too many processes",
        format!("The build was ended: it had {most} processes at once, the most that it may have, and stayed there."),
    )
    .remedy("Start fewer at a time: many tools have an option for it, such as -j 4 or --max-workers=4. The operator")
    .remedy("can raise build.processes.")
    .into()
}

pub(in super::super) fn outgrown(size: u64, most: u64) -> BuildFailure {
    copy(
        format!("it wrote more than {}", gigabytes(most)),
        format!(
            "The build was ended: its files took {}, and a build may have {} with all that it keeps for later.",
            gigabytes(size),
            gigabytes(most)
        ),
    )
    .remedy("Have it write less, remove what it does not need, or push once with -o no-cache; the operator can raise")
    .remedy("build.disk_bytes.")
    .into()
}

pub(in super::super) fn too_many_files(most: u64) -> BuildFailure {
    copy(
        format!("it made more than {most} files"),
        format!(
            "The build was ended: it had more than {most} files and directories, the most that a build may have with all \
             that it keeps for later."
        ),
    )
    .remedy("Have it make fewer, remove what it does not need, or push once with -o no-cache; the operator can raise")
    .remedy("build.disk_files.")
    .into()
}

pub(in super::super) fn long_path(most: usize) -> BuildFailure {
    copy(
        format!("a path is longer than {most} bytes"),
        format!(
            "The build made a file or directory whose path is longer than the {most} bytes that fit into an image."
        ),
    )
    .remedy("Have it nest its directories less deeply, or give them shorter names.")
    .into()
}

/// What a build leaves for its image and for later builds does not fit; `what` was the one that went beyond.
pub(in super::super) fn beyond(what: &str, bound: Beyond) -> BuildFailure {
    let what = clean(what.as_bytes());
    let left = |least: &str, most: &str| {
        copy(
            format!("{what} is too large"),
            format!(
                "With {what}, what the build leaves for its image and for later builds has more than {most} in all."
            ),
        )
        .and(format!("Nothing of it was kept. {least}"))
    };
    match bound {
        Beyond::Bytes(most) => {
            left("Files count with their whole length, holes of sparse files as well.", &gigabytes(most))
                .remedy("Have it leave less, above all no sparse files; the operator can raise build.disk_bytes.")
                .into()
        }
        Beyond::Entries(most) => left("Files, directories and links count.", &format!("{most} files"))
            .remedy("Have it leave fewer, or pack them into archives; the operator can raise build.disk_files.")
            .into(),
        Beyond::Names(most) => left("The path of each file counts.", &format!("{} of paths", gigabytes(most)))
            .remedy("Have it leave fewer files, or such with shorter paths.")
            .into(),
        Beyond::Space(left) => machine_filled(left),
        Beyond::Files(left) => machine_out_of_files(left),
    }
}

pub(in super::super) fn machine_out_of_files(left: u64) -> BuildFailure {
    copy(
        "the disk takes no more files",
        format!("The build was ended: the disk of this platform takes only {left} more files (inodes)."),
    )
    .remedy("What runs goes on. Tell the operator (df -i shows it), and push again when there is room.")
    .temporary()
    .into()
}

pub(in super::super) fn machine_filled(left: u64) -> BuildFailure {
    copy(
        "the disk is nearly full",
        format!("The build was ended: only {} are left on the disk of this platform.", gigabytes(left)),
    )
    .remedy("What runs goes on. Tell the operator (hythe disk shows what fills it), and push again when there is room.")
    .temporary()
    .into()
}

pub(in super::super) fn flooded(most: u64) -> BuildFailure {
    copy(
        format!("it printed more than {}", gigabytes(most)),
        format!("The build was ended: it printed more than the {} that a build may print.", gigabytes(most)),
    )
    .remedy("Have it say less, for example with --quiet; the operator can raise build.output_bytes.")
    .into()
}

/// A line of a log.
pub(in super::super) fn waiting(wait: Wait) -> String {
    match wait {
        Wait::Line { before: 1 } => "-----> Waiting for room: 1 other build is before this one".into(),
        Wait::Line { before } => format!("-----> Waiting for room: {before} other builds are before this one"),
        Wait::Seat => "-----> Waiting for room: this build is next".into(),
        Wait::Memory { free, needed } => format!(
            "-----> Waiting for memory: {} free, {} needed for this build and those that run",
            gigabytes(free),
            gigabytes(needed)
        ),
    }
}

fn gigabytes(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        return format!("{:.0} MB", bytes as f64 / 1e6);
    }
    format!("{:.1} GB", bytes as f64 / 1e9)
}
