//! The import table of ARCHITECTURE.md, enforced: who may name whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TABLE_START: &str = "| module | may import |";

#[test]
fn every_import_is_in_the_table_of_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table(&std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    collect(&root.join("src"), &root.join("src"), &mut seen);
    let modules: BTreeSet<&String> = seen.keys().filter(|name| *name != "main" && *name != "lib").collect();
    assert_eq!(modules, table.keys().collect(), "the table has a row for each module, and no other");
    for (module, imports) in &seen {
        let Some(allowed) = table.get(module) else { continue };
        let others: Vec<_> = imports.difference(allowed).collect();
        assert!(others.is_empty(), "`{module}` imports {others:?}; the table allows {allowed:?}");
        let unused: Vec<_> = allowed.difference(imports).collect();
        assert!(unused.is_empty(), "the table allows `{module}` to import {unused:?}, which it doesn't");
    }
}

#[test]
fn no_module_imports_one_that_imports_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table(&std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mut left = table.clone();
    while !left.is_empty() {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, imports)| imports.iter().all(|name| !left.contains_key(name)))
            .map(|(name, _)| name.clone())
            .collect();
        assert!(!free.is_empty(), "a circle among {:?}", left.keys().collect::<Vec<_>>());
        free.iter().for_each(|name| drop(left.remove(name)));
    }
}

fn table(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with(TABLE_START)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (quoted(cells[1]).remove(0), quoted(cells[2]).into_iter().collect())
        })
        .collect()
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Notes every `crate::name` of the code outside tests, by the top-level module it stands in.
fn collect(root: &Path, folder: &Path, seen: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, seen);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            let first = path.strip_prefix(root).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let names = code.split("crate::").skip(1).flat_map(names);
            let imports = seen.entry(module.clone()).or_default();
            imports.extend(names.filter(|name| *name != module));
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name))
}

/// The first names behind `crate::`, also of `crate::{a::…, b}`.
fn names(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    match rest.strip_prefix('{') {
        Some(list) => {
            list.split('}').next().unwrap().split(',').map(word).filter(|w| !w.is_empty()).collect()
        }
        None => vec![word(rest)],
    }
}
