//! One action of a plan, at length.

use std::io::{self, Write};

use super::plan::action_text;
use crate::plan::{Action, Kind, Plan};

/// Writes what an action does, what it waits for, and what happens if it is cut short.
pub fn explain(out: &mut impl Write, action: &Action, plan: &Plan, prefix: &str) -> io::Result<()> {
    let unit = &plan.money.currency;
    writeln!(out, "{}. {}\n", action.id() + 1, action_text(action, unit))?;
    for line in how(action.kind()) {
        writeln!(out, "  {line}")?;
    }
    match action.after() {
        [] => writeln!(out, "\nIt waits for no other action.")?,
        after => {
            let numbers: Vec<String> = after.iter().map(|id| (id + 1).to_string()).collect();
            writeln!(out, "\nIt waits for: {}.", numbers.join(", "))?;
        }
    }
    writeln!(out, "Cut short at any moment, `{prefix} apply` goes on from what is there then.")
}

/// What it rests on and does, a line each.
fn how(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::Settle => &[
            "An order was sent and its outcome isn't known; the cloud's list shows machines late.",
            "It looks until the machine shows, or until it could no longer appear, 180 s after the order.",
            "A machine that appears and was never logged in to holds nothing, and is deleted.",
        ],
        Kind::Adopt { .. } => &[
            "The machine carries this session's mark (tags, else its description), and the record doesn't know it.",
            "It is noted in the record; what is on it counts as work until it is looked at.",
        ],
        Kind::EndTwin { .. } => &[
            "Two machines came of this session's orders; only the recorded one was ever logged in to.",
            "So this one holds nothing, and goes to the cloud's trash with its disk.",
        ],
        Kind::MakeWay { .. } => &[
            "Two laptops without a store rented a machine each at the same time; the older one stays.",
            "Nobody ever logged in to this one, so it holds nothing, and goes to the cloud's trash with its disk.",
            "The other is noted in the record; what is on it counts as work until it is looked at.",
        ],
        Kind::Forget { .. } => &[
            "The cloud itself says that the machine is gone, or you named it as gone.",
            "The record lets go of it. Nothing is deleted.",
        ],
        Kind::RegisterKey { .. } => &[
            "The account doesn't have the login key yet; a machine is given its keys by their ids there.",
            "Only the public half is sent.",
        ],
        Kind::Create { .. } => &[
            "What is asked for is noted in the record first, with a word that the machine will carry.",
            "Then one order is sent, once. A clear refusal (no capacity) moves on to the next candidate.",
            "After an unclear answer it looks for that word until the order can't arrive any more, and only then",
            "orders again. It bills from the moment the order is taken.",
        ],
        Kind::CheckStock { .. } => &[
            "Asks for stock and balance, so that the present machine doesn't go before another is to be had.",
            "The cloud's word is a hint: it reserves nothing.",
        ],
        Kind::Recover { .. } => &[
            "The machine vanished without our doing (a spot eviction, or by hand), and its disk was found.",
            "The record notes that the disk waits; the next machine boots it.",
        ],
        Kind::RestoreVolume { .. } => {
            &["The disk is in the cloud's trash, from which it can be taken for 96 h."]
        }
        Kind::Start { .. } => &["The machine was shut down, and bills all the same."],
        Kind::Ready => &[
            "Waits for `running`, an address, an sshd that shows the pinned host key, and a login.",
            "Then the startup script that set the host key is removed from the account.",
        ],
        Kind::Clone { .. } => &[
            "Your ssh agent is forwarded for this one command, over a connection of its own that is closed after it.",
            "Name and address for commits are set in the clone, as your laptop has them.",
        ],
        Kind::FastForward { .. } => &[
            "The checkout is clean and only behind; nothing is merged, rebased or reset.",
            "Your ssh agent is forwarded for this one command.",
        ],
        Kind::Store { .. } => &[
            "The server sends the bytes to the store itself; what is stored is read back by its content hash.",
            "The version becomes visible only when it is whole. Nothing that is stored is overwritten.",
        ],
        Kind::Pull { .. } => &[
            "The server fetches the version by a link to that one revision, hashes it, and renames it into place.",
            "What lies there is overwritten only if it is the stored content that the plan saw.",
        ],
        Kind::SaveBranch { .. } => &[
            "What the remote lacks becomes commits beside the checkout, which stays as it is.",
            "They are pushed to a new branch; from the laptop it is then proven that the remote has them.",
        ],
        Kind::StartNotebook { .. } => &[
            "JupyterLab is taken from the checkout's virtual environment or from PATH; else it is installed into one of its own.",
            "It listens on the server's loopback alone; its token is made there, and stays in files of the login user's.",
            "`dacapo notebook` opens the way to it.",
        ],
        Kind::RunStep { .. } => &[
            "A step runs once per server, and again when its text, a step before it or the content of an input changes.",
            "It is a command for `sh` in the checkout, without a terminal, without your agent, its input empty.",
            "It is noted as done only after it ended with 0. It ends with whatever it left running in its process group.",
            "All that it prints is kept in ~/.dacapo/setup/ on the server, up to a limit.",
        ],
        Kind::InstallPackages { .. } => &[
            "pip of the checkout's virtual environment, else of python3, installs what differs, without dependencies.",
            "What is there then is read back; a package too many, or another version, is an error.",
        ],
        Kind::StopNotebook => &["session.toml asks for none any more, and no kernel runs in it."],
        Kind::Commit { .. } => &[
            "What `git add --all` takes is committed on the server as you, and pushed with your ssh agent.",
            "Nothing is merged, rebased or forced: a branch that the remote has moved on is left alone.",
        ],
        Kind::SetUp => &["Files that are newer than this mark count as somebody's work from now on."],
        Kind::Delete { .. } => &[
            "Right before the call everything is looked at again: branches, tags, stashes, files, artifacts, programs.",
            "Whatever isn't shown to be elsewhere, or named with `--discard`, stops it.",
            "Machine and volumes go to the cloud's trash, from which the console restores them for 96 h.",
        ],
        Kind::DeleteVersion { .. } => &[
            "The object goes first and only as it was seen, then what lies beside it.",
            "Dropbox keeps deleted files for some time, depending on the account.",
        ],
        Kind::NoteLimits { .. } => &["`reap` goes by the record: it learns the new limits from there."],
        Kind::Purge { .. } => &["Deleted for good: nobody can restore it."],
        Kind::KeepDisk { .. } => &[
            "It is shut down first, so that its disk is left in order; then it is deleted without its volumes.",
            "The disk bills on, and is booted by the next `up`.",
        ],
        Kind::DeleteVolume { .. } => &[
            "A machine of this session left it behind: a receipt or you say that nothing on it is wanted.",
            "It goes to the cloud's trash, from which the console restores it for 96 h.",
        ],
    }
}
