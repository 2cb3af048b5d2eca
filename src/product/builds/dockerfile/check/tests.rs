use super::super::stages::{Build, Part};
use super::*;

const BASE: &str = "hythe/image:0000000000000000000000000000000000000000000000000000000000000000";

fn judge(text: &str) -> Result<Checked, Fault> {
    judge_with(text, &[], None)
}

fn judge_with(text: &str, arguments: &[(&str, &str)], target: Option<&str>) -> Result<Checked, Fault> {
    let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let labels = BTreeMap::from([("hythe.recipe".to_owned(), "app_1".to_owned())]);
    let secrets = BTreeSet::from(["known".to_owned()]);
    let given = Given {
        arguments: &arguments,
        target,
        labels: &labels,
        secrets: &secrets,
        base: BASE,
        platform: "linux/amd64",
    };
    check(&parse::parse(text.as_bytes())?, &given)
}

fn builds(checked: &Checked) -> Vec<Build> {
    let of = |piece: Piece| match piece.work {
        Part::Build(build) => Some(*build),
        Part::Run(_) => None,
    };
    checked.pieces().into_iter().filter_map(of).collect()
}

#[test]
fn images_get_full_names_and_stages_labels() {
    let text = "ARG V=18\nFROM --platform=$BUILDPLATFORM node:$V AS build\nRUN npm ci\n\
                FROM hythe/base\nCOPY --link --from=build --chown=1:1 /a /b\nCOPY --from=0 /a /c\nCOPY --from=acme/tool /t /t\n\
                FROM BUILD AS last\nFROM scratch";
    let checked = judge_with(text, &[("V", "20")], Some("last")).unwrap();
    let [build] = builds(&checked).try_into().unwrap();
    let lines: Vec<_> = build.text.lines().collect();
    assert_eq!(lines[2], "FROM docker.io/library/node:20 AS build");
    assert_eq!(lines[3], "LABEL hythe.recipe=app_1");
    assert_eq!(lines[4], "RUN npm ci");
    assert_eq!(lines[5], format!("FROM {BASE}"));
    assert_eq!(lines[7], "COPY --from=0 --chown=1:1 /a /b");
    assert_eq!(lines[8], "COPY --from=0 /a /c");
    assert_eq!(lines[9], "COPY --from=docker.io/acme/tool:latest /t /t");
    assert_eq!(lines[10], "FROM BUILD AS last");
    // Nothing behind the stage that is wanted.
    assert_eq!(lines.len(), 12);
    assert!(checked.uses_base && checked.declared.contains("V") && !build.tree);
    assert_eq!(checked.images.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 7]);
    assert_eq!(build.steps.len(), lines.len() - 1);
    assert_eq!(build.steps[2], None);
    assert_eq!(build.steps[3].as_ref().map(|step| step.line), Some(3));
}

#[test]
fn a_stage_is_cut_where_the_engines_builder_ends() {
    let text = "ARG G=1\nFROM node AS unused\nRUN make\nFROM debian AS build\nARG G\nARG T=2\nONBUILD RUN x\nCOPY . /src\n\
                RUN --mount=type=cache,target=/c one\nRUN two\nRUN --mount=type=secret,id=known three\n\
                FROM scratch AS tool\nCOPY x /\nFROM build\nRUN --mount=from=tool,target=/t four\nCMD five\n";
    let checked = judge(text).unwrap();
    let told: Vec<_> = checked
        .pieces()
        .iter()
        .map(|piece| match &piece.work {
            Part::Build(build) => format!("{} {}: {}", piece.stage, build.tree, build.text.replace('\n', "|")),
            Part::Run(run) => format!("{} run {}, {} arguments", piece.stage, run.step.line, piece.arguments.len()),
        })
        .collect();
    let label = "LABEL hythe.recipe=app_1";
    let values = "LABEL hythe.recipe.value.G=\"$G\" hythe.recipe.value.T=\"$T\"";
    let debian = "FROM docker.io/library/debian:latest AS build";
    let again = format!("FROM \0{}\0|{label}|ARG G|ARG T", 1);
    assert_eq!(
        told,
        [
            format!("1 true: # escape=\\|ARG G=1|{debian}|{label}|ARG G|ARG T=2|COPY . /src|{values}|"),
            "1 run 9, 2 arguments".to_owned(),
            format!("1 false: # escape=\\|{again}|RUN two|{values}|"),
            "1 run 11, 2 arguments".to_owned(),
            format!("1 false: # escape=\\|{again}|ONBUILD RUN x|{values}|"),
            format!("2 true: # escape=\\|ARG G=1|FROM scratch AS tool|{label}|COPY x /|"),
            format!("3 true: # escape=\\|ARG G=1|FROM \01\0|{label}|"),
            "3 run 15, 0 arguments".to_owned(),
            format!("3 false: # escape=\\|FROM \03\0|{label}|CMD five|"),
        ]
    );
    let images = [None, Some("sha256:aa".to_owned())];
    assert_eq!(super::super::stages::filled("FROM \u{0}1\u{0}\n", &images).as_deref(), Some("FROM sha256:aa\n"));
    assert_eq!(super::super::stages::filled("FROM \u{0}0\u{0}\n", &images), None);
}

#[test]
fn what_a_here_document_is() {
    let checked = judge(
        "FROM a\nRUN <<EOF\nset -e\nFROM b\nEOF\nRUN <<EOF\n#!/usr/bin/perl\nprint 1\nEOF\nRUN perl <<X\nprint 2\nX\n\
         COPY --chmod=0755 <<A <<'B' /bin/\n#!$SHELL\nA\n$b\nB\nRUN [\"cat\", \"<<x\"]\n",
    );
    let checked = checked.unwrap();
    let commands: Vec<_> = checked.stages[0]
        .lines
        .iter()
        .filter_map(|line| match &line.work {
            Work::Run(run) => Some(run.command.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        commands,
        [
            Command::Line("set -e\nFROM b\n".to_owned()),
            Command::Script("#!/usr/bin/perl\nprint 1\n".to_owned()),
            Command::Line("perl <<X\nprint 2\nX\n".to_owned()),
        ]
    );
    let Work::CopyApart(copy) = &checked.stages[0].lines[4].work else { panic!("{:?}", checked.stages) };
    assert_eq!((copy.words.as_slice(), copy.mode), (&["/bin/".to_owned()][..], Some(0o755)));
    assert_eq!(copy.heredocs.iter().map(|h| h.quoted).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_reaches_out_of_the_build_is_refused_with_its_line() {
    for (line, cause) in [
        ("RUN --network=host id", "server's network"),
        ("RUN --security=insecure id", "never has privileges"),
        ("RUN --device=/dev/kvm id", "not known"),
        ("RUN --network=container:x id", "unknown kind"),
        ("RUN --mount=type=ssh id", "no agent"),
        ("RUN --mount=type=secret,id=x,required id", "\"secrets\": {\"x\""),
        ("RUN --mount=type=bind,from=$X,target=/x id", "without variables"),
        ("ONBUILD RUN --mount=type=cache,target=/x id", "refused"),
        ("ONBUILD COPY --chmod=755 a /b", "refused"),
        ("COPY --chmod=u+x a /b", "three digits"),
        ("ADD --chmod=755 a /b", "COPY does the same"),
        ("COPY <<EOF /x", "no line is EOF alone"),
        ("RUN --mount='type=cache' id", "quotes"),
        ("ADD http://169.254.169.254/latest /x", "ADD of an address"),
        ("ADD [\"https://example.com/x\", \"/x\"]", "ADD of an address"),
        ("ADD ${WHERE} /x", "could be an address"),
        ("ADD git@example.com:a/b.git /x", "ADD of an address"),
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
        assert!(judge(&format!("FROM a\nRUN --mount=from={text},target=/x x")).is_err(), "{text}");
    }
    assert!(judge(&format!("ARG A=hythe\nFROM $A/image:{}", &BASE[12..])).is_err());
}

#[test]
fn nothing_is_smuggled_past_a_line_s_end() {
    // The engine's parser knows space and tab after a backslash only.
    let checked = judge("FROM a\nRUN x \\\u{a0}\nFROM 4f\n").unwrap();
    let text = &builds(&checked)[0].text;
    assert_eq!(text.lines().filter(|line| line.starts_with("FROM")).count(), 1, "{text}");
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
    for bad in [
        "COPY --from=4f / /",
        "COPY --chmod=777 a /",
        "RUN --mount=type=secret,id=x y",
        "ADD http://127.0.0.1/ /x",
        "LABEL hythe.x=1",
        "RUN --network=host x",
    ] {
        assert!(check_on_build(bad).is_err(), "{bad}");
    }
    for good in ["COPY . /app", "RUN npm ci", "ADD package.json /x"] {
        assert!(check_on_build(good).is_ok(), "{good}");
    }
}
