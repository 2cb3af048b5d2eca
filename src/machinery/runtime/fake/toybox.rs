//! A few commands, as coreutils has them, for tests that need a command to do something.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future, stream};

use super::super::{Channel, Exec, ExecSpec};
use super::Files;

/// What a replica with this command prints before it exits; `None` when it goes on running.
pub(super) fn replica(command: &[String], variables: &BTreeMap<String, String>) -> Option<(Vec<String>, i64)> {
    let arguments = command.get(1..).unwrap_or_default();
    match command.first().map(String::as_str)? {
        "true" => Some((Vec::new(), 0)),
        "false" => Some((Vec::new(), 1)),
        "echo" => Some((vec![arguments.join(" ")], 0)),
        "printenv" => {
            let found: Vec<_> = arguments.iter().filter_map(|name| variables.get(name).cloned()).collect();
            let code = i64::from(found.len() != arguments.len());
            Some((found, code))
        }
        _ => None,
    }
}

pub(super) fn exec(mut spec: ExecSpec, variables: &BTreeMap<String, String>, files: Files) -> Exec {
    // Only `cat` reads.
    let stdin = spec.stdin.take().filter(|_| spec.command == ["cat"]);
    let mut variables = variables.clone();
    variables.append(&mut spec.variables);
    let done = async move {
        let stdin: Vec<Bytes> = match stdin {
            Some(stdin) => stdin.try_collect().await.unwrap_or_default(),
            None => Vec::new(),
        };
        run(&spec, &variables, stdin.concat(), &files)
    };
    let done = done.boxed().shared();
    let output = done.clone().into_stream().flat_map(|(parts, _)| stream::iter(parts.into_iter().map(Ok)));
    Exec { output: output.boxed(), exit: done.then(|(_, code)| future::ready(Ok(code))).boxed() }
}

type Done = (Vec<(Channel, Bytes)>, i64);

fn run(spec: &ExecSpec, variables: &BTreeMap<String, String>, stdin: Vec<u8>, files: &Files) -> Done {
    let arguments = spec.command.get(1..).unwrap_or_default();
    let said = |text: String| (vec![(Channel::Out, Bytes::from(text + "\n"))], 0);
    let directory = spec.working_dir.as_deref().unwrap_or("/");
    let absolute = |path: &str| match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("{}/{path}", directory.trim_end_matches('/')),
    };
    match spec.command.first().map(String::as_str).unwrap_or_default() {
        "cat" if arguments.is_empty() => (vec![(Channel::Out, stdin.into())], 0),
        "cat" => cat(arguments, absolute, files),
        "pwd" => said(directory.to_owned()),
        "id" => {
            said(spec.user.clone().unwrap_or_else(|| "1000:1000".into()).split(':').next().unwrap_or("0").to_owned())
        }
        "touch" => {
            for path in arguments {
                let path = absolute(path);
                let content = files.read(&path).unwrap_or_default();
                files.write(&path, content);
            }
            (Vec::new(), 0)
        }
        "rm" => {
            arguments.iter().filter(|a| !a.starts_with('-')).for_each(|path| files.remove(&absolute(path)));
            (Vec::new(), 0)
        }
        "sleep" => (Vec::new(), 0),
        command => match replica(&spec.command, variables) {
            Some((lines, code)) => {
                (lines.into_iter().map(|line| (Channel::Out, Bytes::from(line + "\n"))).collect(), code)
            }
            None => (vec![(Channel::Err, Bytes::from(format!("exec: \"{command}\": not found\n")))], 127),
        },
    }
}

fn cat(paths: &[String], absolute: impl Fn(&str) -> String, files: &Files) -> Done {
    let mut output = Vec::new();
    let mut code = 0;
    for path in paths {
        match files.read(&absolute(path)) {
            Some(content) => output.push((Channel::Out, content)),
            None => {
                output.push((Channel::Err, Bytes::from(format!("cat: {path}: No such file or directory\n"))));
                code = 1;
            }
        }
    }
    (output, code)
}
