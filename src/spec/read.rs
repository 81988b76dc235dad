//! From the tree to a `Spec`: which keys there are, what kind of value each takes, and what must not be
//! missing. Every mistake is noted and reading goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::check::{self, Checked, Fault, escaped};
use super::tree::{Entry, Node, Place, Table, Value};
use super::{
    Artifact, Compress, Diagnostic, DiskFate, Instance, MOST_STEPS, NOTEBOOK_PORT, Notebook, NotebookKind,
    OS_VOLUME_GB, OS_VOLUME_LIMITS_GB, OnAbsent, Origin, Override, Repo, SetUp, Spec, State, StorePath,
    Wanted, nearest,
};
use crate::facts::{Limits, Money};
use crate::world::Market;

/// The keys of one table.
struct Keys {
    /// How messages name the table; empty for the file itself.
    table: &'static str,
    /// What is read.
    known: &'static [&'static str],
}

const ROOT: Keys = Keys {
    table: "",
    known: &[
        "name",
        "state",
        "store",
        "disposable",
        "instance",
        "repo",
        "artifacts",
        "limits",
        "setup",
        "notebook",
    ],
};
const INSTANCE: Keys =
    Keys { table: "instance", known: &["type", "location", "image", "ssh_key", "os_volume", "market"] };
const OS_VOLUME: Keys = Keys { table: "instance.os_volume", known: &["size_gb", "on_absent"] };
const REPO: Keys = Keys { table: "repo", known: &["url", "branch", "path", "on_absent", "save"] };
const LIMITS: Keys =
    Keys { table: "limits", known: &["deadline", "max_price_per_hour", "max_cost", "protect"] };
const SETUP: Keys = Keys { table: "setup", known: &["run", "inputs", "timeout"] };
const NOTEBOOK: Keys = Keys { table: "notebook", known: &["port", "kind", "directory", "packages"] };
const ARTIFACT: Keys = Keys { table: "artifacts.NAME", known: &["path", "version", "compress"] };

/// Those below are the system's.
const LOWEST_PORT: u16 = 1024;

/// No session costs more.
const LARGEST_AMOUNT: f64 = 1_000_000.0;

/// Reads one tree and notes what is wrong with it.
pub(super) struct Reader<'a> {
    text: &'a str,
    overrides: &'a [Override],
    /// Whether the whole file could be read, so that what isn't in the tree really is missing.
    whole: bool,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        overrides: &'a [Override],
        whole: bool,
        mistakes: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self { text, overrides, whole, mistakes }
    }

    /// Returns the spec unless something it can't do without is missing or wrong; whether anything else
    /// was wrong is told by the mistakes alone.
    pub(super) fn spec(mut self, mut root: Table) -> Option<Spec> {
        let top = Place { origin: Origin::File, span: 0..0 };
        let name =
            self.required(&mut root, "name", &top, "write `name = \"lesson3\"`, the session's own name");
        let name = name.and_then(|entry| self.checked("name", &entry.node, check::name));
        let state = match root.remove("state") {
            Some(entry) => {
                self.choice("state", &entry.node, &[("running", State::Running), ("absent", State::Absent)])
            }
            None => Some(State::Running),
        };
        let wants_store = root.get("artifacts").and_then(first_of).filter(|_| !root.contains_key("store"));
        if let Some(place) = wants_store {
            self.missing(
                &place,
                "artifacts need a store",
                "kept where?",
                "write `store = \"dropbox:/…\"` above the first section",
            );
        }
        let store = root.remove("store").and_then(|entry| self.store(&entry.node));
        let disposable = root.remove("disposable");
        let disposable = disposable.map_or(Some(Vec::new()), |entry| self.globs(&entry.node));
        let instance = self
            .section(&mut root, "instance", "`type`, `image` and `ssh_key`")
            .and_then(|(at, table)| self.instance(&at, table));
        let repo = self.section(&mut root, "repo", "`url`").and_then(|(at, table)| self.repo(&at, table));
        let artifacts = root.remove("artifacts");
        let artifacts = artifacts.map_or(Some(BTreeMap::new()), |entry| self.artifacts(entry.node));
        let limits = root.remove("limits");
        let limits = limits.map_or(Some(Limits::default()), |entry| self.limits(entry.node));
        let setup = root.remove("setup");
        let setup = setup.map_or(Some(None), |entry| self.setup(entry).map(Some));
        let notebook = root.remove("notebook");
        let notebook = notebook.map_or(Some(None), |entry| self.notebook(entry.node).map(Some));
        self.leftovers(&ROOT, "", root);
        Some(Spec {
            name: name?,
            state: state?,
            store,
            disposable: disposable?,
            instance: instance?,
            repo: repo?,
            artifacts: artifacts?,
            limits: limits?,
            setup: setup?,
            notebook: notebook?,
        })
    }

    fn limits(&mut self, node: Node) -> Option<Limits> {
        let Value::Table(mut table) = node.value else {
            let hint = "write `[limits]`, and `deadline = \"8h\"` below it";
            return self.wrong_type("limits", &node, "a table", hint);
        };
        let deadline = match table.remove("deadline") {
            Some(entry) => self.checked_as("limits.deadline", &entry.node, check::deadline),
            None => Some(Limits::default().deadline),
        };
        let mut amount = |key: &str| match table.remove(last_of(key)) {
            Some(entry) => self.amount(key, &entry.node).map(Some),
            None => Some(None),
        };
        let (max_price_per_hour, max_cost) = (amount("limits.max_price_per_hour"), amount("limits.max_cost"));
        let protect = match table.remove("protect") {
            Some(Entry { node: Node { value: Value::Boolean(is), .. }, .. }) => Some(is),
            Some(entry) => {
                self.wrong_type("limits.protect", &entry.node, "a boolean", "write `protect = true`")
            }
            None => Some(false),
        };
        self.leftovers(&LIMITS, "limits", table);
        Some(Limits {
            deadline: deadline?,
            max_price_per_hour: max_price_per_hour?,
            max_cost: max_cost?,
            protect: protect?,
        })
    }

    fn setup(&mut self, entry: Entry) -> Option<SetUp> {
        let node = entry.node;
        let Value::Table(mut table) = node.value else {
            let hint = "write `[setup]`, and `run = [\"pip install -r requirements.txt\"]` below it";
            return self.wrong_type("setup", &node, "a table", hint);
        };
        let hint = "write `run = [\"pip install -r requirements.txt\"]`, or leave `[setup]` out";
        let run = self.required(&mut table, "setup.run", &entry.key, hint);
        let run = run.and_then(|entry| self.steps(&entry.node));
        let inputs = table.remove("inputs");
        let inputs = inputs.map_or(Some(Vec::new()), |entry| self.inputs(&entry.node));
        let timeout = match table.remove("timeout") {
            Some(entry) => self.checked_as("setup.timeout", &entry.node, check::timeout),
            None => check::timeout("1h").ok(),
        };
        self.leftovers(&SETUP, "setup", table);
        Some(SetUp { run: run?, inputs: inputs?, timeout: timeout? })
    }

    fn steps(&mut self, node: &Node) -> Option<Vec<String>> {
        let key = "setup.run";
        let Value::List(items) = &node.value else {
            let hint = "write `run = [\"pip install -r requirements.txt\"]`, a command for each step";
            return self.wrong_type(key, node, "a list", hint);
        };
        if items.is_empty() {
            let hint = "name at least one command, or leave `[setup]` out";
            self.note(
                &node.place,
                format!("`{key}` is an empty list"),
                "expected at least one command",
                hint,
            );
            return None;
        }
        self.few(key, node, items.len())?;
        let steps: Vec<_> = items.iter().map(|item| self.checked(key, item, check::step)).collect();
        steps.into_iter().collect()
    }

    fn inputs(&mut self, node: &Node) -> Option<Vec<String>> {
        let key = "setup.inputs";
        let Value::List(items) = &node.value else {
            return self.wrong_type(key, node, "a list", "write `inputs = [\"requirements.txt\"]`");
        };
        self.few(key, node, items.len())?;
        let inputs: Vec<_> = items.iter().map(|item| self.checked(key, item, check::input)).collect();
        let inputs: Option<BTreeSet<String>> = inputs.into_iter().collect();
        inputs.map(|inputs| inputs.into_iter().collect())
    }

    fn few(&mut self, key: &str, node: &Node, count: usize) -> Option<()> {
        if count > MOST_STEPS {
            let hint = "put what belongs together into a script of the repo, and run that";
            let label = format!("{count}; at most {MOST_STEPS} are allowed");
            self.note(&node.place, format!("`{key}` is too long"), label, hint);
            return None;
        }
        Some(())
    }

    fn notebook(&mut self, node: Node) -> Option<Notebook> {
        let Value::Table(mut table) = node.value else {
            let hint = "write `[notebook]`; every key below it may be left out";
            return self.wrong_type("notebook", &node, "a table", hint);
        };
        let port = match table.remove("port") {
            Some(entry) => self.port("notebook.port", &entry.node),
            None => Some(NOTEBOOK_PORT),
        };
        let kind = match table.remove("kind") {
            Some(entry) => {
                self.choice("notebook.kind", &entry.node, &[("jupyter-lab", NotebookKind::JupyterLab)])
            }
            None => Some(NotebookKind::default()),
        };
        let directory = match table.remove("directory") {
            Some(entry) => self.checked("notebook.directory", &entry.node, check::notebook_directory),
            None => Some(".".to_owned()),
        };
        let packages = table.remove("packages");
        let packages = packages.map_or(Some(Vec::new()), |entry| self.packages(&entry.node));
        self.leftovers(&NOTEBOOK, "notebook", table);
        Some(Notebook { port: port?, kind: kind?, directory: directory?, packages: packages? })
    }

    fn port(&mut self, key: &str, node: &Node) -> Option<u16> {
        let Value::Integer(port) = node.value else {
            let hint = format!("write a number without quotes, such as `port = {NOTEBOOK_PORT}`");
            return self.wrong_type(key, node, "a whole number", hint);
        };
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port >= LOWEST_PORT);
        if port.is_none() {
            self.note(
                &node.place,
                format!("`{key}` is out of range"),
                format!("expected {LOWEST_PORT} to 65535"),
                format!("write a port that nothing else uses, such as `port = {NOTEBOOK_PORT}`"),
            );
        }
        port
    }

    fn packages(&mut self, node: &Node) -> Option<Vec<String>> {
        let key = "notebook.packages";
        let Value::List(items) = &node.value else {
            return self.wrong_type(key, node, "a list", "write `packages = [\"pandas\"]`");
        };
        let packages: Vec<_> = items.iter().map(|item| self.checked(key, item, check::package)).collect();
        let packages: Option<BTreeSet<String>> = packages.into_iter().collect();
        packages.map(|packages| packages.into_iter().collect())
    }

    /// An amount of the account's currency.
    fn amount(&mut self, key: &str, node: &Node) -> Option<Money> {
        let units = match node.value {
            Value::Decimal(units) => units,
            Value::Integer(Some(units)) => units as f64,
            _ => {
                let hint = format!("write an amount without quotes, such as `{} = 1.60`", last_of(key));
                return self.wrong_type(key, node, "a number", hint);
            }
        };
        let amount = Money::from_units(units);
        if amount > Money::default() && units <= LARGEST_AMOUNT {
            return Some(amount);
        }
        self.note(
            &node.place,
            format!("`{key}` is out of range"),
            format!("expected more than 0, and at most {LARGEST_AMOUNT}"),
            format!("write an amount in the account's currency, such as `{} = 1.60`", last_of(key)),
        );
        None
    }

    fn instance(&mut self, at: &Place, mut table: Table) -> Option<Instance> {
        let types = self.required(
            &mut table,
            "instance.type",
            at,
            "write `type = \"1V100.6V\"`, or a list in order of preference",
        );
        let types = types.and_then(|entry| self.words("instance.type", &entry.node));
        let locations = table.remove("location");
        let locations =
            locations.map_or(Some(Vec::new()), |entry| self.words("instance.location", &entry.node));
        let image = self.required(
            &mut table,
            "instance.image",
            at,
            "write `image = \"ubuntu-24.04-cuda-13.0-open-docker\"`",
        );
        let image = image.and_then(|entry| self.checked("instance.image", &entry.node, check::word));
        let ssh_key =
            self.required(&mut table, "instance.ssh_key", at, "write `ssh_key = \"~/.ssh/id_ed25519.pub\"`");
        let ssh_key = ssh_key.and_then(|entry| self.checked("instance.ssh_key", &entry.node, check::ssh_key));
        let os_volume = match table.remove("os_volume") {
            Some(entry) => self.os_volume(entry.node),
            None => Some((OS_VOLUME_GB, DiskFate::Delete)),
        };
        let markets = [("on-demand", Market::OnDemand), ("spot", Market::Spot)];
        let market = match table.remove("market") {
            Some(entry) => self.choice("instance.market", &entry.node, &markets),
            None => Some(Market::OnDemand),
        };
        self.leftovers(&INSTANCE, "instance", table);
        Some(Instance {
            types: types?,
            locations: locations?,
            image: image?,
            ssh_key: ssh_key?,
            os_volume_gb: os_volume?.0,
            on_absent: os_volume?.1,
            market: market?,
        })
    }

    fn os_volume(&mut self, node: Node) -> Option<(u32, DiskFate)> {
        let key = "instance.os_volume";
        let Value::Table(mut table) = node.value else {
            let hint = match node.value {
                Value::Integer(Some(size)) => format!("write `os_volume = {{ size_gb = {size} }}`"),
                _ => format!("write `os_volume = {{ size_gb = {OS_VOLUME_GB} }}`"),
            };
            return self.wrong_type(key, &node, "a table", hint);
        };
        let size = match table.remove("size_gb") {
            Some(entry) => self.size(&entry.node),
            None => Some(OS_VOLUME_GB),
        };
        let fates = [("delete", DiskFate::Delete), ("keep", DiskFate::Keep)];
        let on_absent = match table.remove("on_absent") {
            Some(entry) => self.choice("instance.os_volume.on_absent", &entry.node, &fates),
            None => Some(DiskFate::Delete),
        };
        self.leftovers(&OS_VOLUME, key, table);
        Some((size?, on_absent?))
    }

    fn size(&mut self, node: &Node) -> Option<u32> {
        let key = "instance.os_volume.size_gb";
        let (least, most) = (OS_VOLUME_LIMITS_GB.start(), OS_VOLUME_LIMITS_GB.end());
        let Value::Integer(size) = node.value else {
            let hint = format!("write a number of GB without quotes, such as `size_gb = {OS_VOLUME_GB}`");
            return self.wrong_type(key, node, "a whole number", hint);
        };
        let size =
            size.and_then(|size| u32::try_from(size).ok()).filter(|size| OS_VOLUME_LIMITS_GB.contains(size));
        if size.is_none() {
            self.note(
                &node.place,
                format!("`{key}` is out of range"),
                format!("expected {least} to {most}"),
                format!("write a number of GB, such as `size_gb = {OS_VOLUME_GB}`"),
            );
        }
        size
    }

    fn repo(&mut self, at: &Place, mut table: Table) -> Option<Repo> {
        let written =
            self.required(&mut table, "repo.url", at, "write `url = \"git@github.com:me/lesson3.git\"`");
        let url = written.as_ref().and_then(|entry| self.checked("repo.url", &entry.node, check::url));
        let branch = match table.remove("branch") {
            Some(entry) => self.checked("repo.branch", &entry.node, check::branch),
            None => Some("main".to_owned()),
        };
        let path = match (table.remove("path"), &url, &written) {
            (Some(entry), _, _) => self.checked("repo.path", &entry.node, check::checkout),
            (None, Some(url), Some(written)) => self.default_path(url, &written.node),
            (None, _, _) => None,
        };
        let on_absent = match table.remove("on_absent") {
            Some(entry) => self.choice(
                "repo.on_absent",
                &entry.node,
                &[("refuse", OnAbsent::Refuse), ("save-branch", OnAbsent::SaveBranch)],
            ),
            None => Some(OnAbsent::Refuse),
        };
        let save = table.remove("save");
        let save = save.map_or(Some(Vec::new()), |entry| self.saved(&entry.node));
        self.leftovers(&REPO, "repo", table);
        Some(Repo { url: url?, branch: branch?, path: path?, on_absent: on_absent?, save: save? })
    }

    fn default_path(&mut self, url: &str, node: &Node) -> Option<String> {
        let folder = check::folder_of(url);
        if check::checkout(folder).is_ok() {
            return Some(folder.to_owned());
        }
        let hint = "write `path = \"…\"`, a folder under the login user's home";
        self.note(&node.place, "`repo.path` is missing", "its last part makes no good folder name", hint);
        None
    }

    fn artifacts(&mut self, node: Node) -> Option<BTreeMap<String, Artifact>> {
        let Value::Table(table) = node.value else {
            return self.wrong_type(
                "artifacts",
                &node,
                "tables",
                "write `[artifacts.model]`, and `path = \"export.pkl\"` below it",
            );
        };
        let mut artifacts = BTreeMap::new();
        let mut taken: Vec<(String, String, String)> = Vec::new();
        let mut sound = true;
        for (name, entry) in in_written_order(table) {
            let key = format!("artifacts.{}", escaped(&name));
            if let Err(fault) = check::artifact_name(&name) {
                self.fault(&format!("{key}`"), &entry.key, &name, fault);
                sound = false;
            }
            match self.artifact(&name, &key, entry, &mut taken) {
                Some(artifact) => {
                    artifacts.insert(name, artifact);
                }
                None => sound = false,
            }
        }
        sound.then_some(artifacts)
    }

    fn artifact(
        &mut self,
        name: &str,
        key: &str,
        entry: Entry,
        taken: &mut Vec<(String, String, String)>,
    ) -> Option<Artifact> {
        let Value::Table(mut table) = entry.node.value else {
            let hint = if ARTIFACT.known.contains(&name) {
                format!("give the artifact a name: `[artifacts.model]`, and `{name} = …` below it")
            } else {
                format!("write `[{key}]`, and `path = \"export.pkl\"` below it")
            };
            return self.wrong_type(key, &entry.node, "a table", hint);
        };
        let path_key = format!("{key}.path");
        let hint = "write `path = \"export.pkl\"`, a file of the checkout";
        let written = self.required(&mut table, &path_key, &entry.key, hint);
        let path = written.as_ref().and_then(|path| self.checked(&path_key, &path.node, check::artifact));
        if let (Some(path), Some(written)) = (&path, &written) {
            self.own_file(name, &path_key, path, &written.node.place, taken);
        }
        let version = match table.remove("version") {
            Some(entry) => self.checked_as(&format!("{key}.version"), &entry.node, check::version),
            None => Some(Wanted::Latest),
        };
        let packings = [("none", Compress::None), ("gzip", Compress::Gzip)];
        let compress = match table.remove("compress") {
            Some(entry) => self.choice(&format!("{key}.compress"), &entry.node, &packings),
            None => Some(Compress::None),
        };
        self.leftovers(&ARTIFACT, key, table);
        Some(Artifact { path: path?, version: version?, compress: compress? })
    }

    /// Stored versions are named after the file alone, `.gz` behind it when packed, and the store folds
    /// case: two artifacts that would share those names are refused.
    fn own_file(
        &mut self,
        name: &str,
        key: &str,
        path: &str,
        place: &Place,
        taken: &mut Vec<(String, String, String)>,
    ) {
        let file = path.rsplit('/').next().unwrap_or(path).to_lowercase();
        let stem = file.strip_suffix(".gz").unwrap_or(&file).to_owned();
        let other = taken
            .iter()
            .find(|(_, _, known)| *known == stem || in_other_form(known, &stem))
            .map(|(name, path, known)| (escaped(name), path.as_str(), *known == stem));
        if let Some((other, known, same)) = other {
            let (message, label, hint) = if known == path {
                (
                    format!("`{key}` is also the path of `artifacts.{other}`"),
                    "the second one",
                    "keep one of them: a file is one artifact".to_owned(),
                )
            } else if !same {
                (
                    format!("`{key}` may have the file name of `artifacts.{other}`"),
                    "accents are letters with marks here, and single characters there",
                    "give one of the files another name: a store may take both spellings for one".to_owned(),
                )
            } else {
                (
                    format!("`{key}` has the file name of `artifacts.{other}`"),
                    "stored under the same name",
                    "give one of the files another name: versions are stored by file name, whatever its case or `.gz`".to_owned(),
                )
            };
            self.note(place, message, label, hint);
        }
        taken.push((name.to_owned(), path.to_owned(), stem));
    }

    fn store(&mut self, node: &Node) -> Option<StorePath> {
        self.checked_as("store", node, check::store)
    }

    fn globs(&mut self, node: &Node) -> Option<Vec<String>> {
        let Value::List(items) = &node.value else {
            return self.wrong_type("disposable", node, "a list", "write `disposable = [\"data/raw/**\"]`");
        };
        let globs: Vec<_> = items.iter().map(|item| self.checked("disposable", item, check::glob)).collect();
        globs.into_iter().collect()
    }

    fn saved(&mut self, node: &Node) -> Option<Vec<String>> {
        let Value::List(items) = &node.value else {
            return self.wrong_type("repo.save", node, "a list", "write `save = [\"data/big.bin\"]`");
        };
        let paths: Vec<_> = items.iter().map(|item| self.checked("repo.save", item, check::saved)).collect();
        paths.into_iter().collect()
    }

    /// One word or a list of them, none twice.
    fn words(&mut self, key: &str, node: &Node) -> Option<Vec<String>> {
        let last = last_of(key);
        let items = match &node.value {
            Value::String(_) => std::slice::from_ref(node),
            Value::List(items) => items,
            _ => {
                return self.wrong_type(
                    key,
                    node,
                    "a string or a list of strings",
                    format!("write `{last} = \"…\"` or `{last} = [\"…\", \"…\"]`"),
                );
            }
        };
        if items.is_empty() {
            let hint = match last {
                "location" => "name one, or leave `location` out for any".to_owned(),
                _ => format!("name at least one: `{last} = \"…\"`"),
            };
            self.note(&node.place, format!("`{key}` is an empty list"), "expected at least one name", hint);
            return None;
        }
        let mut words: Vec<String> = Vec::new();
        let mut sound = true;
        for item in items {
            match self.checked(key, item, check::word) {
                Some(word) if words.contains(&word) => {
                    self.note(
                        &item.place,
                        format!("`{key}` names `{}` twice", escaped(&word)),
                        "the second one",
                        "leave it out: the first one sets its rank",
                    );
                    sound = false;
                }
                Some(word) => words.push(word),
                None => sound = false,
            }
        }
        sound.then_some(words)
    }

    fn choice<T: Copy>(&mut self, key: &str, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let listed = choices.iter().map(|(word, _)| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ");
        let Value::String(text) = &node.value else {
            return self.wrong_type(key, node, "a string", format!("write {listed}"));
        };
        if let Some((_, value)) = choices.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let hint = match nearest(text, choices.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean `\"{word}\"`?"),
            None => format!("write {listed}"),
        };
        self.note(
            &node.place,
            format!("`{key}` cannot be `\"{}\"`", escaped(text)),
            format!("expected {listed}"),
            hint,
        );
        None
    }

    fn checked(&mut self, key: &str, node: &Node, check: fn(&str) -> Checked) -> Option<String> {
        self.checked_as(key, node, |text| check(text).map(|()| text.to_owned()))
    }

    fn checked_as<T>(&mut self, key: &str, node: &Node, check: impl Fn(&str) -> Checked<T>) -> Option<T> {
        let Value::String(text) = &node.value else {
            let last = last_of(key);
            let hint = match key {
                "disposable" => "write every glob in quotes: `disposable = [\"data/raw/**\"]`".to_owned(),
                _ => format!("write it in quotes: `{last} = \"…\"`"),
            };
            return self.wrong_type(key, node, "a string", hint);
        };
        check(text).map_err(|fault| self.fault(&format!("{key}`"), &node.place, text, fault)).ok()
    }

    fn section(&mut self, root: &mut Table, key: &str, holds: &str) -> Option<(Place, Table)> {
        let end = self.text.trim_end().len();
        let bottom = Place { origin: Origin::File, span: end..end };
        let Some(entry) = root.remove(key) else {
            self.missing(
                &bottom,
                &format!("the section `[{key}]` is missing"),
                "expected it by here",
                &format!("write `[{key}]`, and below it {holds}"),
            );
            return None;
        };
        match entry.node.value {
            Value::Table(table) => Some((entry.node.place, table)),
            _ => {
                self.wrong_type(key, &entry.node, "a table", format!("write `[{key}]`, and below it {holds}"))
            }
        }
    }

    fn required(&mut self, table: &mut Table, full: &str, at: &Place, hint: &str) -> Option<Entry> {
        let key = last_of(full);
        let entry = table.remove(key);
        if entry.is_none() {
            self.missing(at, &format!("`{full}` is missing"), &format!("`{key}` belongs here"), hint);
        }
        entry
    }

    /// Notes what is missing, unless it may stand where the file couldn't be read.
    fn missing(&mut self, place: &Place, message: &str, label: &str, hint: &str) {
        if self.whole {
            self.note(place, message, label, hint);
        }
    }

    fn leftovers(&mut self, keys: &Keys, prefix: &str, table: Table) {
        for (key, entry) in in_written_order(table) {
            let shown = escaped(&key);
            let full = if prefix.is_empty() { shown.clone() } else { format!("{prefix}.{shown}") };
            let label = match keys.table {
                "" => "not a key of a spec".to_owned(),
                _ => format!("not a key of `{prefix}`"),
            };
            self.note(&entry.key, format!("unknown key `{full}`"), label, unknown(keys, &key));
        }
    }

    fn wrong_type<T>(
        &mut self,
        key: &str,
        node: &Node,
        expected: &str,
        hint: impl Into<String>,
    ) -> Option<T> {
        let found = node.value.kind();
        self.note(
            &node.place,
            format!("`{key}` must be {expected}, not {found}"),
            format!("this is {found}"),
            hint,
        );
        None
    }

    /// Notes a fault of `text`, which was written at `place`; `key` comes with its closing backtick.
    fn fault(&mut self, key: &str, place: &Place, text: &str, fault: Fault) {
        let place = self.narrowed(place, text, &fault.at);
        self.note(&place, format!("`{key} {}", fault.says), fault.label, fault.hint);
    }

    /// Finds the bytes of the source that `at` of the text stands for, where no escapes lie between.
    fn narrowed(&self, place: &Place, text: &str, at: &Range<usize>) -> Place {
        let source = match place.origin {
            Origin::File => self.text,
            Origin::Override(index) => self.overrides[index].text(),
        };
        let written = source.get(place.span.clone()).unwrap_or_default();
        let quote = written.find(text).filter(|quote| written.len() == text.len() + 2 * quote);
        match quote {
            Some(quote) if !at.is_empty() => {
                let start = place.span.start + quote;
                Place { origin: place.origin, span: start + at.start..start + at.end }
            }
            _ => place.clone(),
        }
    }

    fn note(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        label: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.mistakes.push(place.diagnostic(message, label, hint));
    }
}

/// What to say of a key that its table doesn't have.
fn unknown(keys: &Keys, key: &str) -> String {
    if secret(key) {
        return "leave it out: credentials come from the environment, never from this file".to_owned();
    }
    if let Some(near) = nearest(key, keys.known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = [&ROOT, &INSTANCE, &REPO, &LIMITS, &SETUP, &NOTEBOOK, &ARTIFACT]
        .into_iter()
        .find(|other| other.known.contains(&key));
    match elsewhere {
        Some(Keys { table: "", .. }) => format!("write `{key}` above the first section"),
        Some(other) => format!("write `{key}` in `[{}]`", other.table),
        None => format!("leave it out, or write one of {}", listed(keys.known)),
    }
}

/// Whether a key's name says that its value is a secret.
pub(super) fn secret(key: &str) -> bool {
    key.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| ["secret", "token", "password", "passphrase", "credentials"].contains(&word))
}

/// Whether two names may be one in two Unicode forms: alike but for accents, which only one of them composes
/// of letters and marks. Telling for sure takes tables.
fn in_other_form(a: &str, b: &str) -> bool {
    let is_mark = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
    let plain = |text: &str| {
        let mut letters: Vec<char> = Vec::new();
        for c in text.chars() {
            if is_mark(c) {
                letters.pop();
            } else if c.is_ascii() {
                letters.push(c);
            }
        }
        letters
    };
    a.contains(is_mark) != b.contains(is_mark) && plain(a) == plain(b)
}

fn last_of(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn in_written_order(table: Table) -> Vec<(String, Entry)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(_, entry)| (entry.key.origin, entry.key.span.start));
    entries
}

/// The key of a table's first entry.
fn first_of(entry: &Entry) -> Option<Place> {
    match &entry.node.value {
        Value::Table(table) => {
            table.values().map(|entry| &entry.key).min_by_key(|key| (key.origin, key.span.start)).cloned()
        }
        _ => None,
    }
}
