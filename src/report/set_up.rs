//! Set-up in words.

use super::printable;
use crate::plan::StepReason;

/// Returns what running a step means, and why it is to run.
pub(super) fn step(position: usize, run: &str, why: &StepReason) -> String {
    let why = match why {
        StepReason::New => "it hasn't run on this server".to_owned(),
        StepReason::Broke { code: Some(code) } => format!("it ended with {code} last time"),
        StepReason::Broke { code: None } => "it began and was cut short".to_owned(),
        StepReason::Text { ran } => format!("`{}` ran in its place", printable(ran)),
        StepReason::Inputs { paths } => format!("its inputs are others now: {}", names(paths)),
        StepReason::Earlier => "a step before it runs again".to_owned(),
    };
    format!("run step {} of set-up, `{}`: {why}", position + 1, printable(run))
}

pub(super) fn input(path: &str, why: Option<&str>) -> String {
    let path = printable(path);
    let why = why.map_or("there is no such file in the checkout".to_owned(), printable);
    format!("set-up depends on `{path}`, and that can't be read: {why}")
}

pub(super) fn may_run(inputs: &[String]) -> String {
    format!(
        "set-up runs again next if the code that is brought changes what it depends on: {}",
        names(inputs)
    )
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")
}
