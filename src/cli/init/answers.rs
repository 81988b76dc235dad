//! The questions, in the order of thought: whose flag answers, else a person, else the default.

use super::offer::{Key, Offer};
use super::{Init, NewKey, ask, key};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Deadline, InstanceType};
use crate::provider::repo::same_remote;
use crate::spec::{Sketch, objection, slug};

/// Who answers what no flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    /// Whoever sits at the terminal.
    Person,
    /// The defaults, as was agreed to.
    Defaults,
    /// Nobody: what must be answered needs its flag.
    Nobody,
}

/// What was answered.
pub(super) struct Answered {
    pub(super) sketch: Sketch,
    /// What is to be made of keys before the session can be.
    pub(super) key: NewKey,
}

/// Collects every answer; fails where one that is needed can't be had.
pub(super) fn collect(flags: Init, offer: &Offer, answering: Answering) -> Result<Answered> {
    let mut interview = Interview { answering, missing: Vec::new() };
    let name = interview.name(&flags, offer)?;
    let (url, branch, path) = interview.repo(&flags, offer)?;
    let types = interview.types(&flags, offer)?;
    let locations = interview.locations(&flags, offer, &types)?;
    let image = interview.image(&flags, offer, &types)?;
    let (ssh_key, key) = interview.key(&flags, offer)?;
    let artifacts = interview.artifacts(&flags)?;
    let store = interview.store(&flags, offer, &name, !artifacts.is_empty())?;
    let (deadline, max_cost) = interview.limits(&flags)?;
    let notebook = interview.notebook(&flags)?;
    interview.complete(&flags)?;
    let max_price_per_hour = flags.max_price;
    let sketch = Sketch {
        name,
        store,
        types,
        locations,
        image,
        ssh_key,
        deadline,
        max_price_per_hour,
        max_cost,
        url,
        branch,
        path,
        artifacts,
        notebook,
    };
    Ok(Answered { sketch, key })
}

/// One question whose answer is a text.
struct Question<'a> {
    /// Where the answer goes, as a key of session.toml.
    key: &'a str,
    flag: &'static str,
    what: &'a str,
}

struct Interview {
    answering: Answering,
    /// The flags that would have answered.
    missing: Vec<&'static str>,
}

impl Interview {
    /// Returns the flag's answer, the person's or the default; an empty text where it is missing.
    fn text(
        &mut self,
        asked: &Question<'_>,
        given: Option<&String>,
        default: Option<&str>,
    ) -> Result<String> {
        let Question { key, flag, what } = asked;
        match (given, self.answering, default) {
            (Some(given), ..) => Ok(given.trim().to_owned()),
            (None, Answering::Person, default) => ask::text(what, default, &|text| against(key, text)),
            (None, Answering::Defaults, Some(default)) => Ok(default.to_owned()),
            (None, ..) => {
                self.missing.push(flag);
                Ok(String::new())
            }
        }
    }

    fn asks(&self) -> bool {
        self.answering == Answering::Person
    }

    fn complete(&self, flags: &Init) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        if self.missing.contains(&"--repo") && (flags.branch.is_some() || flags.path.is_some()) {
            return Err(Error::of(ExitCode::Usage, "`--branch` and `--path` of which repo?")
                .why("this folder is in no git repository that has a remote")
                .hint("name it with `--repo`"));
        }
        let flags = self.missing.iter().map(|flag| format!("`{flag}`")).collect::<Vec<_>>().join(", ");
        let error = Error::of(ExitCode::Usage, format!("not answered: {flags}"));
        Err(match self.answering {
            Answering::Defaults => {
                error.why("nothing here says what a good default would be").hint("answer with these flags")
            }
            _ => error
                .why("the standard input or the standard error is no terminal, so nobody is asked")
                .hint("answer with these flags, or take the defaults with `--yes`"),
        })
    }

    fn name(&mut self, flags: &Init, offer: &Offer) -> Result<String> {
        let folder = offer.directory.file_name().map(|name| name.to_string_lossy().into_owned());
        let default = slug(offer.here.folder.as_ref().or(folder.as_ref()).map_or("session", String::as_str));
        let asked = Question { key: "name", flag: "--name", what: "Name of the session" };
        self.text(&asked, flags.name.as_ref(), Some(&default))
    }

    /// The url, the branch, and the folder on the server.
    fn repo(&mut self, flags: &Init, offer: &Offer) -> Result<(String, String, Option<String>)> {
        let here = &offer.here;
        // Some remotes can't be reached from a server: files of this laptop, addresses with passwords.
        let remote = here.url.as_deref().filter(|url| objection("repo.url", url).is_none());
        let asked = Question { key: "repo.url", flag: "--repo", what: "Git remote to bring to it" };
        let url = self.text(&asked, flags.repo.as_ref(), remote)?;
        let own = here.url.as_deref().is_some_and(|own| same_remote(own, &url));
        let main = here.branch.as_deref().filter(|_| own).unwrap_or("main");
        let path = here.folder.as_deref().filter(|path| own && objection("repo.path", path).is_none());
        let path = path.map_or_else(|| folder_of(&url), |path| Some(path.to_owned()));
        if !self.asks() {
            return Ok((
                url,
                flags.branch.clone().unwrap_or_else(|| main.to_owned()),
                flags.path.clone().or(path),
            ));
        }
        let asked = Question { key: "repo.branch", flag: "--branch", what: "Branch" };
        let branch = self.text(&asked, flags.branch.as_ref(), Some(main))?;
        let asked = Question { key: "repo.path", flag: "--path", what: "Folder on the server" };
        let path = self.text(&asked, flags.path.as_ref(), path.as_deref())?;
        Ok((url, branch, Some(path)))
    }

    fn types(&mut self, flags: &Init, offer: &Offer) -> Result<Vec<String>> {
        if !flags.types.is_empty() {
            return Ok(flags.types.clone());
        }
        let types = offer.types();
        let wanted = types.iter().position(|offered| is_good(offered, offer));
        if self.asks() && !types.is_empty() {
            let items: Vec<String> = types.iter().map(|offered| described(offered, offer)).collect();
            let chosen = ask::choice("Machine", &items, wanted.unwrap_or(0))?;
            return Ok(vec![types[chosen].name.clone()]);
        }
        let default = wanted.map(|place| types[place].name.as_str());
        let asked = Question { key: "instance.type", flag: "--type", what: "Instance type" };
        self.text(&asked, None, default).map(|one| vec![one])
    }

    fn locations(&self, flags: &Init, offer: &Offer, types: &[String]) -> Result<Vec<String>> {
        let Some(cloud) = offer.cloud.as_ref().filter(|_| flags.locations.is_empty() && self.asks()) else {
            return Ok(flags.locations.clone());
        };
        let in_stock = |code: &str| types.iter().any(|name| offer.in_stock(name).contains(&code));
        let word = |code: &String| format!("{code}{}", if in_stock(code) { ", in stock now" } else { "" });
        let items: Vec<String> =
            std::iter::once("any".to_owned()).chain(cloud.locations.iter().map(word)).collect();
        let chosen = ask::choice("Location", &items, 0)?;
        Ok(chosen.checked_sub(1).map(|place| cloud.locations[place].clone()).into_iter().collect())
    }

    fn image(&mut self, flags: &Init, offer: &Offer, types: &[String]) -> Result<String> {
        let images = offer.images(types);
        if flags.image.is_none() && self.asks() && !images.is_empty() {
            let items: Vec<String> = images.iter().map(|slug| (*slug).to_owned()).collect();
            return Ok(items[ask::choice("Image", &items, 0)?].clone());
        }
        let asked = Question { key: "instance.image", flag: "--image", what: "Image" };
        self.text(&asked, flags.image.as_ref(), images.first().copied())
    }

    /// The public key's file, and what has to be made before it is there.
    fn key(&mut self, flags: &Init, offer: &Offer) -> Result<(String, NewKey)> {
        if let Some(given) = &flags.key {
            let file = below_home(given, offer);
            let pair = if flags.new_key { NewKey::Pair(file.clone()) } else { NewKey::None };
            return Ok((file, pair));
        }
        let makes = flags.new_key
            || offer.keys.is_empty() && self.asks() && ask::yes("No SSH key was found: make one", true)?;
        if makes {
            return Ok((key::DEFAULT.to_owned(), NewKey::Pair(key::DEFAULT.to_owned())));
        }
        let chosen = if self.asks() && offer.keys.len() > 1 {
            let items: Vec<String> = offer.keys.iter().map(shown).collect();
            Some(ask::choice("SSH key", &items, 0)?)
        } else {
            (self.answering != Answering::Nobody && !offer.keys.is_empty()).then_some(0)
        };
        if let Some(chosen) = chosen.map(|place| offer.keys[place].clone()) {
            let new = match chosen.unwritten {
                Some((public, _)) => NewKey::Public(offer.home.join(&chosen.file["~/".len()..]), public),
                None => NewKey::None,
            };
            return Ok((chosen.file, new));
        }
        let asked =
            Question { key: "instance.ssh_key", flag: "--key` or `--new-key", what: "The public key's file" };
        Ok((below_home(&self.text(&asked, None, None)?, offer), NewKey::None))
    }

    fn artifacts(&self, flags: &Init) -> Result<Vec<(String, String)>> {
        if !flags.artifacts.is_empty() || !self.asks() {
            return Ok(flags.artifacts.clone());
        }
        let against = |text: &str| match super::artifact(text) {
            _ if text.is_empty() => None,
            Err(words) => Some(words),
            Ok((name, path)) => against(&format!("artifacts.{name}.path"), &path),
        };
        let answer = ask::text("A file worth keeping, as NAME=PATH (none: Enter)", Some(""), &against)?;
        Ok(super::artifact(&answer).into_iter().collect())
    }

    fn store(&mut self, flags: &Init, offer: &Offer, name: &str, keeps: bool) -> Result<Option<String>> {
        let default = format!("dropbox:/{name}");
        let needed = keeps || offer.stores;
        let answer = match (&flags.store, self.answering) {
            (Some(given), _) if given == "none" && keeps => {
                return Err(Error::of(ExitCode::Usage, "`--store none` leaves no place for the artifacts")
                    .hint(
                        "name a folder, such as `--store dropbox:/fastai/lesson3`, or leave out `--artifact`",
                    ));
            }
            (Some(given), _) => given.clone(),
            (None, Answering::Person) => {
                let against =
                    |text: &str| if text == "none" && !keeps { None } else { against("store", text) };
                let default = if needed { default.as_str() } else { "none" };
                ask::text(
                    "Dropbox folder for versions and the record, dropbox:/FOLDER or none",
                    Some(default),
                    &against,
                )?
            }
            (None, _) if needed => default,
            (None, _) => "none".to_owned(),
        };
        Ok(Some(answer).filter(|answer| answer != "none"))
    }

    fn limits(&mut self, flags: &Init) -> Result<(String, Option<f64>)> {
        let deadline = Deadline::default().to_string();
        if !self.asks() {
            return Ok((flags.deadline.clone().unwrap_or(deadline), flags.max_cost));
        }
        let asked = Question { key: "limits.deadline", flag: "--deadline", what: "It may live for" };
        let deadline = self.text(&asked, flags.deadline.as_ref(), Some(&deadline))?;
        if flags.max_cost.is_some() {
            return Ok((deadline, flags.max_cost));
        }
        let against = |text: &str| match text.parse::<f64>() {
            _ if text.is_empty() => None,
            Ok(amount) if amount > 0.0 => None,
            _ => Some("write an amount such as 10 or 2.50, or nothing".to_owned()),
        };
        let answer = ask::text("It may cost at most (no limit: Enter)", Some(""), &against)?;
        Ok((deadline, answer.parse().ok()))
    }

    fn notebook(&self, flags: &Init) -> Result<bool> {
        if flags.notebook || !self.asks() {
            return Ok(flags.notebook);
        }
        ask::yes("Run JupyterLab on it", false)
    }
}

/// What speaks against an answer, in one line.
fn against(key: &str, text: &str) -> Option<String> {
    let mistake = objection(key, text)?;
    Some(mistake.hint.map_or_else(|| mistake.label.clone(), |hint| format!("{}; {hint}", mistake.label)))
}

/// One GPU, in stock, and an image that says CUDA.
fn is_good(offered: &InstanceType, offer: &Offer) -> bool {
    let cuda = || offered.images.is_empty() || offered.images.iter().any(|slug| slug.contains("cuda"));
    offered.gpus == 1 && !offer.in_stock(&offered.name).is_empty() && cuda()
}

fn described(offered: &InstanceType, offer: &Offer) -> String {
    let currency = offer.cloud.as_ref().map_or("", |cloud| cloud.currency.as_str());
    let InstanceType { name, price_per_hour, gpus, .. } = offered;
    let stock = match offer.in_stock(name).as_slice() {
        [] => "not in stock now".to_owned(),
        codes => codes.join(" "),
    };
    format!("{name:<16} {price_per_hour} {currency}/h, {gpus} GPU(s), {stock}")
}

fn shown(key: &Key) -> String {
    match &key.unwritten {
        Some((_, comment)) => format!("the agent's key {comment} (its public half goes to {})", key.file),
        None => format!("{}{}", key.file, if key.held { ", in the agent" } else { "" }),
    }
}

/// A key's file as other laptops find theirs too.
fn below_home(file: &str, offer: &Offer) -> String {
    let below = std::path::Path::new(file).strip_prefix(&offer.home).ok().and_then(|below| below.to_str());
    below.map_or_else(|| file.to_owned(), |below| format!("~/{below}"))
}

fn folder_of(url: &str) -> Option<String> {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next()?;
    let folder = last.strip_suffix(".git").unwrap_or(last);
    (!folder.is_empty() && objection("repo.path", folder).is_none()).then(|| folder.to_owned())
}
