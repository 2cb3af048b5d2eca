use super::*;

const BASE: &str = "hythe/image:0000000000000000000000000000000000000000000000000000000000000000";

fn judge(text: &str) -> Result<Checked, Fault> {
    judge_with(text, &[], None)
}

fn judge_with(text: &str, arguments: &[(&str, &str)], target: Option<&str>) -> Result<Checked, Fault> {
    let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let labels = BTreeMap::from([("hythe.recipe".to_owned(), "app_1".to_owned())]);
    let given = Given { arguments: &arguments, target, labels: &labels, base: BASE, platform: "linux/amd64" };
    check(&parse::parse(text.as_bytes())?, &given)
}

#[test]
fn images_get_full_names_and_stages_labels() {
    let text = "ARG V=18\nFROM --platform=$BUILDPLATFORM node:$V AS build\nRUN --mount=type=cache,target=/x npm ci\n\
                FROM hythe/base\nCOPY --link --from=build --chown=1:1 /a /b\nCOPY --from=0 /a /c\nCOPY --from=acme/tool /t /t\n\
                FROM BUILD AS last\nFROM scratch";
    let checked = judge_with(text, &[("V", "20")], Some("last")).unwrap();
    let lines: Vec<_> = checked.text.lines().collect();
    assert_eq!(lines[2], "FROM docker.io/library/node:20 AS build");
    assert_eq!(lines[3], "LABEL hythe.recipe=app_1");
    assert_eq!(lines[4], "RUN npm ci");
    assert_eq!(lines[5], format!("FROM {BASE}"));
    assert_eq!(lines[7], "COPY --from=build --chown=1:1 /a /b");
    assert_eq!(lines[8], "COPY --from=0 /a /c");
    assert_eq!(lines[9], "COPY --from=docker.io/acme/tool:latest /t /t");
    assert_eq!(lines[10], "FROM BUILD AS last");
    assert_eq!(lines[12], "FROM scratch");
    assert!(checked.uses_base && checked.declared.contains("V") && checked.notes.len() == 1);
    assert_eq!(checked.images.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 7]);
    assert_eq!(checked.steps.len(), lines.len() - 1);
    assert_eq!(checked.steps[2], None);
    assert_eq!(checked.steps[3].as_ref().map(|step| step.line), Some(3));
}

#[test]
fn what_reaches_out_of_the_build_is_refused_with_its_line() {
    for (line, cause) in [
        ("RUN --network=host id", "server's network"),
        ("RUN --security=insecure id", "never has privileges"),
        ("RUN --mount=type=bind,source=/,target=/host id", "mounts nothing"),
        ("RUN --mount=target=/host id", "mounts nothing"),
        ("RUN --mount=type=secret,id=x id", "secrets out of layers"),
        ("RUN --device=/dev/kvm id", "not known"),
        ("RUN --mount='type=cache' id", "quotes"),
        ("ADD http://169.254.169.254/latest /x", "ADD of an address"),
        ("ADD [\"https://example.com/x\", \"/x\"]", "ADD of an address"),
        ("ADD ${WHERE} /x", "could be an address"),
        ("ADD git@example.com:a/b.git /x", "ADD of an address"),
        ("COPY --chmod=755 a /b", "git update-index"),
        ("COPY --from=$X a /b", "without variables"),
        ("COPY --from=9 a /b", "docker.io"),
        ("LABEL a=b hythe.environment=x", "platform's own"),
        ("LABEL \"hythe\".process=x", "platform's own"),
        ("LABEL hy${x}the.process=x", "must not have variables"),
        ("ONBUILD RUN --network=host id", "server's network"),
        ("ONBUILD ADD http://127.0.0.1/ /x", "ADD of an address"),
        ("WORKDIR --x /y", "not known"),
    ] {
        let judged = judge(&format!("FROM a\n\n{line}\n"));
        if line.starts_with("COPY --from=9") {
            // No such stage: an image of that name, and never one whose id begins so.
            assert_eq!(judged.unwrap().images[1].1.text, "docker.io/library/9:latest");
            continue;
        }
        let fault = judged.unwrap_err();
        assert_eq!(fault.line, 3, "{line}");
        let told = format!("{} {}", fault.cause, fault.remedy.clone().unwrap_or_default());
        assert!(told.contains(cause), "{line}: {told}");
    }
}

#[test]
fn no_other_apps_image_is_built_upon() {
    for text in [BASE, "hythe/recipe:app_1", "docker.io/hythe/anything", "HYTHE/base"] {
        assert!(judge(&format!("FROM {text}")).is_err(), "{text}");
        assert!(judge(&format!("FROM a\nCOPY --from={text} / /")).is_err(), "{text}");
    }
    assert!(judge(&format!("ARG A=hythe\nFROM $A/image:{}", &BASE[12..])).is_err());
}

#[test]
fn nothing_is_smuggled_past_a_line_s_end() {
    // The engine's parser knows space and tab after a backslash only.
    let checked = judge("FROM a\nRUN x \\\u{a0}\nFROM 4f\n").unwrap();
    assert_eq!(checked.text.lines().filter(|line| line.starts_with("FROM")).count(), 1, "{}", checked.text);
    assert!(judge("FROM a\nRUN x \\\\\\").unwrap_err().cause.contains("ends within"));
}

#[test]
fn faults_of_form_are_told() {
    for (text, cause) in [
        ("RUN x", "before the first FROM"),
        ("# nothing", "has no FROM"),
        ("FROM a b", "FROM reads"),
        ("FROM $X", "has no value"),
        ("FROM a AS 1x", "no name of a stage"),
        ("FROM --platform=windows/amd64 a", "windows/amd64"),
    ] {
        let fault = judge(text).unwrap_err();
        assert!(fault.cause.contains(cause), "{text}: {fault:?}");
    }
    assert!(judge_with("FROM a AS x", &[], Some("y")).unwrap_err().cause.contains("no stage \"y\""));
    assert!(judge_with("FROM a AS x", &[], Some("0")).is_ok());
}

#[test]
fn what_a_base_image_has_done_is_judged_as_well() {
    for bad in ["COPY --from=4f / /", "ADD http://127.0.0.1/ /x", "LABEL hythe.x=1", "RUN --network=host x"] {
        assert!(check_on_build(bad).is_err(), "{bad}");
    }
    for good in ["COPY . /app", "RUN npm ci", "ADD package.json /x"] {
        assert!(check_on_build(good).is_ok(), "{good}");
    }
}
