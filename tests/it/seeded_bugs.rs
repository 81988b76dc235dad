//! The bugs that `tests/bugs/run` puts into the tree: each still fits the code, and the tests that it names are there.

use std::path::Path;

/// Whose the first twelve were: projects that manage machines, and paid for them.
const KNOWN: [&str; 12] = [
    "terraform #14487",
    "azapi #1110",
    "cluster-api-aws #5794",
    "cluster-api-linode #563",
    "cdkd #2080",
    "phala #197",
    "sdk-python #79",
    "terraform #13851",
    "terraform #28693",
    "Kubernetes",
    "Pulumi",
    "digitalocean #1493",
];

/// How many bugs there are at least: the twelve, and twenty of our own.
const LEAST: usize = 32;

struct Bug {
    name: String,
    /// What stands before the patch.
    words: Vec<String>,
    files: Vec<Patched>,
}

/// What a bug does to one file.
struct Patched {
    path: String,
    /// Each as the lines that are there, and those that take their place.
    hunks: Vec<(Vec<String>, Vec<String>)>,
}

#[test]
fn the_twelve_known_bugs_and_twenty_of_our_own_are_there_and_described() {
    let bugs = bugs();
    assert!(bugs.len() >= LEAST, "{} bugs", bugs.len());
    for (at, bug) in bugs.iter().enumerate() {
        assert!(bug.name.starts_with(&format!("{:02}-", at + 1)), "`{}` is number {}", bug.name, at + 1);
        let says = |start: &str| bug.words.iter().any(|line| line.starts_with(start));
        assert!(says("The bug: ") && says("caught by: "), "`{}` doesn't say what it is", bug.name);
        assert!(!bug.files.is_empty(), "`{}` changes nothing", bug.name);
    }
    for (bug, project) in bugs.iter().zip(KNOWN) {
        let told = bug.words.iter().any(|line| line.starts_with("It was: ") && line.contains(project));
        assert!(told, "`{}` doesn't say that it was {project}'s", bug.name);
    }
}

#[test]
fn every_bug_still_fits_the_code_at_one_place() {
    for bug in bugs() {
        for Patched { path, hunks } in bug.files {
            let code = read(&path);
            let lines: Vec<&str> = code.lines().collect();
            for (there, instead) in hunks {
                let places = lines.windows(there.len()).filter(|window| *window == there).count();
                assert_eq!(places, 1, "`{}`: places in `{path}` for\n{}", bug.name, there.join("\n"));
                assert_ne!(there, instead, "`{}` changes nothing in `{path}`", bug.name);
            }
        }
    }
}

#[test]
fn every_test_that_is_to_catch_a_bug_exists() {
    for bug in bugs() {
        for line in bug.words.iter().filter_map(|line| line.strip_prefix("caught by: ")) {
            let (binary, test) = line.split_once(' ').unwrap();
            let (module, name) = test.rsplit_once("::").unwrap();
            let root = match binary {
                "lib" => "src",
                "it" => "tests/it",
                other => panic!("`{}` names the test binary `{other}`", bug.name),
            };
            let file = format!("{root}/{}", module.replace("::", "/"));
            // The tests of a module stand in a file of their own or at its end.
            let inline = file.strip_suffix("/tests").map(|module| format!("{module}.rs"));
            let there = [Some(format!("{file}.rs")), Some(format!("{file}/mod.rs")), inline]
                .into_iter()
                .flatten()
                .filter_map(|file| std::fs::read_to_string(root_of(&file)).ok())
                .any(|code| code.contains(&format!("fn {name}(")));
            assert!(there, "`{}` is to be caught by `{test}` of `{binary}`, which isn't there", bug.name);
        }
    }
}

/// Every bug, in the order of their numbers.
fn bugs() -> Vec<Bug> {
    let entries = std::fs::read_dir(root_of("tests/bugs")).unwrap().map(|entry| entry.unwrap().path());
    let mut patches: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "patch")).collect();
    patches.sort();
    let named = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    patches.iter().map(|path| parse(named(path), &std::fs::read_to_string(path).unwrap())).collect()
}

fn parse(name: String, text: &str) -> Bug {
    let mut bug = Bug { name, words: Vec::new(), files: Vec::new() };
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            bug.files.push(Patched { path: path.to_owned(), hunks: Vec::new() });
        } else if line.starts_with("--- a/") {
            // The same path again stands in the next line.
        } else if let Some(Patched { hunks, .. }) = bug.files.last_mut() {
            if line.starts_with("@@ ") {
                hunks.push((Vec::new(), Vec::new()));
                continue;
            }
            let (there, instead) = hunks.last_mut().expect("a hunk begins with its place");
            let (mark, code) = line.split_at(1);
            if mark != "+" {
                there.push(code.to_owned());
            }
            if mark != "-" {
                instead.push(code.to_owned());
            }
        } else {
            bug.words.push(line.to_owned());
        }
    }
    bug
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root_of(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root_of(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
