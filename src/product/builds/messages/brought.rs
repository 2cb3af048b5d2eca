//! Texts about buildpacks that are not the platform's own, and about choices of them.

use super::{Copy, clean, copy};
use crate::machinery::image::ImageError;
use crate::product::builds::export::{Refused, chain};
use crate::product::builds::order::OrderFault;
use crate::product::builds::{BuildFailure, messages};

const WHERE: &str =
    "A choice of buildpacks stands in project.toml, in app.json, or was set with \"hythe buildpacks:set\".";

fn unusable(reference: &str, cause: &str) -> Copy {
    let reference = clean(reference.as_bytes());
    copy(
        format!("the buildpack {reference} cannot be used"),
        format!("The buildpack {reference} cannot be used: {}.", clean(cause.as_bytes())),
    )
}

pub(in super::super) fn fetching(reference: &str) -> String {
    format!("-----> Fetching the buildpack {}", clean(reference.as_bytes()))
}

/// `content`: the commit or digest that it is.
pub(in super::super) fn pinned(content: &str, known: bool) -> String {
    format!("       {content}{}", if known { ", as in the last build" } else { "" })
}

pub(in super::super) fn too_many_brought() -> BuildFailure {
    copy("too many buildpacks", "The choice of buildpacks brings along too many others.").remedy(WHERE).into()
}

pub(in super::super) fn nothing_brought(reference: &str, file: &str) -> BuildFailure {
    unusable(reference, &format!("there is no {file}"))
        .remedy("A buildpack is a directory with buildpack.toml, bin/detect and bin/build; check the name, and that it is committed.")
        .remedy(WHERE)
        .into()
}

pub(in super::super) fn descriptor_invalid(reference: &str, file: &str, cause: &str) -> BuildFailure {
    unusable(reference, &format!("its {file} {cause}"))
        .remedy("Mend the file, or take a version of the buildpack that fits this platform.")
        .remedy(WHERE)
        .into()
}

pub(in super::super) fn not_brought(reference: &str, error: &Refused) -> BuildFailure {
    match error.is_disk_full() {
        true => messages::disk_full(),
        false => unusable(reference, &format!("its files cannot be taken: {}", chain(error))).remedy(WHERE).into(),
    }
}

/// Of a repository or a file elsewhere.
pub(in super::super) fn unreached(reference: &str, cause: &str, temporary: bool) -> BuildFailure {
    let copy = unusable(reference, cause).remedy(
        "Check the address. One that asks for credentials takes the names of the variables that hold them, as in \
         https://$TOKEN@HOST/REPOSITORY.git; private networks are for the operator to open (outbound.private).",
    );
    if temporary { copy.remedy("Push again when its server answers.").temporary().into() } else { copy.into() }
}

pub(in super::super) fn no_variable(reference: &str, name: &str) -> BuildFailure {
    let name = clean(name.as_bytes());
    unusable(reference, &format!("it names the variable {name} for its credentials, which is not set"))
        .remedy(format!("Set it, then push again: hythe config:set {name}=…"))
        .into()
}

pub(in super::super) fn other_content(reference: &str, digest: &str) -> BuildFailure {
    unusable(reference, &format!("what its address gives now is {digest}"))
        .remedy("Somebody has changed the file. If that is meant, write the new digest behind the address.")
        .into()
}

pub(in super::super) fn not_fetched(reference: &str, error: &ImageError) -> BuildFailure {
    if error.is_disk_full() {
        return messages::disk_full();
    }
    // The bound of an image that runs is another one.
    let cause = chain(error).replace(" (registry.app_bytes)", "");
    let copy = unusable(reference, &format!("its image could not be fetched: {cause}"));
    let temporary = matches!(error, ImageError::Registry { temporary: true, .. } | ImageError::Stream(_));
    let copy = copy.remedy("Check the name. A registry that asks for credentials takes the names of the variables that hold them: docker://$USER:$PASSWORD@HOST/NAME:TAG; private networks are for the operator to open (outbound.private).");
    if temporary { copy.remedy("Push again when the registry answers.").temporary().into() } else { copy.into() }
}

pub(in super::super) fn order_invalid(fault: &OrderFault, known: &str) -> BuildFailure {
    let copy =
        copy("the choice of buildpacks does not stand", format!("The choice of buildpacks does not stand: {fault}."));
    match fault {
        OrderFault::Unknown { .. } => copy.remedy(format!("Known here: {known}.")).remedy(WHERE).into(),
        _ => copy.remedy("Mend [[order]] in the buildpack.toml that says so.").into(),
    }
}

pub(in super::super) fn declined(buildpack: &str, log: &[String]) -> BuildFailure {
    let name = clean(buildpack.as_bytes());
    copy(
        format!("{name} does not know this tree"),
        format!("The buildpack {name} was chosen, and says that it does not know this tree."),
    )
    .evidence(log)
    .remedy(WHERE)
    .into()
}

/// None of a choice of several.
pub(in super::super) fn all_declined(names: &str) -> BuildFailure {
    copy(
        "no chosen buildpack knows this tree",
        format!("None of the chosen buildpacks knows this tree: {}.", clean(names.as_bytes())),
    )
    .remedy(WHERE)
    .into()
}

/// A layer for the image that is neither in the sandbox nor in the last image.
pub(in super::super) fn layer_gone(buildpack: &str, layer: &str) -> BuildFailure {
    super::result_invalid(
        buildpack,
        &format!("{layer}.toml"),
        "the layer has no directory, and the last image has none either",
    )
}
