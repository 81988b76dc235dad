//! What must be shown before anything on a server is deleted or overwritten; pure.
//!
//! Evidence goes in, a [`Proof`] or a [`Refusal`] comes out. Missing evidence counts as failure. Only
//! this module can make a `Proof`, it is for one machine, and it can be spent once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::digest::ContentHash;
use crate::facts::{ArtifactFile, Checkout, Nested, Probe, Repo, Server, Tip};

/// How long after it was taken evidence may still justify a deletion, by the cloud's clock.
pub const VALID_FOR: SignedDuration = SignedDuration::from_secs(600);

/// The guards of the end, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The server could be looked at.
    Server,
    /// Every commit and every change in the checkout is on the remote.
    Repo,
    /// Every artifact's content is a stored version.
    Artifacts,
    /// No other new file lies under the home directory.
    Files,
    /// No program is at work.
    Processes,
}

impl Guard {
    /// Every guard, in order.
    pub const ALL: [Self; 5] = [Self::Server, Self::Repo, Self::Artifacts, Self::Files, Self::Processes];

    /// The word used in output and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Repo => "repo",
            Self::Artifacts => "artifacts",
            Self::Files => "files",
            Self::Processes => "processes",
        }
    }
}

/// One thing that would be lost, or that can't be shown to be safe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the variants are about")]
pub enum Finding {
    /// The server didn't answer.
    Unreachable { why: String },
    /// git can't read what lies at the checkout's path.
    Broken { why: String },
    /// The checkout's remote isn't the spec's.
    OtherRemote { found: Option<String> },
    /// The remote couldn't be asked what it has.
    RemoteUnreachable { why: String },
    /// A branch, tag, stash or detached HEAD that the remote doesn't contain; `refused`: why saving leaves it out.
    Unpushed { tip: String, commit: String, refused: Option<String> },
    /// A path that differs from the last commit; `refused`: why saving leaves it out.
    Dirty { path: String, how: String, size: Option<u64>, refused: Option<String> },
    /// A merge, rebase, cherry-pick, revert or bisect under way.
    Unfinished { what: String },
    /// A repository of its own within the checkout.
    Nested { repository: Nested },
    /// An LFS object that its server may not have.
    Lfs { path: String, size: u64 },
    /// An artifact whose content no stored version has.
    Unsaved { name: String, path: String, content: ContentHash, size: u64 },
    /// Something other than a steady regular file where an artifact should be.
    UnreadableArtifact { name: String, why: String },
    /// A file that nothing answers for.
    NewFile { path: String, size: u64 },
    /// More such files than were listed.
    MoreFiles { count: u64 },
    /// The marker that tells new files from old is gone.
    NoMarker,
    /// A program at work.
    Process { pid: u32, command: String, why: String },
}

impl Finding {
    /// The guard that this finding fails.
    pub fn guard(&self) -> Guard {
        match self {
            Self::Unreachable { .. } => Guard::Server,
            Self::Broken { .. }
            | Self::OtherRemote { .. }
            | Self::RemoteUnreachable { .. }
            | Self::Unpushed { .. }
            | Self::Dirty { .. }
            | Self::Unfinished { .. }
            | Self::Nested { .. }
            | Self::Lfs { .. } => Guard::Repo,
            Self::Unsaved { .. } | Self::UnreadableArtifact { .. } => Guard::Artifacts,
            Self::NewFile { .. } | Self::MoreFiles { .. } | Self::NoMarker => Guard::Files,
            Self::Process { .. } => Guard::Processes,
        }
    }

    /// The loss to name with `--discard` if this may go.
    pub fn discard(&self) -> Discard {
        let repo = |what: &str| Discard::Repo(what.to_owned());
        match self {
            Self::Unreachable { .. } => Discard::Unreachable,
            Self::Broken { .. } => repo("broken"),
            Self::OtherRemote { .. } => repo("remote"),
            Self::RemoteUnreachable { .. } | Self::Unpushed { .. } => repo("unpushed"),
            Self::Dirty { how, .. } => {
                repo(if matches!(how.as_str(), "untracked" | "unpushed") { how } else { "modified" })
            }
            Self::Unfinished { .. } => repo("unfinished"),
            Self::Nested { .. } => repo("nested"),
            Self::Lfs { .. } => repo("lfs"),
            Self::Unsaved { name, .. } | Self::UnreadableArtifact { name, .. } => {
                Discard::Artifact(name.clone())
            }
            // A file may be called `*`: its name must not cover its neighbours.
            Self::NewFile { path, .. } => Discard::Files(glob_of(path)),
            Self::MoreFiles { .. } | Self::NoMarker => Discard::Files("**".to_owned()),
            Self::Process { .. } => Discard::Processes,
        }
    }
}

/// A loss that the user has named: `--discard WORD`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Discard {
    /// `repo:untracked`, `repo:modified`, `repo:unpushed`, `repo:unfinished`, `repo:nested`, `repo:lfs`,
    /// `repo:broken`, `repo:remote`.
    Repo(String),
    /// `artifacts:NAME`.
    Artifact(String),
    /// `files:PATH`: a file, everything below a folder, or a glob.
    Files(String),
    /// `processes`.
    Processes,
    /// `server:unreachable`: everything on a server that can't be looked at.
    Unreachable,
    /// `server:gone`: whatever was on a machine that vanished.
    Gone,
    /// `volume:ID`: whatever is on a detached volume.
    Volume(String),
}

impl Discard {
    fn covers(&self, finding: &Finding) -> bool {
        match (self, finding) {
            (Self::Files(pattern), Finding::NewFile { path, .. }) => covers_path(pattern, path),
            (named, finding) => *named == finding.discard(),
        }
    }
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repo(what) => write!(f, "repo:{what}"),
            Self::Artifact(name) => write!(f, "artifacts:{name}"),
            Self::Files(path) => write!(f, "files:{path}"),
            Self::Processes => f.write_str("processes"),
            Self::Unreachable => f.write_str("server:unreachable"),
            Self::Gone => f.write_str("server:gone"),
            Self::Volume(id) => write!(f, "volume:{id}"),
        }
    }
}

impl FromStr for Discard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const REPO: [&str; 8] =
            ["untracked", "modified", "unpushed", "unfinished", "nested", "lfs", "broken", "remote"];
        match text.split_once(':').map_or((text, ""), |(guard, rest)| (guard, rest)) {
            ("repo", what) if REPO.contains(&what) => Ok(Self::Repo(what.to_owned())),
            ("artifacts", name) if !name.is_empty() => Ok(Self::Artifact(name.to_owned())),
            ("files", path) if !path.is_empty() => Ok(Self::Files(path.to_owned())),
            ("processes", "") => Ok(Self::Processes),
            ("server", "unreachable") => Ok(Self::Unreachable),
            ("server", "gone") => Ok(Self::Gone),
            ("volume", id) if !id.is_empty() => Ok(Self::Volume(id.to_owned())),
            _ => Err(format!(
                "`{text}` names no loss; write `repo:{}`, `artifacts:NAME`, `files:PATH`, `processes`, \
                 `server:unreachable`, `server:gone` or `volume:ID`",
                REPO.join("`, `repo:")
            )),
        }
    }
}

/// Returns the glob that matches this path alone; `globset::escape` leaves backslashes as they are.
fn glob_of(path: &str) -> String {
    path.split('\\').map(globset::escape).collect::<Vec<_>>().join("[\\]")
}

fn covers_path(pattern: &str, path: &str) -> bool {
    let folder = pattern.trim_end_matches('/');
    let plain = glob_of(pattern) == pattern;
    (plain && path == pattern)
        || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        || globset::GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .is_ok_and(|glob| glob.compile_matcher().is_match(path))
}

/// Everything that was looked at to judge whether one machine may go.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The machine's id.
    pub machine: &'a str,
    /// When the look was taken, by the cloud's clock.
    pub taken_at: Timestamp,
    /// What the server said.
    pub server: &'a Server,
    /// What the remote said.
    pub repo: &'a Repo,
    /// The spec's remote.
    pub url_matches: bool,
    /// Artifact name → its path under the checkout.
    pub artifacts: &'a BTreeMap<String, String>,
    /// Contents that the store confirms to hold.
    pub stored: &'a [ContentHash],
}

/// Why a machine may not go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What stands against it.
    pub findings: Vec<Finding>,
}

/// Lets one deletion of one machine happen, once.
#[derive(Debug)]
pub struct Proof {
    machine: String,
    until: Timestamp,
    keeps_disk: bool,
}

impl Proof {
    /// The machine that may be deleted.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Tells whether the machine may be deleted only if its disk stays.
    pub fn keeps_disk(&self) -> bool {
        self.keeps_disk
    }

    /// Tells whether the evidence is still young enough.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now <= self.until
    }
}

/// Judges the evidence: whatever isn't covered by a named loss stands against deleting the machine.
pub fn prove(evidence: &Evidence<'_>, discards: &[Discard]) -> Result<Proof, Refusal> {
    proof_unless(uncovered(findings(evidence), discards), evidence, false)
}

/// Judges whether a machine may go while its disk stays: only what runs on it would be lost.
pub fn prove_kept(evidence: &Evidence<'_>, discards: &[Discard]) -> Result<Proof, Refusal> {
    proof_unless(uncovered(findings_kept(evidence), discards), evidence, true)
}

fn proof_unless(findings: Vec<Finding>, evidence: &Evidence<'_>, keeps_disk: bool) -> Result<Proof, Refusal> {
    if !findings.is_empty() {
        return Err(Refusal { findings });
    }
    Ok(Proof { machine: evidence.machine.to_owned(), until: evidence.taken_at + VALID_FOR, keeps_disk })
}

/// Proves that a machine holds nothing because no login of ours was ever completed on it, and its disk was
/// made for it.
pub fn prove_unused(machine: &str, may_hold_work: bool, now: Timestamp) -> Option<Proof> {
    (!may_hold_work).then(|| Proof { machine: machine.to_owned(), until: now + VALID_FOR, keeps_disk: false })
}

/// Proves that a machine may go while its disk stays, because it never came up: nothing runs on it.
pub fn prove_kept_unused(machine: &str, now: Timestamp) -> Proof {
    Proof { machine: machine.to_owned(), until: now + VALID_FOR, keeps_disk: true }
}

/// Leaves out the findings that a named loss covers.
pub fn uncovered(findings: Vec<Finding>, discards: &[Discard]) -> Vec<Finding> {
    findings.into_iter().filter(|finding| !discards.iter().any(|discard| discard.covers(finding))).collect()
}

/// Lists everything in the evidence that stands against deleting the machine.
pub fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    match evidence.server {
        Server::Seen(probe) => {
            let mut found = repo_findings(evidence, probe);
            found.extend(artifact_findings(evidence, probe));
            found.extend(file_findings(probe));
            found.extend(probe.processes.iter().map(|process| Finding::Process {
                pid: process.pid,
                command: process.command.clone(),
                why: process.why.clone(),
            }));
            found
        }
        Server::Unreachable(why) => vec![Finding::Unreachable { why: why.clone() }],
        Server::None => vec![Finding::Unreachable { why: "it was not asked".to_owned() }],
    }
}

/// Lists what stands against deleting the machine while its disk stays.
pub fn findings_kept(evidence: &Evidence<'_>) -> Vec<Finding> {
    findings(evidence).into_iter().filter(|finding| finding.guard() == Guard::Processes).collect()
}

fn repo_findings(evidence: &Evidence<'_>, probe: &Probe) -> Vec<Finding> {
    let Some(checkout) = &probe.checkout else { return Vec::new() };
    if let Some(why) = &checkout.broken {
        return vec![Finding::Broken { why: why.clone() }];
    }
    let mut found = Vec::new();
    if !evidence.url_matches {
        found.push(Finding::OtherRemote { found: checkout.remote.clone() });
    }
    found.extend(checkout.unfinished.iter().map(|what| Finding::Unfinished { what: what.clone() }));
    found.extend(checkout.nested.iter().map(|nested| Finding::Nested { repository: nested.clone() }));
    found.extend(
        checkout.lfs.iter().map(|object| Finding::Lfs { path: object.path.clone(), size: object.size }),
    );
    let saved = checkout.snapshot.as_ref().is_some_and(|commit| evidence.repo.contains(commit));
    let dirty = checkout.dirty.iter().filter(|dirty| !(saved && dirty.carried));
    found.extend(dirty.map(|dirty| Finding::Dirty {
        path: dirty.path.clone(),
        how: dirty.how.clone(),
        size: dirty.size,
        refused: dirty.refused.clone(),
    }));
    found.extend(tip_findings(evidence.repo, checkout));
    found
}

fn tip_findings(repo: &Repo, checkout: &Checkout) -> Vec<Finding> {
    let mut tips = checkout.tips.clone();
    // A report that forgets HEAD among the tips is no evidence that HEAD is safe.
    let head = checkout.head.as_ref().filter(|head| !tips.iter().any(|tip| tip.commit == **head));
    tips.extend(head.map(|head| Tip { name: "HEAD".to_owned(), commit: head.clone(), ..Tip::default() }));
    if tips.is_empty() {
        return Vec::new();
    }
    if repo.refs.is_none() {
        let why = repo.unreachable.clone().unwrap_or_else(|| "it was not asked".to_owned());
        return vec![Finding::RemoteUnreachable { why }];
    }
    tips.into_iter()
        .filter(|tip| !repo.holds(tip))
        .map(|Tip { name, commit, refused, .. }| Finding::Unpushed { tip: name, commit, refused })
        .collect()
}

fn artifact_findings(evidence: &Evidence<'_>, probe: &Probe) -> Vec<Finding> {
    let judge = |(name, path): (&String, &String)| match probe.artifacts.get(name) {
        Some(ArtifactFile::Missing) | Some(ArtifactFile::File { size: 0, .. }) => None,
        Some(ArtifactFile::File { content, .. }) if evidence.stored.contains(content) => None,
        Some(ArtifactFile::File { content, size }) => {
            Some(Finding::Unsaved { name: name.clone(), path: path.clone(), content: *content, size: *size })
        }
        Some(ArtifactFile::Unreadable { why }) => {
            Some(Finding::UnreadableArtifact { name: name.clone(), why: why.clone() })
        }
        None => Some(Finding::UnreadableArtifact {
            name: name.clone(),
            why: "the server's report doesn't mention it".to_owned(),
        }),
    };
    evidence.artifacts.iter().filter_map(judge).collect()
}

fn file_findings(probe: &Probe) -> Vec<Finding> {
    let Some(files) = &probe.files else { return vec![Finding::NoMarker] };
    let listed = files.iter().map(|file| Finding::NewFile { path: file.path.clone(), size: file.size });
    let more = (probe.more_files > 0).then_some(Finding::MoreFiles { count: probe.more_files });
    listed.chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Dirty, NewFile, Process};

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    /// A server with nothing to lose: one pushed commit, one stored artifact.
    fn clean() -> (Probe, Repo, BTreeMap<String, String>, Vec<ContentHash>) {
        let content = ContentHash::of(b"model");
        let probe = Probe {
            python: "3.11.2".to_owned(),
            git: Some("2.39.5".to_owned()),
            gpu: None,
            home: "/root".to_owned(),
            disk_free: 1,
            set_up: true,
            checkout: Some(Checkout {
                remote: Some("git@host:me/repo.git".to_owned()),
                head: Some("a".repeat(40)),
                branch: Some("main".to_owned()),
                tips: vec![Tip { name: "branch main".to_owned(), commit: "a".repeat(40), ..Tip::default() }],
                ..Checkout::default()
            }),
            artifacts: [("model".to_owned(), ArtifactFile::File { size: 5, content })].into(),
            files: Some(Vec::new()),
            more_files: 0,
            processes: Vec::new(),
            notebook: None,
            setup: None,
        };
        let repo = Repo {
            refs: Some([("refs/heads/main".to_owned(), "a".repeat(40))].into()),
            contained: [("a".repeat(40), true)].into(),
            ..Repo::default()
        };
        (probe, repo, [("model".to_owned(), "export.pkl".to_owned())].into(), vec![content])
    }

    fn judge(change: impl FnOnce(&mut Probe, &mut Repo, &mut Vec<ContentHash>)) -> Vec<Finding> {
        let (mut probe, mut repo, artifacts, mut stored) = clean();
        change(&mut probe, &mut repo, &mut stored);
        let server = Server::Seen(Box::new(probe));
        let evidence = Evidence {
            machine: "m",
            taken_at: now(),
            server: &server,
            repo: &repo,
            url_matches: true,
            artifacts: &artifacts,
            stored: &stored,
        };
        match prove(&evidence, &[]) {
            Ok(proof) => {
                assert_eq!(proof.machine(), "m");
                Vec::new()
            }
            Err(refusal) => refusal.findings,
        }
    }

    fn guards(found: &[Finding]) -> Vec<Guard> {
        found.iter().map(Finding::guard).collect()
    }

    #[test]
    fn a_server_with_nothing_to_lose_may_go() {
        assert_eq!(judge(|_, _, _| {}), []);
    }

    #[test]
    fn each_kind_of_work_refuses_by_its_own_guard() {
        fn checkout(probe: &mut Probe) -> &mut Checkout {
            probe.checkout.as_mut().unwrap()
        }
        let unpushed = judge(|_, repo, _| repo.contained.clear());
        assert_eq!(guards(&unpushed), [Guard::Repo], "a commit nobody vouches for");
        let unpushed = judge(|_, repo, _| *repo.contained.get_mut(&"a".repeat(40)).unwrap() = false);
        assert_eq!(guards(&unpushed), [Guard::Repo], "a commit the remote lacks");
        let dirty = Dirty { path: "x".to_owned(), how: "untracked".to_owned(), ..Dirty::default() };
        assert_eq!(guards(&judge(|probe, _, _| checkout(probe).dirty.push(dirty))), [Guard::Repo]);
        assert_eq!(
            guards(&judge(|p, _, _| checkout(p).unfinished = vec!["merge".to_owned()])),
            [Guard::Repo]
        );
        assert_eq!(guards(&judge(|p, _, _| checkout(p).broken = Some("no HEAD".to_owned()))), [Guard::Repo]);
        assert_eq!(guards(&judge(|_, repo, _| repo.refs = None)), [Guard::Repo], "remote not asked");
        assert_eq!(guards(&judge(|_, _, stored| stored.clear())), [Guard::Artifacts]);
        assert_eq!(guards(&judge(|p, _, _| p.artifacts.clear())), [Guard::Artifacts], "not mentioned");
        let file = NewFile { path: "notes.txt".to_owned(), size: 3 };
        assert_eq!(guards(&judge(|p, _, _| p.files = Some(vec![file]))), [Guard::Files]);
        assert_eq!(guards(&judge(|p, _, _| p.files = None)), [Guard::Files], "no marker");
        assert_eq!(guards(&judge(|p, _, _| p.more_files = 7)), [Guard::Files], "more than listed");
        let process = Process { pid: 7, command: "python3 train.py".to_owned(), why: "checkout".to_owned() };
        assert_eq!(guards(&judge(|p, _, _| p.processes.push(process))), [Guard::Processes]);
    }

    #[test]
    fn what_a_pushed_snapshot_holds_is_safe_and_what_it_leaves_out_is_not() {
        let snapshot = "5".repeat(40);
        let dirty = |path: &str, carried| Dirty {
            path: path.to_owned(),
            how: "untracked".to_owned(),
            carried,
            ..Dirty::default()
        };
        let paths = |pushed: bool| {
            let found = judge(|probe, repo, _| {
                let checkout = probe.checkout.as_mut().unwrap();
                checkout.snapshot = Some(snapshot.clone());
                checkout.dirty = vec![dirty("carried", true), dirty("left", false)];
                repo.contained.insert(snapshot.clone(), pushed);
            });
            found.len()
        };
        assert_eq!((paths(true), paths(false)), (1, 2));
    }

    #[test]
    fn a_tag_is_safe_by_its_name_not_by_its_commit_alone() {
        let object = "7".repeat(40);
        let with = |name: &str, there: &str| {
            judge(|probe, repo, _| {
                let tag = Tip {
                    name: "tag best".to_owned(),
                    commit: "a".repeat(40),
                    tag: Some(object.clone()),
                    refused: None,
                };
                probe.checkout.as_mut().unwrap().tips.push(tag);
                repo.tags.insert(name.to_owned(), there.to_owned());
            })
            .len()
        };
        assert_eq!(with("refs/tags/other", &object), 1, "nobody would find it");
        assert_eq!(with("refs/tags/best", &"8".repeat(40)), 1, "the remote's is another one");
        assert_eq!(with("refs/tags/best", &object), 0);
        assert_eq!(with("refs/tags/dacapo/lesson3/20261123T201500Z/best", &object), 0, "saved by us");
    }

    #[test]
    fn a_server_that_was_not_seen_may_not_go() {
        let (_, repo, artifacts, stored) = clean();
        for server in [Server::None, Server::Unreachable("timed out".to_owned())] {
            let evidence = Evidence {
                machine: "m",
                taken_at: now(),
                server: &server,
                repo: &repo,
                url_matches: true,
                artifacts: &artifacts,
                stored: &stored,
            };
            assert!(prove(&evidence, &[]).is_err());
            assert!(prove(&evidence, &[Discard::Unreachable]).is_ok());
        }
    }

    #[test]
    fn a_named_loss_covers_that_loss_and_no_other() {
        let finding = |path: &str| Finding::NewFile { path: path.to_owned(), size: 1 };
        let all = || {
            vec![
                finding("a/b.bin"),
                finding("ab.bin"),
                Finding::Process { pid: 1, command: "x".to_owned(), why: "gpu".to_owned() },
            ]
        };
        let left = |word: &str| uncovered(all(), &[word.parse().unwrap()]).len();
        assert_eq!(left("files:a"), 2, "everything below a folder");
        assert_eq!(left("files:a/b.bin"), 2);
        assert_eq!(left("files:*.bin"), 2, "a star stays within one folder");
        assert_eq!(left("files:**"), 1);
        assert_eq!(left("processes"), 2);
        assert_eq!(left("repo:untracked"), 3);
    }

    #[test]
    fn what_a_finding_says_to_type_is_understood_and_settles_it() {
        let dirty = |how: &str| Finding::Dirty {
            path: "x".to_owned(),
            how: how.to_owned(),
            size: None,
            refused: None,
        };
        let found = [
            Finding::Unreachable { why: String::new() },
            dirty("staged"),
            dirty("untracked"),
            dirty("unpushed"),
            Finding::Unpushed { tip: "branch b".to_owned(), commit: "c".to_owned(), refused: None },
            Finding::Nested { repository: Nested::default() },
            Finding::Lfs { path: "model.bin".to_owned(), size: 1 },
            Finding::NewFile { path: "odd [name]*.txt".to_owned(), size: 1 },
            Finding::NoMarker,
        ];
        for finding in found {
            let typed: Discard = finding.discard().to_string().parse().unwrap();
            assert_eq!(uncovered(vec![finding.clone()], &[typed]), [], "{finding:?}");
        }
    }

    #[test]
    fn evidence_grows_old() {
        let proof = prove_unused("m", false, now()).unwrap();
        assert!(proof.is_valid(now() + VALID_FOR));
        assert!(!proof.is_valid(now() + VALID_FOR + SignedDuration::from_secs(1)));
        assert!(prove_unused("m", true, now()).is_none(), "a login of ours may have left something");
    }
}
