//! The fault matrix: every call that our client makes, struck by every fault that fits it.
//!
//! Each cell is the real program in a world of its own. The command that makes the call ends well or with
//! one clear error; once the fault is gone the same command heals the world without anybody's help; there
//! was never a second machine; and in the end nothing bills. `cargo test` runs a sample that changes with
//! nothing but the code; `DACAPO_MATRIX=all cargo test --test it matrix -- --nocapture` runs all of it and
//! compares what became of each cell with `matrix/table.txt` (`DACAPO_MATRIX=write` writes that file); a cell that ended otherwise is run once more;
//! `DACAPO_MATRIX=fourth` runs every fourth cell; `DACAPO_MATRIX=all:create,silence` runs those whose title contains one of the words.

mod calls;
mod cell;
mod faults;
pub mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use calls::{CALLS, Call};
use cell::Bench;
use faults::{FAULTS, Fault};
use worlds::Prepared;

/// How many cells `cargo test` runs.
const SAMPLE: usize = 40;
/// How many cells run at once: most of their time is waiting.
const WORKERS: usize = 4;

/// What became of each cell, by call and fault.
type Table = BTreeMap<(usize, usize), Result<String, String>>;
/// What the committed table says of each.
type Known = BTreeMap<(usize, usize), String>;

/// The committed table.
const TABLE: &str = "tests/it/matrix/table.txt";

#[test]
fn every_call_survives_every_fault() {
    let mode = std::env::var("DACAPO_MATRIX").unwrap_or_default();
    let (mode, only) = mode.split_once(':').map_or((mode.as_str(), None), |(mode, only)| (mode, Some(only)));
    let mut all: Vec<_> = (0..CALLS.len())
        .flat_map(|call| (0..FAULTS.len()).map(move |fault| (call, fault)))
        .filter(|(call, fault)| FAULTS[*fault].fits(&CALLS[*call]))
        .filter(|(call, fault)| {
            only.is_none_or(|only| only.split(',').any(|one| title(*call, *fault).contains(one)))
        })
        .collect();
    // What changes something takes longest and matters most.
    all.sort_by_key(|(call, fault)| (!CALLS[*call].writes, CALLS[*call].command, *call, *fault));
    let whole = !mode.is_empty();
    let cells = match mode {
        "" => sample(&all),
        "fourth" => all.iter().copied().step_by(4).collect(),
        _ => all.clone(),
    };
    let started = Instant::now();
    let prepared = Prepared::new();
    assert_eq!(prepared.uncovered(), BTreeSet::new(), "calls that no column of the matrix is about");
    let known = if mode == "write" { Known::new() } else { known() };
    let table = run(&cells, &prepared, &known, whole);
    let shown = render(&table);
    if whole {
        eprintln!("{shown}\n{} cells of {} in {:.0?}", cells.len(), all.len(), started.elapsed());
    }
    let broken: Vec<String> = table
        .iter()
        .filter_map(|((call, fault), outcome)| {
            outcome.as_ref().err().map(|why| format!("{}: {why}", title(*call, *fault)))
        })
        .collect();
    assert!(broken.is_empty(), "{} of {} cells:\n{}", broken.len(), cells.len(), broken.join("\n"));
    if whole {
        let complete = only.is_none() && mode != "fourth";
        compare(&table, &shown, mode == "write" && complete, complete);
    }
}

/// Returns the calls that change something: service, method and path.
pub fn writing_calls() -> Vec<(&'static str, &'static str, &'static str)> {
    let writing = CALLS.iter().filter(|call| call.writes);
    writing.map(|call| (call.service, call.method, call.path)).collect()
}

fn title(call: usize, fault: usize) -> String {
    format!("[{} × {}]", CALLS[call].name, FAULTS[fault].name)
}

/// Picks cells by a sequence that is always the same, and spreads them over the table.
fn sample(all: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut state: u64 = 1;
    let mut left = all.to_vec();
    let mut chosen = Vec::new();
    while chosen.len() < SAMPLE.min(all.len()) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chosen.push(left.swap_remove((state >> 33) as usize % left.len()));
    }
    chosen
}

fn run(cells: &[(usize, usize)], prepared: &Prepared, known: &Known, aloud: bool) -> Table {
    let started = Instant::now();
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::new()));
    let workers = std::env::var("DACAPO_MATRIX_WORKERS").ok().and_then(|count| count.parse().ok());
    std::thread::scope(|scope| {
        for _ in 0..workers.unwrap_or(WORKERS) {
            scope.spawn(|| {
                let mut bench = Bench::default();
                while let Some(&(call, fault)) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let mut outcome = one(&CALLS[call], &FAULTS[fault], prepared, &mut bench);
                    if let Some(odd) = odd(&outcome, known.get(&(call, fault))) {
                        eprintln!("once more: {} {odd}", title(call, fault));
                        bench = Bench::default();
                        outcome = one(&CALLS[call], &FAULTS[fault], prepared, &mut bench);
                    }
                    if aloud {
                        let word = outcome.as_ref().unwrap_or_else(|why| why);
                        eprintln!("{:>5.0?} {} {word}", started.elapsed(), title(call, fault));
                    }
                    table.lock().unwrap().insert((call, fault), outcome);
                }
                bench.end().unwrap();
            });
        }
    });
    table.into_inner().unwrap()
}

/// Says why a cell is worth a second run: a machine too slow for the world's clock may do that, once. Broken
/// promises are no such thing.
fn odd(outcome: &Result<String, String>, known: Option<&String>) -> Option<String> {
    match outcome {
        Err(why) if why.starts_with(cell::BROKEN_PROMISE) => None,
        Err(why) => Some(why.clone()),
        Ok(ended) => {
            known.filter(|known| plain(known) != plain(ended)).map(|known| format!("{ended}, not {known}"))
        }
    }
}

/// Runs one cell; a panic in it is a broken cell, not the end of the others.
fn one(call: &Call, fault: &Fault, prepared: &Prepared, bench: &mut Bench) -> Result<String, String> {
    let ran =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cell::run(call, fault, prepared, bench)));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the test itself panicked".to_owned()))
    })
}

/// Writes the table: a line per fault, a column per call, and how often each outcome came about.
fn render(table: &Table) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (number, call) in CALLS.iter().enumerate() {
        lines.push(format!("{:>2} = {} ({})", number + 1, call.name, call.command.join(" ")));
    }
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    let header: Vec<String> = (1..=CALLS.len()).map(|number| format!("{number:>6}")).collect();
    lines.push(format!("\n{:<26}{}", "", header.concat()));
    for (row, fault) in FAULTS.iter().enumerate() {
        let cells = (0..CALLS.len()).map(|column| match table.get(&(column, row)) {
            Some(Ok(outcome)) => {
                *totals.entry(outcome).or_default() += 1;
                format!("{outcome:>6}")
            }
            Some(Err(_)) => format!("{:>6}", "BROKEN"),
            None => format!("{:>6}", "·"),
        });
        let line = format!("{:<26}{}", fault.name, cells.collect::<String>());
        lines.push(line.trim_end().to_owned());
    }
    let totals: Vec<String> = totals.iter().map(|(outcome, count)| format!("{count} × {outcome}")).collect();
    lines.push(format!("\n{} cells: {}", table.len(), totals.join(", ")));
    lines.join("\n") + "\n"
}

/// Whether a call that is made again and again was also repeated depends on how fast things went.
fn plain(outcome: &str) -> &str {
    if outcome == "retry" { "ok" } else { outcome }
}

/// Reads the committed table: a line per fault, six characters per call.
fn known() -> Known {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE)).unwrap();
    let mut known = Known::new();
    for (row, fault) in FAULTS.iter().enumerate() {
        let line = text.lines().find(|line| line.starts_with(&format!("{:<26}", fault.name)));
        let cells: Vec<char> = line.unwrap_or_default().chars().skip(26).collect();
        for (column, cell) in cells.chunks(6).enumerate() {
            known.insert((column, row), cell.iter().collect::<String>().trim().to_owned());
        }
    }
    known
}

fn compare(table: &Table, shown: &str, write: bool, complete: bool) {
    if write {
        return std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE), shown).unwrap();
    }
    let known = known();
    let others: Vec<String> = table
        .iter()
        .filter_map(|((call, fault), outcome)| {
            let (ended, known) =
                (outcome.as_ref().ok()?, known.get(&(*call, *fault)).map_or("·", String::as_str));
            (plain(ended) != plain(known)).then(|| format!("{}: {ended}, not {known}", title(*call, *fault)))
        })
        .collect();
    let cells = known.values().filter(|cell| *cell != "·").count();
    assert!(!complete || cells == table.len(), "`{TABLE}` knows {cells} cells");
    assert!(others.is_empty(), "other than `{TABLE}` says:\n{}", others.join("\n"));
}
