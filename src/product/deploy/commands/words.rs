//! From what was written to an argument vector. A line of `app.json` is a shell's text, as a line of the Procfile is:
//! the shell runs inside the tenant's own container, never beside the platform.

use crate::base::model::{Process, Processes};
use crate::product::builds;

const SHELL: &str = "bash";

/// A line of `app.json` or of a schedule.
pub fn of_line(line: &str) -> Vec<String> {
    [SHELL, "-c", line].map(str::to_owned).to_vec()
}

/// A line of a Procfile beside a Dockerfile: every image that has a shell at all has this one.
pub fn of_foreign_line(line: &str) -> Vec<String> {
    ["/bin/sh", "-c", line].map(str::to_owned).to_vec()
}

/// For people: the line where there is one, else the words.
pub fn shown(command: &[String]) -> String {
    match builds::bare(command) {
        [_, flag, line] if flag == "-c" => line.clone(),
        words => shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default(),
    }
}

/// What a person typed: several words as they are; one word that is a process type, as that; one that holds more than
/// a word, as a line; none, a shell.
pub fn typed(words: &[String], processes: &Processes) -> Process {
    let command = match words {
        [] => vec![SHELL.to_owned()],
        [word] => {
            let process = processes.iter().find(|(name, _)| name.as_str() == word);
            if let Some((_, process)) = process {
                return process.clone();
            }
            if word.contains(|c: char| c.is_whitespace() || "|&;<>()$`".contains(c)) {
                of_line(word)
            } else {
                words.to_vec()
            }
        }
        _ => words.to_vec(),
    };
    Process { command, working_dir: None, port: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words_and_a_line_is_the_shells() {
        let worker =
            Process { command: vec!["node".into(), "worker.js".into()], working_dir: Some("/w".into()), port: None };
        let processes = Processes::from([("worker".parse().expect("name"), worker.clone())]);
        let typed = |words: &[&str]| typed(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), &processes);
        assert_eq!(typed(&["worker"]), worker);
        assert_eq!(typed(&[]).command, ["bash"]);
        assert_eq!(typed(&["ls"]).command, ["ls"]);
        assert_eq!(typed(&["rake db:migrate && echo done"]).command, ["bash", "-c", "rake db:migrate && echo done"]);
        assert_eq!(typed(&["echo", "$(id)", "; id"]).command, ["echo", "$(id)", "; id"]);
    }
}
