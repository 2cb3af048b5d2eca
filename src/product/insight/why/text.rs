//! The answer as lines for people.

use std::collections::BTreeMap;

use super::chain::minute;
use super::{Side, Why};

impl Why {
    /// One line when all is well.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.summary.clone()];
        for link in &self.chain {
            lines.push(format!("  {}  {}", minute(link.at), link.text));
            lines.extend(link.evidence.iter().map(|line| format!("  {:19}  | {line}", "")));
        }
        if self.well {
            return lines;
        }
        lines.push(format!("  wanted    {}", side(&self.wanted)));
        lines.push(format!("  seen      {}", side(&self.seen)));
        lines.extend(self.drift.iter().map(|drift| format!("  drift     {drift}")));
        lines.extend(self.next.iter().map(|next| format!("  next      {next}")));
        lines
    }
}

fn side(side: &Side) -> String {
    let release = side.release.map_or_else(|| "no release".to_owned(), |n| format!("v{n}"));
    let urls = if side.urls.is_empty() { "no route".to_owned() } else { side.urls.join(", ") };
    format!("{release}, {}, {urls}", processes(&side.processes))
}

fn processes(counts: &BTreeMap<String, u32>) -> String {
    let parts: Vec<_> = counts.iter().map(|(process, count)| format!("{process} ×{count}")).collect();
    if parts.is_empty() { "no process".to_owned() } else { parts.join(", ") }
}
