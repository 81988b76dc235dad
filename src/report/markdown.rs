//! A plan as Markdown, for a comment on a pull request.

use std::io::{self, Write};

use super::plan::render;
use crate::plan::Plan;

/// Writes a plan as Markdown: a title, and the plan as `plan` prints it.
///
/// All of it stands in one fence that is longer than any within, so nothing from elsewhere is read as Markdown.
pub fn markdown(out: &mut impl Write, plan: &Plan, prefix: &str) -> io::Result<()> {
    let mut text = Vec::new();
    render(&mut text, plan, prefix)?;
    let text = console::strip_ansi_codes(&String::from_utf8_lossy(&text)).into_owned();
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    let title = match (plan.actions.len(), plan.is_refused()) {
        (0, false) => "nothing to do".to_owned(),
        (0, true) => "something stands against it".to_owned(),
        (count, false) => format!("{count} action(s)"),
        (count, true) => format!("{count} action(s), and something stands against it"),
    };
    writeln!(out, "### dacapo plan: `{}`, {title}\n\n{fence}diff\n{}\n{fence}", plan.session, text.trim_end())
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_is_longer_than_any_run_within() {
        assert_eq!(longest_run("a ``` b ```` c `"), 4);
        assert_eq!(longest_run(""), 0);
    }
}
