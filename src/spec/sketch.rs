//! A first session.toml: what was answered, and in comments what else can be said.

use toml::Value;

use super::{Diagnostic, Override, parse};

/// What is answered before there is a session.toml.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    /// The session's name.
    pub name: String,
    /// Where versions and the record are kept.
    pub store: Option<String>,
    /// Instance types in order of preference.
    pub types: Vec<String>,
    /// Location codes in order of preference; empty for any.
    pub locations: Vec<String>,
    /// The image's slug.
    pub image: String,
    /// The public key's file.
    pub ssh_key: String,
    /// How long a machine may live.
    pub deadline: String,
    /// The dearest machine, per hour.
    pub max_price_per_hour: Option<f64>,
    /// What a machine may cost in all.
    pub max_cost: Option<f64>,
    /// The git remote.
    pub url: String,
    /// Its branch.
    pub branch: String,
    /// Where it is checked out on the server.
    pub path: Option<String>,
    /// Files worth keeping: name and path.
    pub artifacts: Vec<(String, String)>,
    /// Whether JupyterLab is to run.
    pub notebook: bool,
}

/// Where the schema lies that the first line names, beside session.toml.
pub const SCHEMA_FILE: &str = "session.schema.json";

impl Sketch {
    /// Returns the text of the session.toml. Whether it is a good one, `parse` says.
    pub fn to_text(&self) -> String {
        let head = format!(
            "#:schema ./{SCHEMA_FILE}\n\
             # One session: a rented GPU server, its code, and the files worth keeping. `dacapo plan` shows what it takes.\n"
        );
        [head, self.session(), self.instance(), self.limits(), self.repo(), self.artifacts(), self.notebook()]
            .join("\n")
    }

    fn session(&self) -> String {
        let store = match &self.store {
            Some(store) => format!("store = {}   # versions of artifacts, and the session's record\n", text(store)),
            None => "# store = \"dropbox:/folder\"   # artifacts need one; with it every laptop knows the session\n".to_owned(),
        };
        format!(
            "name  = {}\nstate = \"running\"   # or \"absent\"; `dacapo up` and `dacapo down` say it for one run\n{store}\
             # disposable = [\"data/raw/**\"]   # new files, below the home on the server, that may go with it\n",
            text(&self.name)
        )
    }

    fn instance(&self) -> String {
        let Self { types, locations, image, ssh_key, .. } = self;
        let location = if locations.is_empty() {
            "# location = [\"FIN-01\"]   # any, where nothing is said\n".to_owned()
        } else {
            format!("location  = {}\n", list(locations))
        };
        format!(
            "[instance]\ntype      = {}   # several, in order of preference, find more in stock\n{location}image     = {}\n\
             ssh_key   = {}\nos_volume = {{ size_gb = 100 }}\n\
             # market  = \"spot\"   # cheaper, and may be taken away at any moment\n",
            list(types),
            text(image),
            text(ssh_key)
        )
    }

    fn limits(&self) -> String {
        let amount = |key: &str, amount: Option<f64>, example: &str| match amount {
            Some(amount) => format!("{key} = {}\n", Value::Float(amount)),
            None => format!("# {key} = {example}   # dearer is refused\n"),
        };
        format!(
            "[limits]\ndeadline = {}   # from then on `dacapo reap` ends it, wherever that runs\n{}{}",
            text(&self.deadline),
            amount("max_price_per_hour", self.max_price_per_hour, "1.60"),
            amount("max_cost", self.max_cost, "10.00")
        )
    }

    fn repo(&self) -> String {
        let path = self.path.as_ref().map_or_else(String::new, |path| {
            format!("path   = {}   # below the home on the server\n", text(path))
        });
        format!(
            "[repo]\nurl    = {}\nbranch = {}\n{path}\
             # on_absent = \"save-branch\"   # `dacapo down` pushes what is only there to a branch of its own\n",
            text(&self.url),
            text(&self.branch)
        )
    }

    fn artifacts(&self) -> String {
        let section = |name: &str, path: &str| {
            format!("[artifacts.{}]\npath    = {}\nversion = \"latest\"\n", key(name), text(path))
        };
        if self.artifacts.is_empty() {
            let example = section("model", "export.pkl");
            return example.lines().map(|line| format!("# {line}\n")).collect();
        }
        let sections: Vec<String> = self.artifacts.iter().map(|(name, path)| section(name, path)).collect();
        sections.join("\n")
    }

    fn notebook(&self) -> String {
        let section = "[notebook]   # JupyterLab on the server; `dacapo notebook --open` opens it";
        if self.notebook { format!("{section}\n") } else { format!("# {section}\n") }
    }
}

/// Returns what speaks against one answer by itself: `key` is a key of session.toml, such as `repo.url`.
pub fn objection(key: &str, answer: &str) -> Option<Diagnostic> {
    const OTHERWISE: &str = "name = \"a\"\nstore = \"dropbox:/a\"\n[instance]\ntype = \"a\"\nimage = \"a\"\nssh_key = \"a.pub\"\n\
                             [repo]\nurl = \"git@a:a/a.git\"\npath = \"a\"\n";
    let set = Override::parse(&format!("{key}={}", text(answer)));
    let mistakes = set.and_then(|set| parse(OTHERWISE, &[set]).map_err(|mut mistakes| mistakes.remove(0)));
    mistakes.err()
}

fn text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// A key that isn't bare is written so that the reader can say what is wrong with it.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { text(name) }
}

fn list(items: &[String]) -> String {
    match items {
        [one] => text(one),
        items => Value::from(items.to_vec()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Wanted;

    fn sketch() -> Sketch {
        Sketch {
            name: "lesson3".into(),
            types: vec!["1V100.6V".into()],
            image: "ubuntu-24.04".into(),
            ssh_key: "~/.ssh/id_ed25519.pub".into(),
            deadline: "8h".into(),
            url: "git@github.com:me/lesson3.git".into(),
            branch: "main".into(),
            ..Sketch::default()
        }
    }

    #[test]
    fn the_least_that_can_be_answered_makes_a_session() {
        let text = sketch().to_text();
        let spec = parse(&text, &[]).unwrap();
        assert!(text.starts_with("#:schema ./session.schema.json\n"), "{text}");
        assert_eq!(
            (spec.name.as_str(), spec.repo.path.as_str(), spec.notebook),
            ("lesson3", "lesson3", None)
        );
    }

    #[test]
    fn each_answer_arrives_where_it_belongs() {
        let sketch = Sketch {
            store: Some("dropbox:/a b".into()),
            locations: vec!["FIN-01".into(), "FIN-03".into()],
            types: vec!["1V100.6V".into(), "1L40S.20V".into()],
            deadline: "90m".into(),
            max_price_per_hour: Some(1.6),
            max_cost: Some(10.0),
            path: Some("a b/c".into()),
            artifacts: vec![("model".into(), "out/export.pkl".into()), ("log".into(), "it's.csv".into())],
            notebook: true,
            ..sketch()
        };
        let spec = parse(&sketch.to_text(), &[]).unwrap();
        assert_eq!(spec.store.unwrap().to_string(), "dropbox:/a b");
        assert_eq!((spec.instance.types, spec.instance.locations), (sketch.types, sketch.locations));
        assert_eq!((spec.limits.deadline.to_string(), spec.repo.path), ("1h30m".into(), "a b/c".into()));
        assert_eq!(spec.limits.max_cost.unwrap().units(), 10.0);
        assert_eq!(spec.limits.max_price_per_hour.unwrap().units(), 1.6);
        assert_eq!(
            (spec.artifacts["log"].path.as_str(), &spec.artifacts["model"].version),
            ("it's.csv", &Wanted::Latest)
        );
        assert!(spec.notebook.is_some());
    }

    #[test]
    fn every_line_that_is_a_comment_is_good_without_its_sign() {
        let text = Sketch { notebook: false, ..sketch() }.to_text();
        let optional =
            |line: &str| line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# ["));
        let uncommented: Vec<&str> =
            text.lines().map(|line| if optional(line) { &line[2..] } else { line }).collect();
        parse(&uncommented.join("\n"), &[]).unwrap();
    }

    #[test]
    fn no_answer_can_say_more_than_its_own_key() {
        let name = "a\"\n[limits]\nprotect = true\n#";
        let text = Sketch { name: name.into(), ..sketch() }.to_text();
        let mistakes = parse(&text, &[]).unwrap_err();
        assert!(mistakes[0].message.contains("`name`"), "{mistakes:?}");
        assert!(objection("name", name).is_some());
        assert!(objection("name", "lesson3").is_none());
        assert!(objection("repo.url", "https://me:pw@host/a").unwrap().message.contains("login"));
    }
}
