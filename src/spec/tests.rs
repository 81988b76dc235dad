//! What a spec may hold, and the words for what it may not.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const FULL: &str = r#"name  = "lesson3"
state = "running"
store = "dropbox:/fastai/lesson3"
disposable = ["data/raw/**"]

[instance]
type     = ["1RTX6000ADA.10V", "1L40S.20V"]
location = ["FIN-03", "FIN-01"]
image    = "ubuntu-24.04-cuda-13.0-open-docker"
ssh_key  = "~/.ssh/id_ed25519.pub"
os_volume = { size_gb = 100 }

[repo]
url    = "git@github.com:me/lesson3.git"
branch = "main"
path   = "lesson3"

[artifacts.model]
path     = "export.pkl"
version  = "latest"
compress = "gzip"
"#;

const SMALL: &str = r#"name = "lesson3"
[instance]
type = "1V100.6V"
image = "ubuntu-24.04"
ssh_key = "keys/id.pub"
[repo]
url = "https://git.example:8443/me/lesson3.git/"
"#;

/// Overrides of `FULL` that don't do.
const OVERRIDDEN: &[&str] = &[
    "state=asbent",
    "instance.typ=1V100.6V",
    "instance.os_volume.size_gb=large",
    "instance.os_volume=10",
    "name.first=a",
    "repo.branch=2026",
    "repo.url=https://me:hunter2@github.com/me/lesson3",
    "disposable=[\"/\"]",
    "limits.deadline=8",
    "artifacts.other.version=none",
];

/// What isn't an override at all.
const NO_OVERRIDE: &[&str] =
    &["", "state", "state=", "=absent", "a..b=c", "a b=c", "disposable=[data]", "name=\"a\" b"];

fn set(texts: &[&str]) -> Vec<Override> {
    texts.iter().map(|text| Override::parse(text).unwrap()).collect()
}

fn explained(text: &str, overrides: &[Override]) -> String {
    let mistakes = parse(text, overrides).expect_err(text);
    render("session.toml", text, overrides, &mistakes, false)
}

#[test]
fn a_full_file_says_what_it_says() {
    let spec = parse(FULL, &[]).unwrap();
    let expected = Spec {
        name: "lesson3".to_owned(),
        state: State::Running,
        store: Some(StorePath("/fastai/lesson3".to_owned())),
        disposable: vec!["data/raw/**".to_owned()],
        instance: Instance {
            types: vec!["1RTX6000ADA.10V".to_owned(), "1L40S.20V".to_owned()],
            locations: vec!["FIN-03".to_owned(), "FIN-01".to_owned()],
            image: "ubuntu-24.04-cuda-13.0-open-docker".to_owned(),
            ssh_key: "~/.ssh/id_ed25519.pub".to_owned(),
            os_volume_gb: 100,
            on_absent: DiskFate::Delete,
            market: Market::OnDemand,
        },
        repo: Repo {
            url: "git@github.com:me/lesson3.git".to_owned(),
            branch: "main".to_owned(),
            path: "lesson3".to_owned(),
            on_absent: OnAbsent::Refuse,
            save: Vec::new(),
        },
        limits: crate::facts::Limits::default(),
        notebook: None,
        setup: None,
        artifacts: BTreeMap::from([(
            "model".to_owned(),
            Artifact { path: "export.pkl".to_owned(), version: Wanted::Latest, compress: Compress::Gzip },
        )]),
    };
    assert_eq!(spec, expected);
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = parse(SMALL, &[]).unwrap();
    assert_eq!(spec.state, State::Running);
    assert_eq!((spec.store, spec.disposable.len(), spec.artifacts.len()), (None, 0, 0));
    assert_eq!(spec.instance.types, ["1V100.6V"]);
    assert_eq!((spec.instance.locations.len(), spec.instance.os_volume_gb), (0, 100));
    assert_eq!((spec.repo.branch.as_str(), spec.repo.path.as_str()), ("main", "lesson3"));

    let with = format!("store = \"dropbox:\"\n{SMALL}[artifacts.m]\npath = \"a/b.bin\"\n");
    let spec = parse(&with, &[]).unwrap();
    let artifact = &spec.artifacts["m"];
    assert_eq!(
        (artifact.file_name(), &artifact.version, artifact.compress),
        ("b.bin", &Wanted::Latest, Compress::None)
    );
    assert_eq!(spec.store.unwrap().as_str(), "");
}

#[test]
fn a_spec_is_shown_in_the_words_it_was_written_in() {
    let spec = serde_json::to_value(parse(FULL, &[]).unwrap()).unwrap();
    assert_eq!(spec["store"], "dropbox:/fastai/lesson3");
    assert_eq!(
        spec["artifacts"]["model"],
        serde_json::json!({"path": "export.pkl", "version": "latest", "compress": "gzip"})
    );
}

#[test]
fn every_url_that_git_may_be_asked_with_is_accepted() {
    for (url, path) in [
        ("git@github.com:me/lesson3.git", "lesson3"),
        ("git@github.com:lesson3", "lesson3"),
        ("me+work@git_host.example:~me/a.b", "a.b"),
        ("ssh://git@127.77.0.1:2222/me/lesson3.git", "lesson3"),
        ("ssh://git.example/lesson3/", "lesson3"),
        ("https://github.com/me/lesson3", "lesson3"),
        ("https://github.com:443/me/lesson3@v1.git", "lesson3@v1"),
    ] {
        let spec = parse(&SMALL.replace("https://git.example:8443/me/lesson3.git/", url), &[]);
        assert_eq!(spec.map(|spec| spec.repo.path).as_deref(), Ok(path), "{url}");
    }
}

#[test]
fn every_kind_of_version_is_told_from_the_others() {
    let hash = ContentHash::of(b"model");
    for (text, wanted) in [
        ("none".to_owned(), Wanted::None),
        (format!("content:{hash}"), Wanted::Content(hash)),
        ("2026-01-02_export.pkl.gz".to_owned(), Wanted::Named("2026-01-02_export.pkl.gz".to_owned())),
    ] {
        let spec = parse(&FULL.replace("latest", &text), &[]).unwrap();
        assert_eq!(spec.artifacts["model"].version, wanted);
        assert_eq!(wanted.to_string(), text);
    }
}

#[test]
fn branches_that_git_accepts_are_accepted() {
    for branch in ["main", "feature/été", "a.b", "a@b", "@a", "a-b", "a{b", "lock", "a.locks", "1", "HEAD2"]
    {
        let spec = parse(&FULL.replace("\"main\"", &format!("'{branch}'")), &[]).unwrap();
        assert_eq!(spec.repo.branch, branch);
    }
}

#[test]
fn an_override_is_explained_like_the_file() {
    let mut shown = String::new();
    for text in OVERRIDDEN {
        let rendered = explained(FULL, &set(&[text]));
        assert!(rendered.contains("--> --set:1:") && rendered.contains("\nhint: "), "{rendered}");
        assert!(!rendered.contains("hunter2"), "{rendered}");
        writeln!(shown, "===== --set {text}\n{rendered}\n").unwrap();
    }
    for text in NO_OVERRIDE {
        let mistake = Override::parse(text).expect_err(text);
        writeln!(
            shown,
            "===== --set {text}\n{}: {}\nhint: {}\n",
            mistake.message,
            mistake.label,
            mistake.hint.unwrap()
        )
        .unwrap();
    }
    insta::assert_snapshot!("overridden", shown);
}

#[test]
fn five_mistakes_give_five_diagnostics_in_the_order_of_the_file() {
    let text = FULL
        .replace("name  = \"lesson3\"", "name  = \"Lesson\"")
        .replace("1L40S.20V", "1L40S 20V")
        .replace("size_gb = 100", "size_gb = 5")
        .replace("branch =", "brunch =")
        .replace("\"gzip\"", "\"zip\"");
    let mistakes = parse(&text, &set(&["state=off"])).unwrap_err();
    let messages: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "`name` is not a host name",
            "`instance.type` is not one word",
            "`instance.os_volume.size_gb` is out of range",
            "unknown key `repo.brunch`",
            "`artifacts.model.compress` cannot be `\"zip\"`",
            "`state` cannot be `\"off\"`",
        ]
    );
    assert_eq!(mistakes[5].origin, Origin::Override(0));
}

#[test]
fn a_syntax_error_hides_neither_other_mistakes_nor_invents_any() {
    let text = FULL
        .replace("\"lesson3\"\nstate", "lesson3\nstate")
        .replace("gzip", "zip")
        .replace("image ", "images");
    let mistakes = parse(&text, &[]).unwrap_err();
    let messages: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a string needs quotes",
            "unknown key `instance.images`",
            "`artifacts.model.compress` cannot be `\"zip\"`",
        ]
    );
}

#[test]
fn what_a_syntax_error_swallowed_is_no_mistake_of_its_own() {
    for (from, to) in [
        ("{ size_gb = 100 }", "{ size_gb = 100"),
        ("{ size_gb = 100 }", "{ size_gb = 100,"),
        ("\"1L40S.20V\"]", "\"1L40S.20V\""),
        ("[repo]", "[repo"),
        ("[repo]", "[repo x]\nname = 1"),
        ("[repo]", "repo]"),
        ("[repo]", "[instance]"),
        ("[instance]", "[[instance]"),
        ("[artifacts.model]", "[artifacts.]"),
        ("[artifacts.model]", "[artifacts.modèle]"),
        ("\"main\"", "\"\"\"main"),
        ("\"main\"", "'''main"),
    ] {
        let mistakes = parse(&FULL.replacen(from, to, 1), &[]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{to}: {mistakes:#?}");
    }
}

#[test]
fn an_override_replaces_what_the_file_says_right_or_wrong() {
    let wrong = FULL.replace("\"lesson3\"\nstate = \"running\"", "3\nstate = \"on\"");
    let overrides = [
        Override::parse("name=first").unwrap(),
        Override::parse(" name = 'lesson4' ").unwrap(),
        Override::state(State::Absent),
        Override::parse("instance.type=1V100.6V").unwrap(),
        Override::parse("instance.location=[\"FIN-02\"]").unwrap(),
        Override::parse("instance.os_volume.size_gb=200").unwrap(),
        Override::parse("store=dropbox:/else where").unwrap(),
        Override::parse("artifacts.log.path=log.txt").unwrap(),
    ];
    let spec = parse(&wrong, &overrides).unwrap();
    assert_eq!((spec.name.as_str(), spec.state), ("lesson4", State::Absent));
    assert_eq!(
        (spec.instance.types, spec.instance.locations),
        (vec!["1V100.6V".to_owned()], vec!["FIN-02".to_owned()])
    );
    assert_eq!((spec.instance.os_volume_gb, spec.store.unwrap().as_str()), (200, "/else where"));
    assert_eq!(spec.artifacts.keys().collect::<Vec<_>>(), ["log", "model"]);
    assert_eq!(Override::state(State::Absent), Override::parse("state=absent").unwrap());
}

#[test]
fn a_secret_in_the_file_is_never_repeated() {
    for (text, shown) in [
        ("token = \"hunter2\"\n", false),
        ("token = hunter2\n", false),
        ("[repo]\nurl = https://me:hunter2@github.com/me/x\n", false),
        ("a = { password = 'hunter2', b = 1 }\n", false),
        ("\"client.secret\" = \"hunter2\"\n", false),
        ("[repo]\nuri = \"https://hunter2@github.com/me/x\"\n", false),
        ("[repo]\nuri = \"https://github.com/me/x\" # https://me:hunter2@github.com\n", false),
        ("[instance]\nssh_key = \"\"\"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n\"\"\"\n", false),
        ("tokenizer = \"hunter2\"\n", true),
        ("[repo]\nuri = \"git@hunter2:me/x@v1\"\n", true),
        ("stor = \"dropbox:/hunter2@work\"\n", true),
    ] {
        let rendered = explained(text, &[]);
        assert_eq!(rendered.contains("hunter2"), shown, "{rendered}");
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    let mistakes = parse(SMALL.trim_start_matches("name"), &[]).unwrap_err();
    let coloured = render("session.toml", SMALL, &[], &mistakes, true);
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    let plain = render("session.toml", SMALL, &[], &mistakes, false);
    assert_eq!(console::strip_ansi_codes(&coloured), plain);
}

#[test]
fn the_place_is_exact_unless_escapes_make_that_impossible() {
    let place = |text: &str| {
        let text = format!("name = {text}\n{}", SMALL.split_once('\n').unwrap().1);
        let span = parse(&text, &[]).unwrap_err()[0].span.clone().unwrap();
        text[span].to_owned()
    };
    assert_eq!(place("\"les_son\""), "_");
    assert_eq!(place("'''les_son'''"), "_");
    assert_eq!(place("\"les\\u005Fson\""), "\"les\\u005Fson\"");
}

#[test]
fn the_nearest_word_is_near_or_begins_alike() {
    let images = ["ubuntu-22.04", "ubuntu-24.04-cuda-13.0-open", "ubuntu-24.04-cuda-13.0-open-docker"];
    assert_eq!(nearest("ubunto-22.04", images), Some("ubuntu-22.04"));
    assert_eq!(nearest("ubuntu-24.04", images), Some("ubuntu-22.04"));
    assert_eq!(nearest("ubuntu-24.04-cuda", images), Some("ubuntu-24.04-cuda-13.0-open"));
    assert_eq!(nearest("1v100.6v", ["1V100.6V", "1V100.6"]), Some("1V100.6V"));
    assert_eq!(nearest("FIN-3", ["FIN-01", "FIN-03"]), Some("FIN-03"));
    assert_eq!(nearest("windows", images), None);
    assert_eq!(nearest("", ["a", "bcd"]), Some("a"));
    assert_eq!(nearest("x", []), None);
}

proptest! {
    #[test]
    fn any_text_is_read_and_explained_without_panic(text in "(?s)[\\PC\n\r\t\"'\\[\\]{}=.#]{0,200}") {
        explains_itself(&text)?;
    }

    #[test]
    fn a_valid_file_with_pieces_cut_and_put_in_is_read_and_explained_without_panic(
        cuts in proptest::collection::vec((0..600_usize, 0..30_usize, "[\\PC\n\"'\\[\\]{}=.#0-9-]{0,6}"), 1..5)
    ) {
        let mut text = FULL.to_owned();
        for (at, length, piece) in cuts {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        explains_itself(&text)?;
    }

    #[test]
    fn any_override_is_read_and_explained_without_panic(text in "(name|state|instance\\.type|[a-z.]{0,9})=?\\PC{0,30}") {
        if let Ok(one) = Override::parse(&text) {
            prop_assert_eq!(one.text(), &text);
            let overrides = [one];
            if let Err(mistakes) = parse(FULL, &overrides) {
                prop_assert!(!mistakes.is_empty());
                render("session.toml", FULL, &overrides, &mistakes, true);
            }
        }
    }
}

fn explains_itself(text: &str) -> Result<(), TestCaseError> {
    if let Err(mistakes) = parse(text, &[]) {
        prop_assert!(!mistakes.is_empty());
        for mistake in &mistakes {
            let span = mistake.span.clone().expect("every mistake has a place");
            prop_assert!(text.get(span).is_some(), "{:?}", mistake);
        }
        render("session.toml", text, &[], &mistakes, false);
    }
    Ok(())
}

#[test]
fn a_spec_that_is_written_down_reads_the_same() {
    let full = parse(FULL, &[]).unwrap();
    assert_eq!(parse(&full.to_toml(), &[]), Ok(full.clone()));
    let limits = set(&["limits.deadline=1d90m", "limits.max_cost=9.5", "limits.protect=true"]);
    let limited = parse(FULL, &limits).unwrap();
    assert_eq!(limited.limits.deadline.to_string(), "1d1h30m");
    assert_eq!(parse(&limited.to_toml(), &[]), Ok(limited));
    let disk = set(&["instance.os_volume.on_absent=keep", "instance.market=spot", "state=absent"]);
    let kept = parse(FULL, &disk).unwrap();
    assert_eq!(parse(&kept.to_toml(), &[]), Ok(kept));
}
