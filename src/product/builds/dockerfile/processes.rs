//! What runs in an image of a Dockerfile: `web` is what the image starts with; the Procfile adds process types, and says
//! what `web` is where it names it. Its lines are given to the image's shell as they are, in place of ENTRYPOINT and CMD.

use super::super::pushed;
use crate::base::model::{Process, ProcessName, Processes};
use crate::machinery::image::ImageFacts;

const WEB: &str = "web";
const MOST: usize = 100;
const LONGEST: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Line and cause.
    Procfile(usize, String),
    Image(String),
}

pub fn of(facts: &ImageFacts, procfile: Option<&[u8]>, shell: fn(&str) -> Vec<String>) -> Result<Processes, Unfit> {
    let named = match procfile {
        Some(text) => parse(text).map_err(|(line, cause)| Unfit::Procfile(line, cause))?,
        None => Vec::new(),
    };
    let mut processes = match pushed::start(facts) {
        Ok(started) => started,
        Err(_) if named.iter().any(|(name, _)| name.as_str() == WEB) => Processes::new(),
        Err(cause) => return Err(Unfit::Image(cause)),
    };
    let port = pushed::port(facts).map_err(Unfit::Image)?;
    for (name, line) in named {
        let port = port.filter(|_| name.as_str() == WEB);
        processes.insert(name, Process { command: shell(&line), working_dir: None, port });
    }
    Ok(processes)
}

/// `TYPE: COMMAND` per line; comments and empty lines are passed over.
pub fn parse(text: &[u8]) -> Result<Vec<(ProcessName, String)>, (usize, String)> {
    let text = String::from_utf8_lossy(text);
    let mut named: Vec<(ProcessName, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |cause: String| (at + 1, cause);
        let (name, command) = line.split_once(':').ok_or_else(|| fault("has no colon".into()))?;
        let name: ProcessName = name.trim().parse().map_err(|error| fault(format!("{:?} {error}", name.trim())))?;
        let command = command.trim();
        if command.is_empty() || command.len() > LONGEST || command.contains('\0') {
            return Err(fault(format!("the command of {name} must be 1 to {LONGEST} bytes")));
        }
        if named.iter().any(|(known, _)| *known == name) {
            return Err(fault(format!("{name} stands here a second time")));
        }
        named.push((name, command.to_owned()));
        if named.len() > MOST {
            return Err(fault(format!("there are more than {MOST} process types")));
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procfile_names_types_and_a_fault_its_line() {
        let named = parse(b"# types\nweb: ./serve -p $PORT\n\nworker:./work\n").unwrap();
        assert_eq!(
            named.iter().map(|(n, c)| format!("{n}|{c}")).collect::<Vec<_>>(),
            ["web|./serve -p $PORT", "worker|./work"]
        );
        for (text, line) in [("web ./x", 1), ("web: a\n\nweb: b", 3), ("web:", 1), ("w b: x", 1), ("../x: y", 1)] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().0, line, "{text}");
        }
    }
}
