//! Clauses about sandboxes: their life, their commands, their files.

use super::*;

pub async fn sandboxes_live_until_closed(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    assert!(engine.open_sandbox(&spec).await.expect("open"), "it is new");
    assert_eq!(said(engine, &spec, &["touch", "/tmp/kept"]).await, (String::new(), 0));
    assert!(!engine.open_sandbox(&spec).await.expect("open"), "it was open");
    for _ in 0..2 {
        engine.pause_sandbox(&spec.name).await.expect("pausing twice is fine");
    }
    assert!(engine.exec(&spec.name, command(&["true"])).await.is_err(), "it is frozen");
    assert!(!engine.open_sandbox(&spec).await.expect("open"), "it was paused");
    assert_eq!(said(engine, &spec, &["cat", "/tmp/kept"]).await, (String::new(), 0));
    assert_eq!(engine.sandboxes().await.expect("list"), [spec.name.as_str()]);
    assert_eq!(observe(engine).await, [], "a sandbox is no replica");
    engine.pause_sandbox(&spec.name).await.expect("pause");
    for _ in 0..2 {
        engine.close_sandbox(&spec.name).await.expect("closing what is closed is fine");
    }
    engine.pause_sandbox(&spec.name).await.expect("pausing what is closed is fine");
    assert_eq!(engine.sandboxes().await.expect("list"), Vec::<String>::new());
    assert!(engine.open_sandbox(&spec).await.expect("open"), "it is new again");
    assert_eq!(said(engine, &spec, &["cat", "/tmp/kept"]).await.1, 1, "nothing is left");
}

pub async fn a_sandbox_with_another_image_is_new(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    assert!(engine.open_sandbox(&spec).await.expect("open"));
    engine.load(rig.archive(false)).await.expect("load");
    let other = SandboxSpec { image: rig.other_image(), ..spec.clone() };
    assert!(engine.open_sandbox(&other).await.expect("open"), "another image");
    let trusted = SandboxSpec { privileges: Privileges::Packages, ..other };
    assert!(engine.open_sandbox(&trusted).await.expect("open"), "other privileges");
    let limits = Limits { memory_bytes: trusted.limits.memory_bytes * 2, ..trusted.limits };
    let larger = SandboxSpec { limits, ..trusted };
    assert!(engine.open_sandbox(&larger).await.expect("open"), "other limits");
    assert!(!engine.open_sandbox(&larger).await.expect("open"), "the same again");
    assert_eq!(engine.sandboxes().await.expect("list").len(), 1);
}

pub async fn commands_have_streams_and_codes(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    engine.open_sandbox(&spec).await.expect("open");
    assert_eq!(said(engine, &spec, &["echo", "a", "b"]).await, ("a b\n".into(), 0));
    assert_eq!(said(engine, &spec, &["false"]).await, (String::new(), 1));
    let (output, code) = finished(engine.exec(&spec.name, command(&["cat", "/nowhere"])).await.expect("exec")).await;
    assert_eq!(code, 1);
    assert!(output.iter().all(|(channel, _)| *channel == Channel::Err) && !output.is_empty(), "{output:?}");
    let (output, code) = finished(engine.exec(&spec.name, command(&["no-such-command"])).await.expect("exec")).await;
    assert!(code == 126 || code == 127, "{code} {output:?}");
    // More than any pipe or frame holds, fed while it is read back.
    let piece = Bytes::from(vec![b'x'; 100_000]);
    let stdin = stream::iter(std::iter::repeat_n(piece, 50).map(Ok)).boxed();
    let cat = ExecSpec { stdin: Some(stdin), ..command(&["cat"]) };
    let (output, code) = finished(engine.exec(&spec.name, cat).await.expect("exec")).await;
    assert_eq!((output.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), code), (5_000_000, 0));
    // A command that ends without reading what it is given.
    let stdin = stream::iter([Ok(Bytes::from_static(b"unread"))]).chain(stream::pending()).boxed();
    let deaf = ExecSpec { stdin: Some(stdin), ..command(&["true"]) };
    assert_eq!(finished(engine.exec(&spec.name, deaf).await.expect("exec")).await.1, 0);
}

pub async fn commands_have_a_user_a_place_and_variables(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = SandboxSpec { variables: [("A".into(), "outer".into())].into(), ..sandbox(rig) };
    engine.open_sandbox(&spec).await.expect("open");
    assert_eq!(said(engine, &spec, &["id", "-u"]).await.0, "1000\n");
    let root = ExecSpec { user: Some("0:0".into()), ..command(&["id", "-u"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, root).await.expect("exec")).await).0, "0\n");
    let there = ExecSpec { working_dir: Some("/tmp".into()), ..command(&["pwd"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, there).await.expect("exec")).await).0, "/tmp\n");
    let with = ExecSpec { variables: [("B".into(), "inner $A".into())].into(), ..command(&["printenv", "A", "B"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, with).await.expect("exec")).await).0, "outer\ninner $A\n");
    let over = ExecSpec { variables: [("A".into(), "mine".into())].into(), ..command(&["printenv", "A"]) };
    assert_eq!(text(finished(engine.exec(&spec.name, over).await.expect("exec")).await).0, "mine\n");
}

pub async fn files_are_put_and_read_back(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    engine.open_sandbox(&spec).await.expect("open");
    let mut tar = Vec::new();
    tarball::append(&mut tar, "sub/", Kind::Directory, 0o755, "", b"");
    tarball::append(&mut tar, "sub/run me ü", Kind::File, 0o755, "", b"hello");
    tarball::append(&mut tar, "sub/link", Kind::Link, 0o777, "run me ü", b"");
    tarball::finish(&mut tar);
    engine.put(&spec.name, "/workspace", one(tar.clone())).await.expect("put");
    assert_eq!(said(engine, &spec, &["cat", "/workspace/sub/run me ü"]).await, ("hello".into(), 0));
    let back = engine.get(&spec.name, "/workspace/sub").await.expect("get");
    let mut back = entries(back).await;
    back.sort();
    assert_eq!(
        back,
        [
            ("sub".into(), Kind::Directory, String::new()),
            ("sub/link".into(), Kind::Link, String::new()),
            ("sub/run me ü".into(), Kind::File, "hello".into())
        ]
    );
    let one_file = entries(engine.get(&spec.name, "/workspace/sub/run me ü").await.expect("get")).await;
    assert_eq!(one_file, [("run me ü".into(), Kind::File, "hello".into())]);
    for path in ["/workspace/nothing", "/nowhere/at/all"] {
        assert!(matches!(engine.get(&spec.name, path).await, Err(EngineError::NotFound { .. })));
    }
    let nowhere = engine.put(&spec.name, "/nowhere", one(tar)).await;
    assert!(matches!(nowhere, Err(EngineError::NotFound { .. })), "{nowhere:?}");
    let broken = stream::iter([Err(std::io::Error::other("disk gone"))]).boxed();
    let fault = engine.put(&spec.name, "/workspace", broken).await.expect_err("broken");
    assert!(matches!(&fault, EngineError::Refused { source, .. } if source.to_string().contains("disk gone")));
}

pub async fn changes_are_a_layer(rig: &dyn Rig) {
    let engine = rig.engine();
    let spec = sandbox(rig);
    engine.open_sandbox(&spec).await.expect("open");
    // Twice: what the first left behind must not disturb the second.
    for file in ["new", "newer"] {
        said(engine, &spec, &["touch", &format!("/workspace/{file}")]).await;
        let layer = entries(engine.changes(&spec.name).await.expect("changes")).await;
        let paths: Vec<_> = layer.iter().map(|(path, ..)| path.as_str()).collect();
        assert!(paths.contains(&format!("workspace/{file}").as_str()), "{paths:?}");
        assert!(!paths.iter().any(|path| path.starts_with("usr/bin/")), "nothing of the image: {paths:?}");
    }
    // Read only in part.
    drop(engine.changes(&spec.name).await.expect("changes"));
    assert_eq!(said(engine, &spec, &["true"]).await.1, 0, "the sandbox goes on");
}
