//! What starts a command of the user's, and what ends it.

use tokio::process::Child;

use super::*;
use crate::provider::server::run::LAUNCH;

const RUN: &str = "00112233445566778899aabbccddeeff";

fn launch(home: &Home, folder: &str, command: &[&str]) -> Child {
    let mut launcher = Command::new("python3");
    launcher.args(["-IS", "-c", LAUNCH, folder, RUN, "alone"]).args(command).env("HOME", home.folder.path());
    launcher.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    launcher.spawn().unwrap()
}

async fn code(home: &Home, folder: &str, command: &[&str]) -> Option<i32> {
    launch(home, folder, command).wait_with_output().await.unwrap().status.code()
}

/// Reads the first line that a command prints.
async fn first_line(child: &mut Child) -> String {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).await.unwrap();
    line.trim().to_owned()
}

#[tokio::test]
async fn a_commands_end_is_its_own() {
    let home = Home::new();
    home.write("work/here", "");
    for (script, expected) in [("test -e here", 0), ("exit 3", 3), ("kill -9 $$", 137), ("exit 254", 254)] {
        assert_eq!(code(&home, "work", &["sh", "-c", script]).await, Some(expected), "{script}");
    }
    assert_eq!(code(&home, "work", &["no such program"]).await, Some(127));
    assert_eq!(code(&home, "work", &["./here"]).await, Some(126));
    assert_eq!(code(&home, "nowhere", &["true"]).await, Some(125));
    assert!(!home.path(".dacapo").join(format!("run-{RUN}")).exists());
}

#[tokio::test]
async fn words_reach_the_command_as_they_are_and_input_too() {
    use tokio::io::AsyncWriteExt as _;
    let home = Home::new();
    let mut child =
        launch(&home, "", &["sh", "-c", "printf '%s|' \"$@\"; cat", "x", "a b", "$(x)", "-n", "\n"]);
    child.stdin.take().unwrap().write_all(b"typed").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b|$(x)|-n|\n|typed");
}

#[tokio::test]
async fn a_255_of_the_commands_own_is_known_for_one_afterwards() {
    let home = Home::new();
    assert_eq!(code(&home, "", &["sh", "-c", "exit 255"]).await, Some(255));
    let outcome = || home.ask::<Option<u8>>(&Ask::Outcome { run: RUN });
    assert_eq!(outcome().await.unwrap(), Some(255));
    assert_eq!(outcome().await.unwrap(), None, "it is forgotten once told");
}

#[tokio::test]
async fn an_interrupt_ends_the_whole_group() {
    let home = Home::new();
    // What a shell starts with `&` ignores the interrupt.
    let mut child = launch(&home, "", &["sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"]);
    let background = first_line(&mut child).await;
    home.ask::<()>(&Ask::Interrupt { run: RUN }).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    let state = std::fs::read_to_string(format!("/proc/{background}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[tokio::test]
async fn a_command_that_cleans_up_may() {
    let home = Home::new();
    let script = "trap 'echo saved; exit 9' INT; echo up; while :; do sleep 0.05; done";
    let mut child = launch(&home, "", &["sh", "-c", script]);
    assert_eq!(first_line(&mut child).await, "up");
    home.ask::<()>(&Ask::Interrupt { run: RUN }).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(9));
}
