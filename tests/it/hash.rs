//! `dacapo hash`, against the hash computed here from its definition.

use std::io::Write as _;
use std::process::Stdio;

use sha2::{Digest as _, Sha256};

use crate::support::{Project, ran};

const BLOCK: usize = 4 << 20;

/// Dropbox's definition: SHA-256 of the joined SHA-256 of each 4 MiB.
fn content_hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes.chunks(BLOCK).flat_map(Sha256::digest).collect::<Vec<u8>>()))
}

#[test]
fn files_and_standard_input_have_the_hash_that_the_store_would_confirm() {
    let project = Project::without_world("");
    let bytes: Vec<u8> = (0..2 * BLOCK + 5).map(|i| (i % 249) as u8).collect();
    std::fs::write(project.path().join("export.pkl"), &bytes).unwrap();
    std::fs::write(project.path().join("empty"), b"").unwrap();
    let (content, plain) = (content_hash(&bytes), hex::encode(Sha256::digest(&bytes)));

    let printed = project.run(&["hash", "export.pkl", "empty"]).exits(0).stdout;
    assert_eq!(printed, format!("{content}  export.pkl\n{}  empty\n", content_hash(b"")));
    let both = project.run(&["hash", "--sha256", "export.pkl"]).exits(0).stdout;
    assert_eq!(both, format!("{content}  {plain}  export.pkl\n"));
    let json = project.run(&["hash", "--json", "--sha256", "export.pkl"]).exits(0).json();
    let file = serde_json::json!({
        "path": "export.pkl", "content": content, "sha256": plain, "length": bytes.len(),
    });
    assert_eq!(json, serde_json::json!({"version": 1, "files": [file]}));

    for arguments in [&["hash"][..], &["hash", "-"]] {
        let mut command = project.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let ran = ran(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(ran.stdout, format!("{content}  -\n"));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_hashed() {
    let project = Project::without_world("");
    std::fs::write(project.path().join("there"), b"x").unwrap();
    let ran = project.run(&["hash", "missing", ".", "there"]).exits(1);
    assert_eq!(ran.stdout, format!("{}  there\n", content_hash(b"x")));
    ran.says("2 of 3 could not be hashed").says("`missing`: No such file").says("`.`: Is a directory");
}
