//! The DataCrunch/Verda API: what the account has and offers, and the few calls that change it.
//!
//! Source of every shape: the vendor's published OpenAPI document and SDKs. Reads are patient; a
//! create is sent once; deleting is absolute and may be repeated.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod wire;

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::http::{self, Answer, Call, Clock, Encoding, Login, Manner, Said, Service, Trouble};
use crate::credentials::CloudCredentials;
use crate::error::{Error, ExitCode, Result};
use crate::facts;
use crate::guard::Proof;
use crate::plan::Action;
use crate::world::Market;

/// Every amount is asked for in this currency, unless the account is kept in another.
const CURRENCY: &str = "usd";

const MANNER: Manner = Manner {
    name: "the cloud",
    credentials_hint: "check `VERDA_CLIENT_ID` and `VERDA_CLIENT_SECRET`, or the profile in `~/.verda/credentials`",
    advice,
    sort,
};

/// A connection to the cloud's API.
#[derive(Debug)]
pub struct CloudClient {
    service: Service,
    base: Url,
}

/// What is ordered: one machine and its OS volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Instance type.
    pub r#type: String,
    /// Image slug or image id.
    pub image: String,
    /// The detached OS volume to boot instead of a new one from the image.
    pub boots: Option<String>,
    /// Host name.
    pub hostname: String,
    /// Free text.
    pub description: String,
    /// Ids of the keys that may log in; read at creation only.
    pub key_ids: Vec<String>,
    /// The id of the script that runs at the first boot; copied at creation.
    pub script: Option<String>,
    /// Location code.
    pub location: String,
    /// Size of the OS volume in GB, at least 50.
    pub os_volume_gb: u32,
    /// Its name.
    pub os_volume_name: String,
    /// Which market it is bought on.
    pub market: Market,
    /// At most ten, put on the instance and on its OS volume; lower-case keys.
    pub tags: BTreeMap<String, String>,
}

/// A startup script of the account, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its id.
    pub id: String,
    /// Its name; not unique.
    pub name: String,
}

/// How many scripts are asked for at once, and the most pages that are read.
const SCRIPTS: (usize, usize) = (100, 100);

/// How a create call ended.
#[derive(Clone, Debug)]
pub enum Created {
    /// The order was taken under this id.
    Id(String),
    /// There is no such machine in stock there; nothing was made. The cloud's words.
    NoCapacity(String),
    /// Clearly refused: nothing was made.
    Refused(Error),
    /// Whether a machine was made, or will be, is unknown; the text says why.
    Unclear(String),
}

/// How a delete call ended, when it didn't fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Taken; gone only when the instance says so.
    Accepted,
    /// There was nothing left to delete.
    Gone,
    /// Not in its present state (`provisioning`): ask again later. The cloud's words.
    NotYet(String),
}

impl CloudClient {
    /// Returns a client that hasn't asked for anything yet.
    pub fn new(base_url: &str, credentials: CloudCredentials, clock: Clock) -> Result<Self> {
        let CloudCredentials { client_id, client_secret, base_url: _ } = credentials;
        let base = http::base_url(base_url)?;
        let login = Login::Asked {
            url: http::below(&base, &["oauth2", "token"]),
            encoding: Encoding::Json,
            fields: vec![
                ("grant_type", "client_credentials".into()),
                ("client_id", client_id.into()),
                ("client_secret", client_secret),
            ],
        };
        Ok(Self { service: Service::new(MANNER, &[&base], login, clock)?, base })
    }

    /// Reads everything that a plan needs: at most one token call, then one round of reads at once.
    ///
    /// The stock is the given market's. `recorded` is left to the caller, who knows the record. An account that isn't kept in dollars
    /// costs one more read, for prices in its currency.
    pub async fn look(&self, market: Market) -> Result<facts::Cloud> {
        self.service.ready().await.map_err(|trouble| self.error("cannot read the cloud", trouble))?;
        let ((now, instances), mut types, stock, images, locations, keys, volumes, balance) = tokio::try_join!(
            self.instances(),
            self.types(CURRENCY),
            self.stock(market),
            self.read::<Vec<wire::Image>>("the images", &["images"], &[]),
            self.read::<Vec<wire::Location>>("the locations", &["locations"], &[]),
            self.keys(),
            self.volumes(),
            self.read::<wire::Balance>("the balance", &["balance"], &[]),
        )?;
        if !balance.currency.0.is_empty() && !balance.currency.0.eq_ignore_ascii_case(CURRENCY) {
            types = self.types(&balance.currency.0).await?;
        }
        Ok(facts::Cloud {
            now,
            instances,
            recorded: None,
            volumes,
            trash: None,
            types,
            stock,
            images: images.into_iter().map(Into::into).collect(),
            locations: locations.into_iter().map(|location| location.code.0).collect(),
            keys,
            balance: balance.amount,
            currency: if balance.currency.0.is_empty() { CURRENCY.into() } else { balance.currency.0 },
        })
    }

    /// Reads one machine, whatever its state (`discontinued` included); none only when the account
    /// doesn't know the id.
    pub async fn instance(&self, id: &str) -> Result<Option<facts::Instance>> {
        Ok(self.find::<wire::Instance>("the instance", &["instances", id]).await?.map(Into::into))
    }

    /// Lists the machines and says when that was by the cloud's clock. Gone machines aren't listed,
    /// and new ones may not be yet.
    pub async fn instances(&self) -> Result<(Timestamp, Vec<facts::Instance>)> {
        let (list, answer): (Vec<wire::Instance>, _) =
            self.read_whole("the instances", &["instances"], &[]).await?;
        let now = answer.date().map_err(|trouble| self.error("cannot read the cloud's clock", trouble))?;
        Ok((now, list.into_iter().map(Into::into).collect()))
    }

    /// Lists the volumes that aren't deleted.
    pub async fn volumes(&self) -> Result<Vec<facts::Volume>> {
        let list = self.read::<Vec<wire::Volume>>("the volumes", &["volumes"], &[]).await?;
        Ok(list.into_iter().map(Into::into).collect())
    }

    /// Reads one volume, deleted ones included; none when the account doesn't know the id.
    pub async fn volume(&self, id: &str) -> Result<Option<facts::Volume>> {
        Ok(self.find::<wire::Volume>("the volume", &["volumes", id]).await?.map(Into::into))
    }

    /// Lists what can still be restored from the trash.
    pub async fn trash(&self) -> Result<Vec<facts::Volume>> {
        let list = self.read::<Vec<wire::TrashedVolume>>("the trash", &["volumes", "trash"], &[]).await?;
        Ok(list
            .into_iter()
            .filter(|trashed| !trashed.is_permanently_deleted)
            .map(|trashed| trashed.volume.into())
            .collect())
    }

    /// Registers a public key and returns its id.
    ///
    /// Sent once; after an unclear answer the keys are listed, and the key found there counts.
    pub async fn add_key(&self, _: &Action, name: &str, key: &facts::PublicKey) -> Result<String> {
        let call = Call::with_json(
            Method::POST,
            self.url(&["ssh-keys"]),
            &json!({"name": name, "key": key.as_str()}),
        );
        let trouble = match self.service.once(&call).await {
            Ok(answer) => match wire::id_in(&answer.body) {
                Some(id) => return Ok(id),
                None => Trouble::Undecodable("the answer holds no id".into()),
            },
            Err(trouble) => trouble,
        };
        if !trouble.is_without_effect() {
            let known = self.keys().await?;
            if let Some(found) = known.into_iter().find(|known| known.key == *key) {
                return Ok(found.id);
            }
        }
        Err(self.error(format!("cannot register the key `{name}`"), trouble))
    }

    /// Keeps a startup script in the account and returns its id. Its text is secret.
    ///
    /// After an unclear answer it is sent again: a copy has the same name, by which all of them are removed.
    pub async fn add_script(&self, _: &Action, name: &str, text: &SecretString) -> Result<String> {
        let body = json!({"name": name, "script": text.expose_secret()});
        let key = |line: &&str| line.len() >= 8 && !line.contains(' ');
        let lines = text.expose_secret().lines().filter(key).map(SecretString::from).collect();
        let call = Call::with_json(Method::POST, self.url(&["scripts"]), &body).hiding(lines);
        let id = |answer: Answer| {
            wire::id_in(&answer.body).ok_or_else(|| Trouble::Undecodable("the answer holds no id".into()))
        };
        let made = self.service.patiently(&call.with_secret_answer(), id).await;
        made.map_err(|trouble| self.error(format!("cannot keep the startup script `{name}`"), trouble))
    }

    /// Lists the startup scripts whose names contain `part`.
    pub async fn scripts(&self, part: &str) -> Result<Vec<Script>> {
        let (size, pages) = SCRIPTS;
        let mut all = Vec::new();
        for page in 1..=pages {
            let mut url = self.url(&["scripts"]);
            let (page, size_asked) = (page.to_string(), size.to_string());
            url.query_pairs_mut().extend_pairs([
                ("page", &*page),
                ("pageSize", &*size_asked),
                ("name", part),
            ]);
            let call = Call::get(url).with_secret_answer();
            let (list, _): (Vec<wire::Script>, _) = self
                .service
                .json(&call)
                .await
                .map_err(|trouble| self.error("cannot read the startup scripts of the cloud", trouble))?;
            let last = list.len() < size;
            all.extend(list.into_iter().map(Script::from));
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// Removes a startup script; one that is gone is a success. Machines keep what they copied.
    pub async fn remove_script(&self, _: &Action, script: &Script) -> Result<()> {
        let call = Call::bare(Method::DELETE, self.url(&["scripts", &script.id]));
        match self.service.patiently(&call, Ok).await {
            Ok(_) | Err(Trouble::Gone(_)) => Ok(()),
            Err(trouble) => {
                Err(self.error(format!("cannot remove the startup script `{}`", script.name), trouble))
            }
        }
    }

    /// Orders a machine: exactly one POST is taken by the cloud, or none.
    pub async fn create(&self, _: &Action, order: &Order) -> Created {
        let call = Call::with_json(Method::POST, self.url(&["instances"]), &wire::order(order));
        match self.service.once(&call).await {
            Ok(answer) => wire::id_in(&answer.body).map_or_else(
                || Created::Unclear(format!("the cloud answered {} without an id", answer.status.as_u16())),
                Created::Id,
            ),
            Err(Trouble::NoCapacity(said)) => Created::NoCapacity(said.to_string()),
            Err(trouble) if trouble.is_without_effect() => Created::Refused(self.refusal(order, trouble)),
            Err(trouble) => Created::Unclear(self.error("cannot create", trouble).why.join(": ")),
        }
    }

    /// Deletes a machine and exactly these of its volumes, to the trash; the others are detached and
    /// go on billing. A proof that keeps the disk lets no volume go. The proof is spent by the call; after
    /// an error a new one is needed.
    pub async fn delete(&self, _: &Action, proof: Proof, volumes: &[String]) -> Result<Deleted> {
        let instance = proof.machine();
        let volumes = if proof.keeps_disk() { &[] } else { volumes };
        let body = json!({
            "action": "delete", "id": [instance], "volume_ids": volumes, "delete_permanently": false,
        });
        let call = Call::with_json(Method::PUT, self.url(&["instances"]), &body);
        let outcome = self.service.patiently(&call, |answer| wire::fate(&answer, instance)).await;
        let what = || format!("cannot delete the instance `{instance}`");
        match outcome {
            Ok(None) => Ok(Deleted::Accepted),
            Ok(Some(refusal)) => deleted_anyway(&refusal).ok_or_else(|| refused(what(), &refusal)),
            Err(Trouble::Gone(_)) => Ok(Deleted::Gone),
            Err(Trouble::Refused(said)) if let Some(deleted) = deleted_anyway(&said.message) => Ok(deleted),
            Err(trouble) => Err(self.error(what(), trouble)),
        }
    }

    /// Starts a machine that is offline; one that runs already is a success.
    pub async fn start(&self, _: &Action, instance: &str) -> Result<()> {
        self.turn("start", "start", instance).await
    }

    /// Shuts a machine down; one that is offline already is a success. It goes on billing.
    pub async fn shut_down(&self, _: &Action, instance: &str) -> Result<()> {
        self.turn("shutdown", "shut down", instance).await
    }

    async fn turn(&self, action: &str, verb: &str, instance: &str) -> Result<()> {
        let body = json!({"action": action, "id": [instance]});
        let call = Call::with_json(Method::PUT, self.url(&["instances"]), &body);
        let what = || format!("cannot {verb} the instance `{instance}`");
        match self.service.patiently(&call, |answer| wire::fate(&answer, instance)).await {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(refused(what(), &refusal)),
            Err(trouble) => Err(self.error(what(), trouble)),
        }
    }

    /// Puts a volume into the trash; one that is there already, or gone, is a success.
    pub async fn delete_volume(&self, _: &Action, id: &str) -> Result<()> {
        let body = json!({"action": "delete", "id": id, "is_permanent": false});
        let call = Call::with_json(Method::PUT, self.url(&["volumes"]), &body);
        match self.service.patiently(&call, Ok).await {
            Ok(_) | Err(Trouble::Gone(_)) => Ok(()),
            Err(trouble) => match self.volume(id).await? {
                None => Ok(()),
                Some(volume) if matches!(volume.status.as_str(), "deleted" | "deleting") => Ok(()),
                Some(_) => Err(self.error(format!("cannot delete the volume `{id}`"), trouble)),
            },
        }
    }

    /// Takes a volume out of the trash; one that isn't in it any more, and isn't deleted, is a success.
    pub async fn restore_volume(&self, _: &Action, id: &str) -> Result<()> {
        let body = json!({"action": "restore", "id": id});
        let call = Call::with_json(Method::PUT, self.url(&["volumes"]), &body);
        let Err(trouble) = self.service.patiently(&call, Ok).await else { return Ok(()) };
        match self.volume(id).await? {
            Some(volume) if !matches!(volume.status.as_str(), "deleted" | "deleting") => Ok(()),
            _ => Err(self.error(format!("cannot restore the volume `{id}`"), trouble)),
        }
    }

    /// Deletes a volume in the trash for good; one that is gone is a success.
    pub async fn purge_volume(&self, _: &Action, id: &str) -> Result<()> {
        let body = json!({"action": "delete", "id": id, "is_permanent": true});
        let call = Call::with_json(Method::PUT, self.url(&["volumes"]), &body);
        match self.service.patiently(&call, Ok).await {
            Ok(_) | Err(Trouble::Gone(_)) => Ok(()),
            Err(_) if !self.trash().await?.iter().any(|volume| volume.id == id) => Ok(()),
            Err(trouble) => Err(self.error(format!("cannot purge the volume `{id}`"), trouble)),
        }
    }

    /// Reads what is in stock and what is left on the account.
    pub async fn stock_and_balance(
        &self,
        market: Market,
    ) -> Result<(BTreeMap<String, Vec<String>>, facts::Money)> {
        let balance = self.read::<wire::Balance>("the balance", &["balance"], &[]);
        let (stock, balance) = tokio::try_join!(self.stock(market), balance)?;
        Ok((stock, balance.amount))
    }

    async fn types(&self, currency: &str) -> Result<Vec<facts::InstanceType>> {
        let query = [("currency", currency)];
        let list: Vec<wire::InstanceType> =
            self.read("the instance types", &["instance-types"], &query).await?;
        Ok(list.into_iter().map(Into::into).collect())
    }

    /// One market's stock everywhere; without `is_spot` the answer is on-demand's, but only by default.
    async fn stock(&self, market: Market) -> Result<BTreeMap<String, Vec<String>>> {
        let query = [("is_spot", if market == Market::Spot { "true" } else { "false" })];
        let list: Vec<wire::Availability> =
            self.read("the stock", &["instance-availability"], &query).await?;
        Ok(list.into_iter().map(wire::Availability::into_stock).collect())
    }

    /// Lists the account's public keys.
    pub async fn keys(&self) -> Result<Vec<facts::AccountKey>> {
        let list = self.read::<Vec<wire::AccountKey>>("the ssh keys", &["ssh-keys"], &[]).await?;
        Ok(list.into_iter().filter_map(wire::AccountKey::into_facts).collect())
    }

    async fn read<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T> {
        Ok(self.read_whole(what, path, query).await?.0)
    }

    async fn read_whole<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(T, Answer)> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let outcome = self.service.json(&Call::get(url)).await;
        outcome.map_err(|trouble| self.error(format!("cannot read {what} of the cloud"), trouble))
    }

    async fn find<T: DeserializeOwned>(&self, what: &str, path: &[&str]) -> Result<Option<T>> {
        match self.service.json(&Call::get(self.url(path))).await {
            Ok((found, _)) => Ok(Some(found)),
            Err(Trouble::Gone(_)) => Ok(None),
            Err(trouble) => {
                let id = path.last().copied().unwrap_or_default();
                Err(self.error(format!("cannot read {what} `{id}`"), trouble))
            }
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        http::below(&self.base, path)
    }

    fn error(&self, what: impl Into<String>, trouble: Trouble) -> Error {
        self.service.error(what, trouble)
    }

    fn refusal(&self, order: &Order, trouble: Trouble) -> Error {
        let Order { r#type, image, location, .. } = order;
        let said = match &trouble {
            Trouble::Refused(said) => said.message.to_lowercase(),
            _ => String::new(),
        };
        let mut error = self.error(format!("cannot create a `{type}` in `{location}`"), trouble);
        if said.contains("operating system is not valid") {
            error.kind = ExitCode::Usage;
            error = error.hint(format!("`{type}` cannot boot `{image}`: choose another `image` or `type`"));
        } else if said.contains("limit exceeded") || said.contains("quota") {
            error =
                error.hint("delete what the account no longer needs (the trash counts too), or ask for more");
        }
        error
    }
}

/// Words a refusal of one item of an action.
fn refused(what: String, refusal: &str) -> Error {
    let why = http::readable(refusal);
    let why = if why.is_empty() { "the cloud refused it without a reason".to_owned() } else { why };
    Error::new(what)
        .why(why)
        .hint("run the command again; if the answer is the same, look in the cloud's console")
}

/// What to do about a refusal.
fn advice(said: &Said) -> Option<&'static str> {
    match said.status {
        403 => Some(
            "look in the cloud's console: is the account allowed to, and is the thing in a state for it?",
        ),
        404 | 410 if said.json.is_none() => Some("check `VERDA_BASE_URL`: nobody there knows this route"),
        _ => None,
    }
}

/// What the service's own words add to the status.
fn sort(said: Said) -> Trouble {
    let message = said.message.to_lowercase();
    let is_json = said.json.as_ref().is_some_and(serde_json::Value::is_object);
    match said.status {
        503 if is_json && message.contains("not enough resources") => Trouble::NoCapacity(said),
        400 | 403 | 404 if matches!(message.as_str(), "invalid instance id" | "invalid volume id") => {
            Trouble::Gone(said)
        }
        // A wrong address or a gateway answers 404 too; only the API's own word counts for absence.
        404 if !is_json => Trouble::Refused(said),
        _ => Trouble::by_status(said),
    }
}

/// Refusals of a delete that aren't failures; the texts are the API's own and have no codes.
fn deleted_anyway(refusal: &str) -> Option<Deleted> {
    let refusal_lower = refusal.to_lowercase();
    if refusal_lower.contains("discontinue a discontinued instance")
        || refusal_lower.contains("invalid instance id")
    {
        return Some(Deleted::Gone);
    }
    let not_yet = refusal_lower.contains("discontinue a provisioning instance");
    not_yet.then(|| Deleted::NotYet(http::readable(refusal)))
}

#[cfg(test)]
mod tests;
