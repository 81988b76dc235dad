//! Every way in which a checkout can hold work, and every way to hide it: each is named, by its own word.

use super::*;
use crate::facts::{Repo, Server};
use crate::guard::{self, Evidence};

/// One way: what it is called, what was done on the server, and the findings it must come to, each with the
/// word that names its loss. `…` stands for anything.
type Way = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Files that differ.
const FILES: &[Way] = &[
    ("modified", "echo 2 >> train.py", &[("repo:modified", "modified train.py")]),
    ("staged", "echo 2 >> train.py; git add train.py", &[("repo:modified", "staged train.py")]),
    ("deleted", "rm train.py", &[("repo:modified", "deleted train.py")]),
    ("renamed", "git mv train.py t.py", &[("repo:modified", "renamed t.py")]),
    ("untracked", "mkdir d; echo 1 > d/new", &[("repo:untracked", "untracked d/new")]),
    ("ignored", "echo 1 > big.pkl", &[("files:lesson3/big.pkl", "new file lesson3/big.pkl")]),
    ("mode only", "chmod +x train.py", &[("repo:modified", "modified train.py")]),
    (
        "mode only, where git looks away",
        "git config core.fileMode false; chmod +x train.py",
        &[("repo:modified", "modified train.py")],
    ),
    (
        "line endings",
        "echo '* text=auto' > .git/info/attributes; printf 'print(1)\\r\\n' > train.py",
        &[("repo:modified", "filtered train.py")],
    ),
    (
        "what a filter takes out",
        "git config filter.strip.clean 'sed s/secret.*//'; echo '*.py filter=strip' > .git/info/attributes
         printf 'print(1)\\n' | tr -d '\\n' > train.py; printf 'secret result\\n' >> train.py",
        &[("repo:modified", "filtered train.py")],
    ),
    ("a link instead", "rm train.py; ln -s /etc/passwd train.py", &[("repo:modified", "modified train.py")]),
    ("a name with spaces", "echo 1 > ' a b '", &[("repo:untracked", "untracked  a b ")]),
    ("a name with a newline", "echo 1 > \"a\nb\"", &[("repo:untracked", "untracked a\nb")]),
    ("a name with quotes", "echo 1 > \"a\\\"b'c\"", &[("repo:untracked", "untracked a\"b'c")]),
    ("a name that is no UTF-8", "echo 1 > $(printf 'caf\\351')", &[("repo:untracked", "untracked caf\\xe9")]),
    ("a name like an option", "echo 1 > --force", &[("repo:untracked", "untracked --force")]),
    (
        "a name in other case",
        "git config core.ignoreCase true; echo 2 > Train.py",
        &[("repo:untracked", "untracked Train.py")],
    ),
];

/// Names that keep commits.
const NAMES: &[Way] = &[
    ("stash", "echo 2 >> train.py; git stash -q", &[("repo:unpushed", "unpushed stash@{0}")]),
    ("stash of untracked files", "echo 2 > new; git stash -qu", &[("repo:unpushed", "unpushed stash@{0}")]),
    (
        "two stashes",
        "for n in 1 2; do echo $n > train.py; git stash -q; done",
        &[("repo:unpushed", "unpushed stash@{0}"), ("repo:unpushed", "unpushed stash@{1}")],
    ),
    ("branch ahead", "git commit -q --allow-empty -m x", &[("repo:unpushed", "unpushed branch main")]),
    (
        "branch without upstream",
        "git checkout -qb try; git commit -q --allow-empty -m x; git checkout -q main",
        &[("repo:unpushed", "unpushed branch try")],
    ),
    (
        "detached",
        "git checkout -q --detach; git commit -q --allow-empty -m x",
        &[("repo:unpushed", "unpushed detached HEAD")],
    ),
    ("light tag", "git tag best", &[("repo:unpushed", "unpushed tag best")]),
    (
        "tag that says something",
        "git tag -a -m 'the best run' best",
        &[("repo:unpushed", "unpushed tag best")],
    ),
    (
        "tag of a tag",
        "git tag -a -m x a; git push -q origin a; git tag -a -m y b a",
        &[("repo:unpushed", "unpushed tag b")],
    ),
    ("note", "git notes add -m 'loss 0.3'", &[("repo:unpushed", "unpushed refs/notes/commits")]),
    (
        "a ref of one's own",
        "git update-ref refs/keep/x $(git commit-tree HEAD^{tree} -m x)",
        &[("repo:unpushed", "unpushed refs/keep/x")],
    ),
    (
        "branch deleted from the remote since",
        "git checkout -qb try; git commit -q --allow-empty -m x; git push -q origin try
         git checkout -q main; git branch -qD try; git -C ../remote.git branch -qD try",
        &[("repo:unpushed", "unpushed remote branch origin/try")],
    ),
    (
        "remote forced elsewhere",
        "git commit -q --allow-empty -m x; git push -q
         git -C ../remote.git update-ref refs/heads/main HEAD~",
        &[("repo:unpushed", "unpushed branch main")],
    ),
];

/// Operations under way, and what lies beside the one work tree.
const BESIDE: &[Way] = &[
    ("merge", "PART; git merge other || true", &[
        ("repo:unfinished", "a merge"),
        ("repo:modified", "unmerged train.py"),
        ("repo:unpushed", "…"),
        ("repo:unpushed", "…"),
    ]),
    ("rebase", "PART; git rebase other || true", &[
        ("repo:unfinished", "a rebase"),
        ("repo:modified", "unmerged train.py"),
        ("repo:unpushed", "…"),
        ("repo:unpushed", "…"),
        ("repo:unpushed", "…"),
    ]),
    ("cherry-pick", "PART; git cherry-pick other || true", &[
        ("repo:unfinished", "a cherry-pick"),
        ("repo:modified", "unmerged train.py"),
        ("repo:unpushed", "…"),
        ("repo:unpushed", "…"),
    ]),
    ("revert", "PART; echo 3 > train.py; git commit -qam 3; git revert HEAD~ || true", &[
        ("repo:unfinished", "a revert"),
        ("repo:modified", "unmerged train.py"),
        ("repo:unpushed", "…"),
        ("repo:unpushed", "…"),
    ]),
    ("am", "PART; git format-patch -1 --stdout other > ../p; git am ../p || true", &[
        ("repo:unfinished", "a am"),
        ("repo:unpushed", "…"),
        ("repo:unpushed", "…"),
        ("files:p", "new file p"),
    ]),
    ("bisect", "git bisect start", &[("repo:unfinished", "a bisect")]),
    ("dirty worktree", "git worktree add -q --detach ../tree; echo 1 >> ../tree/train.py", &[(
        "repo:modified",
        "modified ../tree/train.py",
    )]),
    (
        "commit in a worktree",
        "git worktree add -q --detach ../tree; git -C ../tree commit -q --allow-empty -m x",
        &[("repo:unpushed", "unpushed detached HEAD of worktree …/tree")],
    ),
    ("something under way in a worktree", "git worktree add -q --detach ../tree; git -C ../tree bisect start", &[(
        "repo:unfinished",
        "a bisect in ../tree",
    )]),
    (
        "staged in a worktree whose folder is gone",
        "git worktree add -q --detach ../tree; echo 1 >> ../tree/train.py; git -C ../tree add -A; rm -r ../tree",
        &[("repo:modified", "staged ../tree")],
    ),
    ("dirty submodule", "SUB; echo 2 >> lib/train.py", &[
        ("repo:modified", "modified lib"),
        ("repo:modified", "modified lib/train.py"),
    ]),
    ("submodule that is to be ignored", "SUB; git config submodule.lib.ignore all; echo 2 > lib/new", &[
        ("repo:modified", "modified lib"),
        ("repo:untracked", "untracked lib/new"),
    ]),
    (
        "unpushed submodule",
        "SUB; git -C lib checkout -qb own; git -C lib commit -q --allow-empty -m x; git -C lib checkout -q main",
        &[("repo:unpushed", "unpushed lib")],
    ),
    ("stash in a submodule", "SUB; echo 2 >> lib/train.py; git -C lib stash -q", &[(
        "repo:unpushed",
        "unpushed lib",
    )]),
    (
        "unpushed submodule whose tree is gone",
        "SUB; git -C lib checkout -qb own; git -C lib commit -q --allow-empty -m x; git -C lib checkout -q main
         git submodule -q deinit -f lib",
        &[("repo:unpushed", "unpushed .git/modules/lib")],
    ),
    (
        "nested repository",
        "git init -q inner; cd inner; echo 1 > a; git add a; git commit -qm x; echo 2 > a; git stash -q
         echo 3 > a; echo 4 > b",
        &[("repo:nested", "nested inner/ 2 2 1")],
    ),
    ("nested repository without a commit", "git init -q inner; echo 1 > inner/a", &[(
        "repo:nested",
        "nested inner/ 0 1 0",
    )]),
    ("broken nested repository", "git init -q inner; echo garbage > inner/.git/HEAD; echo 1 > inner/a", &[
        ("repo:untracked", "untracked inner/a"),
        ("files:…", "…"),
    ]),
    ("LFS object", "LFS; echo large > model.lfs; git add -A; git commit -qm x; git push -q", &[(
        "repo:lfs",
        "LFS model.lfs",
    )]),
    ("broken", "rm .git/HEAD", &[("repo:broken", "broken …")]),
    ("broken index", "echo garbage > .git/index", &[
        ("repo:broken", "broken …"),
        ("files:lesson3/.git/index", "new file lesson3/.git/index"),
    ]),
    ("missing object", "rm -r .git/objects; mkdir .git/objects", &[("repo:broken", "broken …")]),
    ("another remote", "git remote set-url origin ../else.git", &[("repo:remote", "remote ../else.git")]),
    ("no remote", "git remote remove origin", &[("repo:remote", "remote none")]),
];

/// Settings, flags and tricks that keep git from telling.
const HIDDEN: &[Way] = &[
    ("assume-unchanged", "git update-index --assume-unchanged train.py; echo 2 > train.py", &[(
        "repo:modified",
        "modified train.py",
    )]),
    ("assume-unchanged, by mode", "git update-index --assume-unchanged train.py; chmod +x train.py", &[(
        "repo:modified",
        "modified train.py",
    )]),
    ("skip-worktree", "git update-index --skip-worktree train.py; echo 2 > train.py", &[(
        "repo:modified",
        "modified train.py",
    )]),
    (
        "outside a sparse checkout",
        "mkdir d; echo 1 > d/f; git add d; git commit -qm d; git push -q; git sparse-checkout set --no-cone '/*' '!/d'
         test ! -e d/f; mkdir d; echo 2 > d/f",
        &[("repo:modified", "modified d/f")],
    ),
    ("as old and as large as before", "git config core.trustctime false; touch -r train.py ../then
        printf 'print(2)\\n' > train.py; touch -r ../then train.py; rm ../then", &[(
        "repo:modified",
        "modified train.py",
    )]),
    ("untracked files not to be shown", "git config status.showUntrackedFiles no; echo 1 > new", &[(
        "repo:untracked",
        "untracked new",
    )]),
    ("excluded here", "echo new > .git/info/exclude; echo 1 > new", &[("files:lesson3/new", "new file lesson3/new")]),
    ("excluded everywhere", "echo new > ../.ex; git config core.excludesFile ../.ex; echo 1 > new", &[
        ("files:lesson3/new", "new file lesson3/new"),
        ("files:.ex", "new file .ex"),
    ]),
    ("a monitor that lies", "git config core.fsmonitor 'printf x'; git status -s; echo 2 > train.py; echo 1 > new", &[
        ("repo:modified", "modified train.py"),
        ("repo:untracked", "untracked new"),
    ]),
    (
        "a memory of what isn't tracked",
        "git config core.untrackedCache true; git update-index --untracked-cache; git status -s; echo 1 > new",
        &[("repo:untracked", "untracked new")],
    ),
    ("a replaced commit", "git commit -q --allow-empty -m x; git replace HEAD HEAD~", &[
        ("repo:unpushed", "unpushed branch main"),
    ]),
    ("a replacement only here", "git replace HEAD $(git commit-tree HEAD^{tree} -m x)", &[(
        "repo:unpushed",
        "unpushed refs/replace/…",
    )]),
    ("a graft", "git commit -q --allow-empty -m x; git rev-parse HEAD > .git/info/grafts", &[(
        "repo:unpushed",
        "unpushed branch main",
    )]),
    (
        "shallow",
        "git commit -q --allow-empty -m a; git push -q; rm -rf ../lesson3/* .git; cd ..; rm -r lesson3
         git clone -q --depth 1 file://$PWD/remote.git lesson3; cd lesson3; git remote set-url origin ../remote.git
         git commit -q --allow-empty -m x",
        &[("repo:unpushed", "unpushed branch main")],
    ),
    ("a git folder elsewhere", "mv .git ../apart; echo gitdir: $PWD/../apart > .git; echo 2 > train.py", &[(
        "repo:modified",
        "modified train.py",
    )]),
    ("a hook", "echo 'exit 0' > .git/hooks/pre-commit", &[(
        "files:lesson3/.git/hooks/pre-commit",
        "new file lesson3/.git/hooks/pre-commit",
    )]),
    ("a file among git's own", "echo 1 > .git/notes.txt", &[(
        "files:lesson3/.git/notes.txt",
        "new file lesson3/.git/notes.txt",
    )]),
    ("elsewhere under home", "mkdir -p ../data/x; echo 1 > ../data/x/y", &[("files:data/x/y", "new file data/x/y")]),
];

/// What several ways begin with.
fn script(way: &str) -> String {
    let part = "git checkout -qb other; echo theirs > train.py; git commit -qam theirs; git checkout -q main
        echo ours > train.py; git commit -qam ours";
    let sub = "git -C .. clone -q --bare remote.git library.git
        git -c protocol.file.allow=always submodule --quiet add $PWD/../library.git lib
        git commit -qam sub; git push -q; mv ../library.git ../.cache";
    // What git-lfs does when something is added, without it.
    let lfs = "git config filter.lfs.clean 'f=$(mktemp); cat > $f; h=$(sha256sum < $f | cut -c1-64)
            d=.git/lfs/objects/$(echo $h | cut -c1-2)/$(echo $h | cut -c3-4); mkdir -p $d
            printf \"version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n\" $h $(stat -c %s $f)
            mv $f $d/$h'
        git config filter.lfs.smudge 'exit 1'; git config filter.lfs.required true
        echo '*.lfs filter=lfs -text' > .gitattributes";
    format!(
        "set -e; {}",
        way.replacen("PART;", &format!("{part};"), 1).replacen("SUB;", &format!("{sub};"), 1).replacen(
            "LFS;",
            &format!("{lfs};"),
            1
        )
    )
}

impl Home {
    /// A home after set-up with a clone in it that has all of its remote.
    async fn after_clone() -> (Self, String) {
        static MADE: std::sync::OnceLock<Home> = std::sync::OnceLock::new();
        let made = MADE.get_or_init(|| {
            let home = Self::new();
            std::fs::create_dir(home.path(".cache")).unwrap();
            home.with_checkout();
            home.git("lesson3", &["remote", "set-url", "origin", "../remote.git"]);
            home
        });
        let home = Self::new();
        let copied = Program::new("cp").arg("-aT").args([made.path(""), home.path("")]).status();
        assert!(copied.unwrap().success());
        home.ask::<()>(&Ask::FinishSetUp).await.unwrap();
        (home, "../remote.git".to_owned())
    }

    fn sh(&self, script: &str) {
        let names = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
        let output = Program::new("bash")
            .args(["-c", script])
            .current_dir(self.path("lesson3"))
            .env("HOME", self.path(".cache"))
            .envs(names.map(|name| (name, "someone@example.org")))
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_EDITOR", "true")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the remote says of the checkout, as the laptop would ask it.
    fn remote_of(&self, checkout: &Checkout) -> Repo {
        let listed = self.git("remote.git", &["for-each-ref", "--format=%(refname) %(objectname)"]);
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        let refs: BTreeMap<_, _> = pairs.map(|(name, id)| (name.to_owned(), id.to_owned())).collect();
        let holds = |commit: &str| {
            let contains = ["for-each-ref", "--contains", commit];
            let asked =
                Program::new("git").args(contains).current_dir(self.path("remote.git")).output().unwrap();
            asked.status.success() && !asked.stdout.is_empty()
        };
        let commits = checkout.tips.iter().map(|tip| tip.commit.clone()).chain(checkout.snapshot.clone());
        let contained = commits.map(|commit| (commit.clone(), holds(&commit))).collect();
        let tags = refs.iter().filter(|(name, _)| name.starts_with("refs/tags/"));
        Repo {
            tags: tags.map(|(name, id)| (name.clone(), id.clone())).collect(),
            refs: Some(refs),
            contained,
            ..Repo::default()
        }
    }

    /// (the word that names the loss, what was found) of everything that stands against the end.
    async fn against_the_end(&self, url: &str) -> Vec<(String, String)> {
        let probe = self.probe(&[], &["remote.git/**"]).await;
        let checkout = probe.checkout.clone().unwrap();
        let repo = self.remote_of(&checkout);
        let evidence = Evidence {
            machine: "m",
            taken_at: jiff::Timestamp::UNIX_EPOCH,
            server: &Server::Seen(Box::new(probe)),
            repo: &repo,
            url_matches: checkout.remote.as_deref() == Some(url) || checkout.broken.is_some(),
            artifacts: &BTreeMap::new(),
            stored: &[],
        };
        let found = guard::findings(&evidence);
        found.iter().map(|finding| (finding.discard().to_string(), told(finding))).collect()
    }
}

fn told(finding: &guard::Finding) -> String {
    use guard::Finding as F;
    match finding {
        F::Dirty { path, how, .. } => format!("{how} {path}"),
        F::Unpushed { tip, .. } => format!("unpushed {tip}"),
        F::Unfinished { what } => format!("a {what}"),
        F::Nested { repository: one } => {
            format!("nested {} {} {} {}", one.path, one.unpushed, one.changed, one.stashes)
        }
        F::Lfs { path, .. } => format!("LFS {path}"),
        F::Broken { why } => format!("broken {why}"),
        F::OtherRemote { found } => format!("remote {}", found.as_deref().unwrap_or("none")),
        F::NewFile { path, .. } => format!("new file {path}"),
        other => format!("{other:?}"),
    }
}

/// Tells whether a text is as a pattern with at most one `…` says.
fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('…') {
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
        None => text == pattern,
    }
}

#[tokio::test]
async fn a_clone_with_all_of_its_remote_holds_nothing() {
    let (home, url) = Home::after_clone().await;
    assert_eq!(home.against_the_end(&url).await, []);
    home.sh("git tag v1; git notes add -m x; git push -q origin v1 refs/notes/commits
        git worktree add -q -b side ../tree; git push -q origin side
        git worktree add -q --detach inside; git update-index --assume-unchanged train.py");
    assert_eq!(home.against_the_end(&url).await, [], "everything of it is elsewhere");
}

#[tokio::test]
async fn a_file_that_differs_is_named_by_its_own_word() {
    each_is_named(FILES).await;
}

#[tokio::test]
async fn a_name_that_keeps_commits_is_named_by_its_own_word() {
    each_is_named(NAMES).await;
}

#[tokio::test]
async fn what_lies_beside_the_work_tree_is_named_by_its_own_word() {
    each_is_named(BESIDE).await;
}

#[tokio::test]
async fn what_git_was_told_not_to_tell_is_named_by_its_own_word() {
    each_is_named(HIDDEN).await;
}

/// Asserts that each way comes to its findings, by their words, and to no others.
async fn each_is_named(ways: &[Way]) {
    let mut wrong = Vec::new();
    for (name, way, expected) in ways {
        let (home, url) = Home::after_clone().await;
        home.sh(&script(way));
        let found = home.against_the_end(&url).await;
        let is = |(word, told): &(String, String)| {
            expected.iter().any(|(loss, text)| is_like(word, loss) && is_like(told, text))
        };
        let missing = expected
            .iter()
            .any(|(loss, text)| !found.iter().any(|(word, told)| is_like(word, loss) && is_like(told, text)));
        let many = expected.iter().any(|(loss, _)| *loss == "files:…");
        if missing || !found.iter().all(is) || (!many && found.len() != expected.len()) {
            wrong.push(format!("{name}: {found:#?}\n  instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} ways:\n{}", wrong.len(), ways.len(), wrong.join("\n"));
}
