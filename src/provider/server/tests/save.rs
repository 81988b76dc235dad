//! Saving to a branch: what is carried, that nothing here changes, and what is never pushed unasked.

use super::*;
use crate::provider::server::SaveRequest;

impl Home {
    /// What the probe says where saving is asked about, with these paths named.
    async fn to_save(&self, named: &[&str]) -> Checkout {
        let request = ProbeRequest {
            checkout: "lesson3".into(),
            artifacts: BTreeMap::new(),
            disposable: Vec::new(),
            wanted: None,
            fresh: true,
            save: Some(named.iter().map(|&name| name.to_owned()).collect()),
            notebook: None,
            setup: None,
        };
        let probe: Probe = self.ask(&Ask::Probe(&request)).await.unwrap();
        let checkout = probe.checkout.unwrap();
        assert_eq!(checkout.broken, None);
        checkout
    }

    fn request(&self, url: &str, snapshot: Option<String>, tips: &[(&str, String)]) -> SaveRequest {
        SaveRequest {
            url: url.to_owned(),
            path: "lesson3".into(),
            branch: "dacapo/lesson3/then".into(),
            snapshot,
            tips: tips.iter().map(|(name, commit)| ((*name).to_owned(), commit.clone())).collect(),
            tags: Vec::new(),
            artifacts: Vec::new(),
            named: Vec::new(),
            known_hosts: Vec::new(),
        }
    }

    /// All that saving must leave as it is.
    fn state(&self) -> Vec<String> {
        let asked: [&[&str]; 4] =
            [&["status", "--porcelain=v2"], &["for-each-ref"], &["ls-files", "-s", "-v"], &["stash", "list"]];
        asked.iter().map(|arguments| self.git("lesson3", arguments)).collect()
    }
}

fn carried(checkout: &Checkout) -> Vec<&str> {
    checkout.dirty.iter().filter(|entry| entry.carried).map(|entry| entry.path.as_str()).collect()
}

#[tokio::test]
async fn a_snapshot_is_named_by_what_differs_and_naming_it_leaves_nothing_behind() {
    let home = Home::new();
    home.with_checkout();
    assert_eq!(home.to_save(&[]).await.snapshot, None, "nothing differs");
    home.write("lesson3/train.py", "print(2)\n");
    home.write("lesson3/new file", "x");
    let objects = home.git("lesson3", &["count-objects"]);
    let one = home.to_save(&[]).await;
    assert_eq!(carried(&one), ["train.py", "new file"]);
    assert_eq!(home.to_save(&[]).await.snapshot, one.snapshot);
    assert_eq!(home.git("lesson3", &["count-objects"]), objects);
    home.write("lesson3/new file", "y");
    assert_ne!(home.to_save(&[]).await.snapshot, one.snapshot);
}

#[tokio::test]
async fn a_pushed_branch_holds_all_of_it_and_here_nothing_changes() {
    let home = Home::new();
    let url = home.with_checkout();
    home.write("lesson3/train.py", "stashed");
    home.git("lesson3", &["stash", "-q"]);
    home.write("lesson3/train.py", "staged");
    home.git("lesson3", &["add", "train.py"]);
    home.write("lesson3/train.py", "in the tree\r\n");
    home.write("lesson3/.gitattributes", "* text=auto\n");
    home.write("lesson3/odd\nname", "odd");
    std::os::unix::fs::symlink("nowhere", home.path("lesson3/link")).unwrap();
    let checkout = home.to_save(&[]).await;
    let stash = checkout.tips.iter().find(|tip| tip.name == "stash@{0}").unwrap().commit.clone();
    let before = home.state();
    let ask = home.request(&url, checkout.snapshot.clone(), &[("stash@{0}", stash)]);
    let saved: Option<String> = home.ask(&Ask::Save(&ask)).await.unwrap();
    assert_eq!(home.state(), before);
    let remote = |arguments: &[&str]| home.git("remote.git", arguments);
    let branch = "dacapo/lesson3/then";
    assert_eq!(Some(remote(&["rev-parse", branch])), saved);
    assert_eq!(remote(&["cat-file", "blob", &format!("{branch}:train.py")]), "in the tree");
    assert_eq!(remote(&["cat-file", "-s", &format!("{branch}:train.py")]), "13", "byte for byte");
    assert_eq!(remote(&["cat-file", "blob", &format!("{branch}:link")]), "nowhere");
    assert_eq!(remote(&["cat-file", "blob", &format!("{branch}:odd\nname")]), "odd");
    let all = remote(&["log", "--format=%H", branch]).lines().map(|line| line.to_owned()).collect::<Vec<_>>();
    let bytes: Vec<String> =
        all.iter().map(|commit| remote(&["cat-file", "blob", &format!("{commit}:train.py")])).collect();
    assert!(bytes.contains(&"staged".into()) && bytes.contains(&"stashed".into()), "{bytes:?}");
    assert_eq!(remote(&["log", "-1", "--format=%s", "main"]), "first");
}

#[tokio::test]
async fn what_has_changed_since_it_was_planned_is_not_pushed() {
    let home = Home::new();
    let url = home.with_checkout();
    home.write("lesson3/new", "x");
    let snapshot = home.to_save(&[]).await.snapshot;
    home.write("lesson3/newer", "x");
    let ask = home.request(&url, snapshot, &[]);
    assert_eq!(kind(home.ask::<Option<String>>(&Ask::Save(&ask)).await), Kind::Changed);
    assert_eq!(home.git("remote.git", &["for-each-ref", "refs/heads/dacapo"]), "");
    let elsewhere = home.request("git@else:x.git", ask.snapshot.clone(), &[]);
    assert_eq!(kind(home.ask::<Option<String>>(&Ask::Save(&elsewhere)).await), Kind::Occupied);
}

#[tokio::test]
async fn credentials_and_large_files_are_left_out_unless_they_are_named() {
    let home = Home::new();
    home.with_checkout();
    let refused = [
        ".aws/config",
        ".env",
        ".env.local",
        ".git-credentials",
        ".netrc",
        "CREDENTIALS.json",
        "Tls.PEM",
        "a/id_rsa",
        "a/kaggle.json",
        "client_secret.json",
        "id_ed25519",
        "my.key",
        "service-account-1.json",
    ];
    let harmless = [".env.example", "environment.yml", "id_rsa.pub", "keys.py", "monkey.txt"];
    for name in refused.into_iter().chain(harmless) {
        home.write(&format!("lesson3/{name}"), "x");
    }
    std::fs::File::create(home.path("lesson3/large")).unwrap().set_len(100_000_001).unwrap();
    let mut left: Vec<String> = Vec::new();
    let checkout = home.to_save(&["a/kaggle.json"]).await;
    left.extend(checkout.dirty.iter().filter(|one| one.refused.is_some()).map(|one| one.path.clone()));
    left.sort();
    let mut expected: Vec<_> =
        refused.into_iter().chain(["large"]).filter(|name| *name != "a/kaggle.json").collect();
    expected.sort_unstable();
    assert_eq!(left, expected);
    let mut taken = carried(&checkout);
    taken.sort_unstable();
    assert_eq!(
        taken,
        [".env.example", "a/kaggle.json", "environment.yml", "id_rsa.pub", "keys.py", "monkey.txt"]
    );
}

#[tokio::test]
async fn a_credential_in_what_a_name_leads_to_or_in_the_index_is_not_pushed() {
    let home = Home::new();
    home.with_checkout();
    home.write("lesson3/.env", "key");
    home.git("lesson3", &["add", ".env"]);
    home.git("lesson3", &["stash", "-q"]);
    home.write("lesson3/.env", "key");
    home.git("lesson3", &["add", ".env"]);
    std::fs::remove_file(home.path("lesson3/.env")).unwrap();
    let checkout = home.to_save(&[]).await;
    let stash = checkout.tips.iter().find(|tip| tip.name == "stash@{0}").unwrap();
    assert_eq!(stash.refused.as_deref(), Some("`.env` in it: its name is one that credentials have"));
    assert_eq!((carried(&checkout), checkout.snapshot.clone()), (vec![], None));
    let named = home.to_save(&[".env"]).await;
    assert!(named.snapshot.is_some() && named.tips.iter().all(|tip| tip.refused.is_none()), "{named:?}");
}
