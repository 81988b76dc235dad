//! What an artifact is made in: the checkout's state and the Python that its programs run with.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::facts::{Environment, Surroundings};
use crate::provider::server::SurroundingsRequest;

async fn surroundings(home: &Home) -> Surroundings {
    asked(home.command()).await
}

async fn asked(command: Command) -> Surroundings {
    let ask = SurroundingsRequest { checkout: "lesson3".into(), artifacts: vec!["export.pkl".into()] };
    converse(command, &Ask::Surroundings(&ask)).await.unwrap()
}

fn package(home: &Home, folder: &str, name: &str, version: &str) {
    let info = format!("{folder}/{}-{version}.dist-info/METADATA", name.replace('-', "_"));
    home.write(&info, format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"));
}

/// Environments as `venv` and `uv` write them.
fn environment(home: &Home, folder: &str, settings: &str) -> String {
    home.write(&format!("lesson3/{folder}/pyvenv.cfg"), settings);
    format!("lesson3/{folder}/lib/python3.12/site-packages")
}

#[tokio::test]
async fn the_checkout_is_dirty_by_what_differs_from_its_commit_and_not_by_the_artifacts() {
    let home = Home::new();
    home.with_checkout();
    let head = home.git("lesson3", &["rev-parse", "HEAD"]);
    let state = |seen: Surroundings| (seen.commit, seen.dirty);
    assert_eq!(state(surroundings(&home).await), (Some(head.clone()), Some(false)));
    home.write("lesson3/.gitignore", "");
    home.commit("keep nothing out");
    home.write("lesson3/export.pkl", "made here");
    let clean = surroundings(&home).await;
    assert_ne!(clean.commit, Some(head), "the commit of now");
    assert_eq!(clean.dirty, Some(false), "an artifact is made from the tree, not part of it");
    home.write("lesson3/new.py", "print(2)\n");
    assert_eq!(surroundings(&home).await.dirty, Some(true), "an untracked program may have made it");
    std::fs::remove_file(home.path("lesson3/new.py")).unwrap();
    home.write("lesson3/train.py", "print(3)\n");
    assert_eq!(surroundings(&home).await.dirty, Some(true));
}

#[tokio::test]
async fn where_there_is_no_commit_nothing_is_said_of_one() {
    let home = Home::new();
    let seen = surroundings(&home).await;
    assert_eq!((seen.commit, seen.dirty), (None, None));
    assert!(seen.environment.python.is_some(), "python3 answered");
}

#[tokio::test]
async fn the_checkouts_own_environment_goes_before_python3s() {
    let home = Home::new();
    home.with_checkout();
    package(&home, ".local/lib/of-nobody", "torch", "0");
    let plain = environment(&home, "venv", "version = 3.12.3\ninclude-system-site-packages = false\n");
    package(&home, &plain, "Torch", "2.1.0");
    package(&home, &plain, "fast-AI.core", "1.7");
    home.write(&format!("{plain}/broken-1.dist-info/RECORD"), "");
    home.write(&format!("{plain}/empty-1.dist-info/METADATA"), "\n");
    let packages = [("fast-ai-core", "1.7"), ("torch", "2.1.0")];
    let packages = packages.map(|(name, version)| (name.to_owned(), version.to_owned())).into();
    let seen = surroundings(&home).await.environment;
    assert_eq!(seen, Environment { python: Some("3.12.3".into()), cuda: seen.cuda.clone(), packages });
    let hidden = environment(&home, ".venv", "home = /usr/bin\nversion_info = 3.13.1.final.0\n");
    package(&home, &hidden, "torch", "2.2.0");
    let seen = surroundings(&home).await.environment;
    assert_eq!((seen.python.as_deref(), seen.packages["torch"].as_str()), (Some("3.13.1"), "2.2.0"));
}

#[tokio::test]
async fn without_one_the_packages_are_python3s_the_users_own_included() {
    let home = Home::new();
    let mut program = Program::new("python3");
    program.args(["-c", "import site; print(site.getusersitepackages())"]).env("HOME", home.folder.path());
    let folder = String::from_utf8(program.output().unwrap().stdout).unwrap();
    let below = folder.trim().strip_prefix(home.folder.path().to_str().unwrap()).unwrap();
    package(&home, below.trim_start_matches('/'), "my_own_thing", "4.5");
    let seen = surroundings(&home).await.environment;
    assert_eq!(seen.packages["my-own-thing"], "4.5");
}

#[tokio::test]
async fn cuda_is_told_by_the_driver_where_no_toolkit_is_installed() {
    let home = Home::new();
    let header = "| NVIDIA-SMI 570.86.10   Driver Version: 570.86.10   CUDA Version: 12.8     |";
    let stub = home.write("bin/nvidia-smi", format!("#!/bin/sh\necho '{header}'\n"));
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.command();
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", home.path("bin").display()));
    let toolkit = Path::new("/usr/local/cuda/version.json").exists();
    let seen = asked(command).await.environment.cuda;
    assert!(toolkit || seen.as_deref() == Some("12.8"), "{seen:?}");
}
