//! `dacapo status --watch`: again and again, until Ctrl-C.

use crate::interrupt::Started;
use crate::support::Project;
use crate::terminal::Terminal;

#[test]
fn the_status_is_drawn_over_the_last_one_on_a_terminal_and_ctrl_c_is_its_end() {
    let project = Project::new();
    let watch = Terminal::start(project.command(&["--sandbox", "status", "--watch", "1"]));
    for _ in 0..2 {
        watch.shows("\u{1b}[2J");
        watch.shows("session    lesson3");
    }
    watch.types("\u{3}");
    assert_eq!(watch.ends(), 0);
}

#[test]
fn without_a_terminal_each_look_is_a_block_of_its_own() {
    let project = Project::new();
    let watch = Started::new(&project, &["--json", "status", "--watch", "1"]);
    crate::interrupt::until("it has looked twice", || {
        let looks = project.requests().iter().filter(|request| request["path"] == "/v1/balance").count();
        looks >= 3
    });
    watch.signal("INT");
    let told = watch.end().exits(0).stdout;
    assert!(told.lines().count() >= 2, "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
    project.dacapo(&["status", "--watch=0"]).exits(3);
}
