//! The plan in words.

use std::io::{self, Write};

use console::style;
use similar::{ChangeTag, TextDiff};

use super::{bytes, notebook, printable, set_up, short, typed};
use crate::facts::{LargeFiles, Nested};
use crate::guard::{Finding, Guard};
use crate::plan::{
    Action, Blocked, Candidate, Difference, GuardState, Kind, LostDisk, Note, Place, Plan, Shown, Until, Work,
};
use crate::world::World;

/// Writes the plan: the difference, the actions, the work, the guards, the money.
///
/// `prefix` is what is typed before a command's name: `dacapo` or `dacapo --sandbox`.
pub fn render(out: &mut impl Write, plan: &Plan, prefix: &str) -> io::Result<()> {
    difference(out, &plan.observed, &plan.desired)?;
    actions(out, plan)?;
    blocked(out, &plan.blocked, &plan.money.currency)?;
    work(out, &plan.work)?;
    guards(out, &plan.guards, prefix)?;
    money(out, plan)?;
    for note in &plan.notes {
        writeln!(out, "note: {}", note_text(note, &plan.money.currency))?;
    }
    totals(out, plan)
}

/// Writes a plan that only moves artifacts.
pub fn transfers(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    actions(out, plan)?;
    blocked(out, &plan.blocked, &plan.money.currency)?;
    for note in &plan.notes {
        writeln!(out, "note: {}", note_text(note, &plan.money.currency))?;
    }
    if plan.is_empty() { writeln!(out, "nothing to move") } else { Ok(()) }
}

/// Writes what saving now would save.
pub fn saving(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    actions(out, plan)?;
    blocked(out, &plan.blocked, &plan.money.currency)?;
    let told = plan.notes.iter().filter(|note| !matches!(note, Note::AlreadyStored { .. }));
    for note in told {
        writeln!(out, "note: {}", note_text(note, &plan.money.currency))?;
    }
    if plan.is_empty() { writeln!(out, "nothing to save: all of it is elsewhere already") } else { Ok(()) }
}

/// Writes what is saved now.
pub fn saved_now(
    out: &mut impl Write,
    code: Option<(&str, &str)>,
    artifacts: &[(&str, &str)],
) -> io::Result<()> {
    if let Some((branch, commit)) = code {
        writeln!(out, "saved: `{}` is at {} on the remote", printable(branch), short(commit))?;
    }
    artifacts.iter().try_for_each(|(name, version)| {
        writeln!(out, "saved: {} is version {}", printable(name), printable(version))
    })
}

/// Writes what stands against a deletion, with the words that would settle it.
pub fn refusal(out: &mut impl Write, findings: &[Finding], prefix: &str) -> io::Result<()> {
    for guard in Guard::ALL {
        let against: Vec<&Finding> = findings.iter().filter(|finding| finding.guard() == guard).collect();
        if !against.is_empty() {
            writeln!(out, "  {} {}", style("✗").red(), guard.name())?;
            against.iter().try_for_each(|finding| finding_lines(out, finding, prefix))?;
        }
    }
    Ok(())
}

fn difference(out: &mut impl Write, observed: &World, desired: &World) -> io::Result<()> {
    if observed == desired {
        return Ok(());
    }
    let (observed, desired) = (observed.to_toml(), desired.to_toml());
    let diff = TextDiff::from_lines(&observed, &desired);
    writeln!(out, "--- observed\n+++ desired")?;
    for group in diff.grouped_ops(3) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end();
            match change.tag() {
                ChangeTag::Delete => writeln!(out, "{}", style(format!("-{line}")).red())?,
                ChangeTag::Insert => writeln!(out, "{}", style(format!("+{line}")).green())?,
                ChangeTag::Equal => writeln!(out, " {line}")?,
            }
        }
    }
    writeln!(out)
}

fn actions(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    if plan.actions.is_empty() {
        return Ok(());
    }
    writeln!(out, "Actions, in this order:")?;
    for action in &plan.actions {
        writeln!(out, "  {}. {}", action.id() + 1, action_text(action, &plan.money.currency))?;
        match action.kind() {
            Kind::Create { candidates, .. } => candidates.iter().skip(1).try_for_each(|other| {
                writeln!(out, "     else {}", candidate(other, &plan.money.currency))
            })?,
            Kind::SaveBranch { files, tips, tags, .. } => saved(out, files, tips, tags)?,
            Kind::Commit { files, .. } => saved(out, files, &[], &[])?,
            _ => {}
        }
    }
    writeln!(out)
}

/// Writes what a branch will hold, thing by thing: all of it is about to leave the server.
fn saved(
    out: &mut impl Write,
    files: &[(String, String, Option<u64>)],
    tips: &[(String, String)],
    tags: &[(String, String)],
) -> io::Result<()> {
    for (path, how, size) in files {
        writeln!(out, "     {}: {}{}", printable(how), printable(path), size_text(*size))?;
    }
    for (name, commit) in tips {
        writeln!(out, "     {} ({})", printable(name), short(commit))?;
    }
    for (name, _) in
        tags.iter().filter(|(name, _)| !tips.iter().any(|(tip, _)| *tip == format!("tag {name}")))
    {
        writeln!(out, "     tag {}", printable(name))?;
    }
    Ok(())
}

fn of_place(place: Place) -> &'static str {
    match place {
        Place::Server => "",
        Place::Laptop => " on this laptop",
    }
}

/// Returns what an action does, in one line.
pub fn action_text(action: &Action, currency: &str) -> String {
    match action.kind() {
        Kind::Settle => "watch the cloud until a create of unknown outcome has shown or can't any more; \
                         delete what it made"
            .to_owned(),
        Kind::Adopt { machine } => format!("note machine {machine}, which carries this session's mark"),
        Kind::EndTwin { machine } => {
            format!(
                "delete machine {machine}: a second one of this session's orders, and nobody was ever on it"
            )
        }
        Kind::MakeWay { machine, older } => format!(
            "delete machine {machine}: nobody was ever on it, and {older}, which is older, carries this session's mark"
        ),
        Kind::Forget { machine } => format!("note that machine {machine} is gone"),
        Kind::RegisterKey { name, key } => {
            format!("register the login key {} with the account as `{name}`", key.fingerprint())
        }
        Kind::Create { candidates, boots } => {
            let machine = candidates
                .first()
                .map_or_else(String::new, |first| format!(": {}", candidate(first, currency)));
            match boots {
                Some(volume) => format!("create the machine{machine}; it boots the kept disk {volume}"),
                None => format!("create the machine{machine}"),
            }
        }
        Kind::CheckStock { .. } => "make sure that the new machine is in stock and can be paid".to_owned(),
        Kind::Recover { machine, volume, .. } => {
            format!("note that machine {machine} vanished and that its disk {volume} waits for another")
        }
        Kind::RestoreVolume { volume, name } => {
            format!("take volume {volume} (`{}`) out of the trash; it bills again", printable(name))
        }
        Kind::Start { machine } => format!("start machine {machine}"),
        Kind::Ready => "wait until the machine runs and the login works".to_owned(),
        Kind::Clone { commit } => format!("clone the repo at {}", short(commit)),
        Kind::FastForward { from, to } => {
            format!("fast-forward the checkout from {} to {}", short(from), short(to))
        }
        Kind::Store { artifact, place, path, size, content, .. } => format!(
            "store {artifact} ({path}{}, {}, content {}) as a new version",
            of_place(*place),
            bytes(*size),
            content.short()
        ),
        Kind::Pull { artifact, place, path, version, object, replaces, .. } => {
            let over = if replaces.is_some() { ", over the stored version that lies there" } else { "" };
            let place = of_place(*place);
            format!("bring {artifact} to {path}{place}: version {version} ({}){over}", bytes(object.size))
        }
        Kind::SaveBranch { files, tips, tags, .. } => format!(
            "push what the remote lacks to a new branch `dacapo/…`: {} file(s), {} commit(s) that names lead to, \
             {} tag(s)",
            files.len(),
            tips.len(),
            tags.len()
        ),
        Kind::StartNotebook { port, directory, packages, restarts } => {
            notebook::start(*port, directory, packages, *restarts)
        }
        Kind::RunStep { position, run, why } => set_up::step(*position, run, why),
        Kind::InstallPackages { packages } => {
            format!("install the {} package(s) that session.lock names, and no others", packages.len())
        }
        Kind::StopNotebook => "end the notebook server".to_owned(),
        Kind::Commit { branch, files, head, .. } if files.is_empty() => {
            let head = head.as_deref().map_or("what it has".to_owned(), short);
            format!("push `{}`, which is at {head}", printable(branch))
        }
        Kind::Commit { branch, files, message, .. } => format!(
            "commit {} file(s) as \"{}\" and push `{}`",
            files.len(),
            printable(message.lines().next().unwrap_or_default()),
            printable(branch)
        ),
        Kind::SetUp => "mark the end of set-up".to_owned(),
        Kind::Delete { machine, volumes } => format!(
            "prove again that nothing is lost, then delete machine {machine} and {} (to the trash, 96 h)",
            match volumes.as_slice() {
                [] => "no volume".to_owned(),
                [one] => format!("volume {one}"),
                several => format!("volumes {}", several.join(", ")),
            }
        ),
        Kind::DeleteVersion { artifact, version, object: Some(object), .. } => {
            format!("delete version {} of {artifact} ({})", printable(version), bytes(object.size))
        }
        Kind::DeleteVersion { artifact, version, object: None, .. } => {
            format!("delete the manifest that version {} of {artifact} left behind", printable(version))
        }
        Kind::NoteLimits { limits } => {
            format!("note the deadline of {} and the other limits", limits.deadline)
        }
        Kind::Purge { volume, name } => {
            format!("delete volume {volume} (`{}`) for good; it is in the trash", printable(name))
        }
        Kind::KeepDisk { machine, volume } => format!(
            "shut machine {machine} down and delete it; its disk{} stays",
            volume.as_ref().map_or(String::new(), |volume| format!(" {volume}"))
        ),
        Kind::DeleteVolume { volume, name } => {
            format!("delete volume {volume} (`{}`), left by a machine of this session", printable(name))
        }
    }
}

fn candidate(candidate: &Candidate, currency: &str) -> String {
    format!(
        "{} in {} at {} {currency}/h{}",
        candidate.r#type,
        candidate.location,
        candidate.price_per_hour,
        if candidate.in_stock { "" } else { " (not in stock now)" }
    )
}

fn blocked(out: &mut impl Write, blocked: &[Blocked], unit: &str) -> io::Result<()> {
    if blocked.is_empty() {
        return Ok(());
    }
    writeln!(out, "Can't be done as things stand:")?;
    for one in blocked {
        writeln!(out, "  {} {}", style("✗").red(), blocked_text(one, unit))?;
    }
    writeln!(out)
}

fn blocked_text(blocked: &Blocked, unit: &str) -> String {
    match blocked {
        Blocked::Replace { differences } => {
            let differences: Vec<String> = differences
                .iter()
                .map(|(key, is, wanted)| format!("{key} is `{is}`, wanted `{wanted}`"))
                .collect();
            format!(
                "the machine would have to be replaced: {}; `--replace` saves, proves and replaces it",
                differences.join("; ")
            )
        }
        Blocked::BehindWithWork { to } => format!(
            "the remote's branch has moved to {} and the server's has work of its own: push or commit it there",
            short(to)
        ),
        Blocked::OtherBranch { found } => format!(
            "the checkout is on {}, not on the spec's branch: check it out on the server",
            found
                .as_deref()
                .map_or("a detached HEAD".to_owned(), |branch| format!("`{}`", printable(branch)))
        ),
        Blocked::Checkout { why } => format!("the checkout can't be used: {}", printable(why)),
        Blocked::Unreachable { why } => format!("the server can't be looked at: {}", printable(why)),
        Blocked::Lost { machine, commit, disk } => lost(machine, commit.as_deref(), disk.as_ref(), unit),
        Blocked::DiskGone { volume } => format!(
            "the kept disk {volume} is neither there nor in the trash: look for it in the cloud's console, or \
             accept the loss with `--discard volume:{volume}`"
        ),
        Blocked::Protected { machine } => {
            format!("machine {machine} is protected: set `limits.protect = false` to end it")
        }
        Blocked::Several { machine } => format!(
            "machine {machine} carries this session's mark too, and bills: look at it in the cloud's console and \
             delete it there, or the other one, whichever holds nothing"
        ),
        Blocked::LeftOut { path, why } => {
            format!("`{}` is left out: {}", printable(path), printable(why))
        }
        Blocked::NoReplacement => {
            "nothing that the spec asks for is in stock: the machine stays until there is".to_owned()
        }
        Blocked::Unsettled { machine, status } => {
            format!(
                "machine {machine} is `{}`, a state that dacapo can't act on; try again later",
                printable(status)
            )
        }
        Blocked::SetUpInput { path, why } => set_up::input(path, why.as_deref()),
        Blocked::NotebookInUse { kernels, restarts } => notebook::in_use(kernels, *restarts),
        Blocked::TooLarge { name, size, large_files } => {
            let why = match large_files {
                LargeFiles::Possible => "Dropbox takes files up to 2,199,019,061,248 bytes".to_owned(),
                LargeFiles::NoRefreshToken => {
                    "files over 150,000,000 bytes are sent with a short-lived token, which takes \
                     `DROPBOX_APP_KEY` and `DROPBOX_REFRESH_TOKEN`"
                        .to_owned()
                }
                LargeFiles::NoAppFolder => {
                    "files over 150,000,000 bytes are sent by the server with a token that could also delete, \
                     so only with an app that sees nothing but its own folder: say `DROPBOX_APP_FOLDER=yes` if \
                     yours is one"
                        .to_owned()
                }
            };
            let what = format!("{name} is {}: {why}", bytes(*size));
            format!(
                "{what}; or copy it to safety yourself and pass `--discard {}`",
                typed(&format!("artifacts:{name}"))
            )
        }
    }
}

/// What is known of a machine that vanished: gone is not absent.
fn lost(machine: &str, commit: Option<&str>, disk: Option<&LostDisk>, unit: &str) -> String {
    let since = commit.map_or(String::new(), |commit| format!(" since {}", short(commit)));
    let what = format!("machine {machine} vanished without our doing, and may have held work made{since}");
    let Some(disk) = disk else {
        return format!(
            "{what}; its disk is neither detached nor in the trash: look for it in the cloud's console, or \
             accept the loss with `--discard server:gone`"
        );
    };
    let LostDisk { volume, name, size_gb, price_per_hour, price_per_month, in_trash, purged_at } = disk;
    let place = if *in_trash {
        let until =
            purged_at.map_or(String::new(), |at| format!(" until {}", at.strftime("%Y-%m-%d %H:%M UTC")));
        format!("is in the trash{until}, free")
    } else {
        format!("is detached and bills {price_per_hour} {unit}/h ({price_per_month} {unit} a month)")
    };
    format!(
        "{what}. Its disk {volume} (`{}`, {size_gb} GB) {place}: `up` boots it again, or accept the loss with \
         `--discard server:gone`",
        printable(name)
    )
}

fn work(out: &mut impl Write, work: &[Work]) -> io::Result<()> {
    if work.is_empty() {
        return Ok(());
    }
    writeln!(out, "Work on the server, safe from every change:")?;
    for one in work {
        writeln!(out, "  * {}", work_text(one))?;
    }
    writeln!(out)
}

pub(super) fn work_text(work: &Work) -> String {
    match work {
        Work::Code { unpushed, dirty } => {
            let mut parts = Vec::new();
            if !unpushed.is_empty() {
                let names: Vec<String> = unpushed.iter().map(|name| printable(name)).collect();
                parts.push(format!("not on the remote: {}", names.join(", ")));
            }
            if *dirty > 0 {
                parts.push(format!("{dirty} path(s) differ from the last commit"));
            }
            format!(
                "code: {}",
                if parts.is_empty() { "an operation under way".to_owned() } else { parts.join("; ") }
            )
        }
        Work::Artifact { name, content, size, base } => format!(
            "{name}: {}, content {}, {}",
            bytes(*size),
            content.short(),
            base.as_ref()
                .map_or("not stored anywhere".to_owned(), |base| format!("made from {base}, not stored"))
        ),
    }
}

fn guards(out: &mut impl Write, guards: &[GuardState], prefix: &str) -> io::Result<()> {
    if guards.is_empty() {
        return Ok(());
    }
    writeln!(out, "Guards before the machine goes:")?;
    for state in guards {
        let mark = if state.findings.is_empty() { style("✓").green() } else { style("✗").red() };
        let shown: Vec<String> = state.evidence.iter().map(shown_text).collect();
        let line = format!("  {mark} {:<10} {}", state.guard.name(), shown.join("; "));
        writeln!(out, "{}", line.trim_end())?;
        state.findings.iter().try_for_each(|finding| finding_lines(out, finding, prefix))?;
        for finding in &state.discarded {
            writeln!(out, "      discarded: {}", printable(&finding_text(finding)))?;
        }
    }
    writeln!(out)
}

fn shown_text(shown: &Shown) -> String {
    match shown {
        Shown::Pushed { tips, head } => format!(
            "all {tips} branch(es), tag(s) and stash entries are on the remote; HEAD is {}",
            head.as_deref().map_or("unborn".to_owned(), short)
        ),
        Shown::WillBeSaved { files, tips } => {
            format!("{files} changed file(s) and {tips} name(s) will be pushed to a branch first")
        }
        Shown::NoCheckout => "there is no checkout".to_owned(),
        Shown::Stored { artifact, version } => format!("{artifact} is stored as {version}"),
        Shown::WillBeStored { artifact } => format!("{artifact} will be stored first"),
        Shown::NothingThere { artifact } => format!("{artifact}: nothing there"),
        Shown::NoNewFiles => "no other file is newer than the end of set-up".to_owned(),
        Shown::NoProcesses => "no program is at work".to_owned(),
        Shown::NeverUsed => "no login was ever completed on it".to_owned(),
    }
}

fn finding_lines(out: &mut impl Write, finding: &Finding, prefix: &str) -> io::Result<()> {
    writeln!(out, "      {}", printable(&finding_text(finding)))?;
    writeln!(out, "        {}", style(printable(&remedy(finding, prefix))).dim())
}

fn finding_text(finding: &Finding) -> String {
    match finding {
        Finding::Unreachable { why } => format!("it can't be looked at: {}", printable(why)),
        Finding::Broken { why } => format!("git can't read the checkout: {}", printable(why)),
        Finding::OtherRemote { found } => {
            format!("its remote is `{}`, not the spec's", printable(found.as_deref().unwrap_or("none")))
        }
        Finding::RemoteUnreachable { why } => format!("the remote can't be asked: {}", printable(why)),
        Finding::Unpushed { tip, commit, .. } => {
            format!("{} ({}) is not on the remote", printable(tip), short(commit))
        }
        Finding::Dirty { path, how, size, .. } => {
            let how = match how.as_str() {
                "filtered" => "modified, which git's filters hide",
                "unpushed" => "commits that no remote was seen to have",
                how => how,
            };
            format!("{}: {}{}", printable(how), printable(path), size_text(*size))
        }
        Finding::Nested { repository } => nested_text(repository),
        Finding::Lfs { path, size } => {
            format!("LFS object: {} ({}) may not be on its server", printable(path), bytes(*size))
        }
        Finding::Unfinished { what } => format!("a {what} is under way"),
        Finding::Unsaved { name, path, content, size } => {
            format!("{name} ({path}, {}, content {}) is not stored", bytes(*size), content.short())
        }
        Finding::UnreadableArtifact { name, why } => format!("{name}: {}", printable(why)),
        Finding::NewFile { path, size } => format!("new file: {}{}", printable(path), size_text(Some(*size))),
        Finding::MoreFiles { count } => format!("and {count} more new file(s)"),
        Finding::NoMarker => "the marker that tells new files from old is gone".to_owned(),
        Finding::Process { pid, command, why } => {
            format!("process {pid} `{}` is at work ({why})", printable(command))
        }
    }
}

fn nested_text(nested: &Nested) -> String {
    let Nested { path, unpushed, changed, stashes, broken } = nested;
    let holds = match broken {
        Some(why) => format!("git can't read it: {}", printable(why)),
        None => {
            format!("{unpushed} unpushed commit(s), {changed} changed path(s), {stashes} stash entry(ies)")
        }
    };
    format!("a repository of its own: {} ({holds})", printable(path))
}

fn size_text(size: Option<u64>) -> String {
    size.map_or(String::new(), |size| format!(" ({})", bytes(size)))
}

/// The words that would settle a finding: what saves it, and what names it as a loss.
fn remedy(finding: &Finding, prefix: &str) -> String {
    let discard = format!("--discard {}", typed(&finding.discard().to_string()));
    match finding {
        Finding::Dirty { path, refused: Some(why), .. } => {
            let name = toml::Value::String(path.clone());
            format!(
                "not saved: {why}; add {name} to `save` under `[repo]` if it may be pushed, or: {discard}"
            )
        }
        Finding::Unpushed { refused: Some(why), .. } => {
            format!("not saved: {why}; name that in `save` under `[repo]` if it may be pushed, or: {discard}")
        }
        Finding::Unpushed { .. } => format!("`{prefix} run -A -- git push`, or accept the loss: {discard}"),
        Finding::Dirty { how, .. } if how == "filtered" => {
            format!("no commit holds it: copy it away, or: {discard}")
        }
        Finding::Nested { .. } => format!("push it from there or move it away, or: {discard}"),
        Finding::Lfs { .. } => {
            format!(
                "`{prefix} run -A -- git lfs push --all origin` sends it; that can't be checked: {discard}"
            )
        }
        Finding::Dirty { .. } => {
            format!(
                "commit it (`{prefix} run -- git commit …`) and `{prefix} run -A -- git push`, or: {discard}"
            )
        }
        Finding::NewFile { path, .. } => {
            let line = toml::Value::String(path.clone());
            format!("copy it away, or: {discard}, or add {line} to `disposable` in session.toml")
        }
        Finding::Process { .. } => format!("wait for it or stop it, or: {discard}"),
        Finding::Unfinished { .. } => format!("finish it, or: {discard}"),
        _ => format!("accept the loss: {discard}"),
    }
}

fn money(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let money = &plan.money;
    let unit = &money.currency;
    let after = after(plan);
    writeln!(
        out,
        "Money: {} {unit}/h now → {after}; spent so far {} {unit}; balance {} {unit}",
        money.per_hour(),
        money.spent,
        money.balance
    )?;
    if let Some(until) = &money.until {
        writeln!(out, "Deadline: {}", until_text(until, unit))?;
    }
    let any = |wanted: fn(&Kind) -> bool| plan.actions.iter().any(|action| wanted(action.kind()));
    let ends = any(|kind| matches!(kind, Kind::Delete { .. }));
    if ends && !any(|kind| matches!(kind, Kind::Create { .. })) {
        writeln!(out, "Afterwards nothing of this session bills; the trash is free.")?;
    }
    Ok(())
}

/// Returns a machine's deadline in one line, and who, if anybody, sees to it.
pub fn until_text(until: &Until, unit: &str) -> String {
    let Until { deadline, at, cost, protect, reaped } = until;
    let reaped = match reaped {
        _ if *protect => "protected from `reap`".to_owned(),
        Some(at) => format!("last reap seen {}", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
        None => "no reap was ever seen: nothing ends it by itself".to_owned(),
    };
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{at}, {deadline} after creation; {cost} {unit} by then ({reaped})")
}

fn after(plan: &Plan) -> String {
    let unit = &plan.money.currency;
    // A machine that makes way for another is deleted before the other is created.
    for action in plan.actions.iter().rev() {
        match action.kind() {
            Kind::Create { candidates, boots: None } => {
                let price = candidates.first().map(|first| first.price_per_hour).unwrap_or_default();
                return format!("{price} {unit}/h and the OS volume's price, known when it exists");
            }
            Kind::Create { candidates, boots: Some(_) } => {
                let price = candidates.first().map(|first| first.price_per_hour).unwrap_or_default();
                return format!("{price} {unit}/h and the kept disk's price");
            }
            Kind::KeepDisk { .. } => {
                let kept = plan.notes.iter().find_map(|note| match note {
                    Note::KeptDisk { price_per_hour, .. } => Some(*price_per_hour),
                    _ => None,
                });
                return kept.map_or("the disk's price".to_owned(), |price| format!("{price} {unit}/h"));
            }
            Kind::Delete { .. } | Kind::Settle => return format!("0.0000 {unit}/h"),
            _ => {}
        }
    }
    format!("{} {unit}/h", plan.money.per_hour())
}

fn note_text(note: &Note, unit: &str) -> String {
    match note {
        Note::OutOfStock => {
            "none of the candidates is in stock as far as the cloud says; apply asks all the same".to_owned()
        }
        Note::NoVersion { artifact } => format!("no version of {artifact} is stored yet; nothing to bring"),
        Note::SameContent { artifact, version, stored_as } => {
            format!("{artifact}: {version} is the same content, stored as {stored_as}; nothing to bring")
        }
        Note::OtherEnvironment { artifact, version, differences } => {
            format!(
                "{artifact}: {version} was made in another environment: {}",
                differences_text(differences)
            )
        }
        Note::UnusableManifest { artifact, version, why } => {
            format!("{artifact}: what is said of how {version} was made can't be used: {}", printable(why))
        }
        Note::NewerStored { artifact, version } => {
            format!("{artifact}: version {version} is newer in the store; the server's own bytes stay")
        }
        Note::AlreadyStored { artifact, version } => format!("{artifact} is stored already, as {version}"),
        Note::Pinned { artifact, version } => {
            format!("{artifact} is pinned to {version}: the next `up` brings that, not what is stored now")
        }
        Note::MissingArtifact { artifact } => {
            format!("{artifact}: its file is missing or empty; nothing to store")
        }
        Note::UnreadableArtifact { artifact, why } => format!("{artifact}: {}", printable(why)),
        Note::LaptopUnpushed { commits, dirty } => {
            let dirty = if *dirty { " and uncommitted changes" } else { "" };
            format!("{commits} commit(s){dirty} on this laptop are not pushed and won't reach the server")
        }
        Note::OtherKey { created_with } => {
            format!("the machine was created with another login key, {created_with}")
        }
        Note::CannotLogIn { fingerprint, agent: true } => {
            format!(
                "the ssh agent doesn't hold {fingerprint}, and the private key isn't there: the login will fail; `ssh-add` it"
            )
        }
        Note::CannotLogIn { fingerprint, agent: false } => {
            format!(
                "no ssh agent answers, and the private key of {fingerprint} isn't there: the login will fail"
            )
        }
        Note::LeftVolume { id, name, price_per_hour } => format!(
            "volume {id} (`{}`) of this session is detached and bills {price_per_hour} {unit}/h; dacapo doesn't know \
             what it holds: `--discard volume:{id}` deletes it",
            printable(name)
        ),
        Note::OverCost { spent, most } => {
            format!("the machine has cost {spent} {unit}, and `limits.max_cost` is {most}: `reap` ends it")
        }
        Note::LeftOut { actions } => format!("{actions} action(s) of other parts are left out by `--only`"),
        Note::OverPrice { price, most } => format!(
            "the machine costs {price} {unit}/h, and `limits.max_price_per_hour` is {most}: no other would be ordered at \
             that price"
        ),
        Note::KeptDisk { id, name, price_per_hour, price_per_month } => format!(
            "the disk {id} (`{}`) is kept and bills {price_per_hour} {unit}/h ({price_per_month} {unit} a month): the \
             next `up` boots it, `--discard volume:{id}` deletes it with all that is on it",
            printable(name)
        ),
        Note::OtherMachine { id, hostname, price_per_hour, session } => format!(
            "machine {id} (`{}`{}) also bills in this account: {price_per_hour} {unit}/h",
            printable(hostname),
            session.as_ref().map_or(String::new(), |session| format!(", session `{}`", printable(session)))
        ),
        Note::NotLoggedIn => "no login has been completed on the machine yet".to_owned(),
        Note::SetUpMayRun { inputs } => set_up::may_run(inputs),
        Note::PackagesDrifted { differences } => {
            format!("the packages on the server are no longer session.lock's: {}", drift_text(differences))
        }
        Note::NotebookRuns { version, port, given, kernels, busy, terminals } => format!(
            "the notebook runs: {}",
            notebook::runs(version.as_deref(), *port, *given, *kernels, busy, *terminals)
        ),
        Note::NotebookSilent { why } => format!("the notebook server doesn't run: {}", printable(why)),
        Note::MayBeUnsaved { documents } => notebook::unsaved(documents),
        Note::NoGpu => "the server reports no GPU".to_owned(),
    }
}

/// Names the first few of many: `artifacts diff` shows all of them.
fn differences_text(differences: &[Difference]) -> String {
    first_few(differences, "here")
}

fn drift_text(differences: &[Difference]) -> String {
    first_few(differences, "there")
}

fn first_few(differences: &[Difference], place: &str) -> String {
    const SHOWN: usize = 6;
    let value = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), printable);
    let shown = differences.iter().take(SHOWN).map(|Difference { what, made, here }| {
        format!("{} {}, {place} {}", printable(what), value(made), value(here))
    });
    let shown = shown.collect::<Vec<_>>().join("; ");
    match differences.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

fn totals(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let against: usize = plan.guards.iter().map(|state| state.findings.len()).sum();
    match (plan.actions.len(), plan.blocked.len() + against) {
        (0, 0) => super::nothing_to_do(out, &plan.session),
        (actions, 0) => writeln!(out, "Plan: {actions} action(s)."),
        (actions, refused) => {
            writeln!(out, "Plan: {actions} action(s); {refused} finding(s) stand against it.")
        }
    }
}
