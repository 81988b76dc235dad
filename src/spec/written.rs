//! A spec as the text of a session.toml: what the record keeps for whoever ends a session without its file.

use toml::{Table, Value};

use super::{Artifact, Compress, DiskFate, Instance, Notebook, OnAbsent, Repo, SetUp, Spec};
use crate::facts::{Limits, Money};

impl Spec {
    /// Returns the lines of [`Spec::to_toml`].
    pub fn to_lines(&self) -> Vec<String> {
        self.to_toml().lines().map(str::to_owned).collect()
    }

    /// Returns a session.toml that says the same, overrides included.
    pub fn to_toml(&self) -> String {
        let Self { name, state, store, disposable, instance, repo, artifacts, limits, setup, notebook } =
            self;
        let mut root = table([("name", name.clone().into()), ("state", state.as_str().into())]);
        if let Some(store) = store {
            root.insert("store".to_owned(), store.to_string().into());
        }
        if !disposable.is_empty() {
            root.insert("disposable".to_owned(), disposable.clone().into());
        }
        root.insert("instance".to_owned(), written_instance(instance).into());
        root.insert("limits".to_owned(), written_limits(limits).into());
        root.insert("repo".to_owned(), written_repo(repo).into());
        let artifacts: Table =
            artifacts.iter().map(|(name, one)| (name.clone(), written(one).into())).collect();
        if !artifacts.is_empty() {
            root.insert("artifacts".to_owned(), artifacts.into());
        }
        if let Some(SetUp { run, inputs, timeout }) = setup {
            let mut written = table([("run", run.clone().into()), ("timeout", timeout.to_string().into())]);
            if !inputs.is_empty() {
                written.insert("inputs".to_owned(), inputs.clone().into());
            }
            root.insert("setup".to_owned(), written.into());
        }
        if let Some(notebook) = notebook {
            root.insert("notebook".to_owned(), written_notebook(notebook).into());
        }
        toml::to_string(&root).expect("a spec holds only texts, numbers and tables")
    }
}

fn written_instance(instance: &Instance) -> Table {
    let Instance { types, locations, image, ssh_key, os_volume_gb, on_absent, market } = instance;
    let fate = match on_absent {
        DiskFate::Delete => "delete",
        DiskFate::Keep => "keep",
    };
    let disk = table([("size_gb", i64::from(*os_volume_gb).into()), ("on_absent", fate.into())]);
    let mut written = table([
        ("type", types.clone().into()),
        ("image", image.clone().into()),
        ("ssh_key", ssh_key.clone().into()),
        ("os_volume", disk.into()),
        ("market", market.as_str().into()),
    ]);
    if !locations.is_empty() {
        written.insert("location".to_owned(), locations.clone().into());
    }
    written
}

fn written_repo(repo: &Repo) -> Table {
    let Repo { url, branch, path, on_absent, save } = repo;
    let fate = match on_absent {
        OnAbsent::Refuse => "refuse",
        OnAbsent::SaveBranch => "save-branch",
    };
    let mut written = table([
        ("url", url.clone().into()),
        ("branch", branch.clone().into()),
        ("path", path.clone().into()),
        ("on_absent", fate.into()),
    ]);
    if !save.is_empty() {
        written.insert("save".to_owned(), save.clone().into());
    }
    written
}

fn written_limits(limits: &Limits) -> Table {
    let Limits { deadline, max_price_per_hour, max_cost, protect } = limits;
    let mut written = table([("deadline", deadline.to_string().into()), ("protect", (*protect).into())]);
    let amounts = [("max_price_per_hour", max_price_per_hour), ("max_cost", max_cost)];
    let amounts = amounts.into_iter().filter_map(|(key, amount)| Some((key, (*amount)?)));
    written.extend(amounts.map(|(key, amount): (&str, Money)| (key.to_owned(), amount.units().into())));
    written
}

fn written_notebook(notebook: &Notebook) -> Table {
    let Notebook { port, kind, directory, packages } = notebook;
    table([
        ("port", i64::from(*port).into()),
        ("kind", kind.as_str().into()),
        ("directory", directory.clone().into()),
        ("packages", packages.clone().into()),
    ])
}

fn written(artifact: &Artifact) -> Table {
    let Artifact { path, version, compress } = artifact;
    let packing = if *compress == Compress::Gzip { "gzip" } else { "none" };
    table([
        ("path", path.clone().into()),
        ("version", version.to_string().into()),
        ("compress", packing.into()),
    ])
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
