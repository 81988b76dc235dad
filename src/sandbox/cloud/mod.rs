//! A cloud like DataCrunch's (Verda's), with its odd rules, on the sandbox's clock and with a bill.
//!
//! An independent reading of the API documents: it shares no type with the client.

mod actions;
mod billing;
mod catalogue;
mod clusters;
mod instances;
mod keys;
mod lists;
mod order;
mod reply;
mod tags;
#[cfg(test)]
mod tests;
mod tokens;
mod volume_actions;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::billing::{Account, units};
use self::catalogue::Stock;
use self::clusters::Cluster;
use self::instances::{Ending, Instance, Next, Status, Timing};
use self::keys::{Collection, Text};
use self::lists::Lag;
use self::reply::{Answer, Refusal};
use self::tokens::Tokens;
use self::volumes::Volume;
use super::random;
use super::wire::{Call, Reply};

/// How often `GET /instances` answers within a minute.
const LISTS_PER_MINUTE: usize = 120;

/// Everything the cloud knows.
#[derive(Serialize, Deserialize)]
pub struct Cloud {
    /// The client and its tokens.
    pub tokens: Tokens,
    user: String,
    timing: Timing,
    stock: Stock,
    account: Account,
    instances: Vec<Instance>,
    clusters: Vec<Cluster>,
    volumes: Vec<Volume>,
    keys: Vec<Text>,
    scripts: Vec<Text>,
    lag: Lag,
    /// How the next orders end while they boot, one each.
    endings: VecDeque<Ending>,
    /// The machines of which the cloud knows nothing any more.
    forgotten: BTreeSet<String>,
    #[serde(skip)]
    effects: Vec<Effect>,
    #[serde(skip)]
    listed: VecDeque<Timestamp>,
}

/// What the machines' side has to do after something happened in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A machine stopped: cut its connections and end its processes.
    Disconnect(String),
    /// A disk is gone for good.
    DestroyDisk(String),
    /// A disk was cloned.
    CopyDisk {
        /// The volume with the content.
        from: String,
        /// The new volume.
        to: String,
    },
}

/// How to get into a running machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The instance's id.
    pub instance: String,
    /// Its OS volume's id.
    pub disk: String,
    /// The public key lines that may log in.
    pub keys: Vec<String>,
    /// The startup script, copied when the machine was made.
    pub script: Option<String>,
}

/// What the admin's `set` can change.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// The balance in US dollars.
    balance: Option<f64>,
    /// How many machines there are, by location and type.
    stock: BTreeMap<String, BTreeMap<String, u32>>,
    /// What the availability claims whatever there is, by location and type; null tells the truth again.
    claims: BTreeMap<String, BTreeMap<String, Option<bool>>>,
    /// How old the lists of instances and of volumes are, in sandbox seconds; what is asked by id is exact.
    list_lag: Option<f64>,
    /// How the next orders end while they boot, one each; what was set before is forgotten.
    endings: Option<VecDeque<Ending>>,
    /// How long things take from now on, in sandbox seconds.
    timing: Option<Timing>,
    /// A status to force on an instance, by id, or on each with `*`; `discontinued` is an eviction.
    status: BTreeMap<String, Status>,
    /// Makes every token given out so far invalid.
    revoke_tokens: bool,
}

impl Cloud {
    /// Returns an empty cloud for a client of its own with 50 dollars.
    pub fn fresh() -> Self {
        Self::with(Tokens::new())
    }

    /// Returns an empty cloud that knows the same client as this one.
    pub fn emptied(&mut self) -> Self {
        let mut fresh = Self::with(std::mem::replace(&mut self.tokens, Tokens::new()));
        fresh.effects = std::mem::take(&mut self.effects);
        fresh.effects.extend(self.instances.iter().map(|one| Effect::Disconnect(one.id.clone())));
        let disks = self.volumes.iter().filter(|volume| !volume.purged);
        fresh.effects.extend(disks.map(|volume| Effect::DestroyDisk(volume.id.clone())));
        fresh
    }

    fn with(tokens: Tokens) -> Self {
        Self {
            tokens,
            user: random::uuid(),
            timing: Timing::default(),
            stock: Stock::at_first(),
            account: Account::with(billing::micros(50.0)),
            instances: Vec::new(),
            clusters: Vec::new(),
            volumes: Vec::new(),
            keys: Vec::new(),
            scripts: Vec::new(),
            lag: Lag::default(),
            endings: VecDeque::new(),
            forgotten: BTreeSet::new(),
            effects: Vec::new(),
            listed: VecDeque::new(),
        }
    }

    /// Answers one request under `/v1`.
    pub fn answer(&mut self, call: &Call, now: Timestamp) -> Reply {
        self.advance(now);
        let reply = self.route(call, now).unwrap_or_else(|refusal| refusal.reply());
        self.remember(now);
        reply
    }

    /// Lets everything happen that is due by `now`, in its order.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            self.happen(due);
            self.remember(due);
        }
    }

    /// Returns what the machines' side has to do, once.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Returns how to get into the running machine with this address.
    pub fn access(&self, ip: &str) -> Option<Access> {
        let reachable = |one: &&Instance| one.status == Status::Running && one.ip.as_deref() == Some(ip);
        let instance = self.instances.iter().find(reachable)?;
        let disk = self.volumes.iter().find(|volume| volume.id == instance.os_volume);
        let mut keys = instance.keys.clone();
        keys.extend(disk.into_iter().flat_map(|disk| disk.keys.clone()));
        let (id, disk, script) = (instance.id.clone(), instance.os_volume.clone(), instance.script.clone());
        Some(Access { instance: id, disk, keys, script })
    }

    /// Returns what bills and what billed.
    pub fn bill(&self, now: Timestamp) -> Value {
        self.account.bill(now)
    }

    /// Changes the world behind the API's back.
    pub fn set(&mut self, changes: Changes, now: Timestamp) {
        if let Some(seconds) = changes.list_lag {
            self.set_lag(seconds, now);
        }
        if let Some(balance) = changes.balance {
            self.account.balance = billing::micros(balance);
        }
        for (location, shelf) in changes.stock {
            shelf.into_iter().for_each(|(kind, count)| self.stock.set(&location, &kind, count));
        }
        for (location, shelf) in changes.claims {
            shelf.into_iter().for_each(|(kind, claim)| self.stock.claim(&location, &kind, claim));
        }
        self.timing = changes.timing.unwrap_or(self.timing);
        self.endings = changes.endings.unwrap_or(std::mem::take(&mut self.endings));
        for (id, status) in changes.status {
            let all = self.instances.iter().filter(|one| id == "*" || one.id == id);
            let meant: Vec<String> = all.map(|one| one.id.clone()).collect();
            meant.iter().for_each(|id| self.force(id, status, now));
        }
        self.forget_the_gone();
        if changes.revoke_tokens {
            self.tokens.revoke();
        }
        self.remember(now);
    }

    fn force(&mut self, id: &str, status: Status, now: Timestamp) {
        let Some(index) = self.instances.iter().position(|one| one.id == id) else { return };
        match status {
            // Gone is gone: nothing brings a machine back, and nothing ends it twice.
            _ if self.instances[index].status == Status::Discontinued => {}
            Status::Discontinued => self.evict(index, now),
            status => self.turn_instance(index, Next { at: now, status }),
        }
    }

    fn route(&mut self, call: &Call, now: Timestamp) -> Answer {
        let path = call.segments();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let Some(("v1", path)) = path.split_first().map(|(first, rest)| (*first, rest)) else {
            return lost();
        };
        match (call.method.as_str(), path) {
            ("POST", ["oauth2", "token"]) => return self.tokens.mint(call, now),
            ("GET", ["instance-types"]) => return catalogue::types(call, None),
            ("GET", ["volume-types"]) => return catalogue::volume_types(call),
            ("GET", ["cluster-types"]) => return clusters::types(call),
            _ => self.tokens.check(call, now)?,
        }
        match (call.method.as_str(), path) {
            ("GET", ["instances"]) => self.list_instances(call, now),
            ("GET", ["instances", id]) => self.show_instance(id),
            ("POST", ["instances"]) => self.create_instance(call, now),
            ("PUT", ["instances"]) => self.act_on_instances(call, now),
            (_, ["instances", id, "tags", key @ ..]) => {
                let instance = self.instances.iter_mut().find(|one| one.id == *id);
                tags::answer(&mut instance.ok_or_else(instances::unknown)?.tags, call, key.first().copied())
            }
            ("GET", ["instance-types", "price-history"]) => catalogue::price_history(call, now),
            ("GET", ["instance-types", name]) => catalogue::types(call, Some(name)),
            ("GET", ["long-term", "periods", of @ ..]) => catalogue::periods(of.first().copied()),
            ("GET", ["instance-availability", kind @ ..]) => {
                catalogue::availability(&self.stock, call, kind.first().copied())
            }
            ("GET", ["images"]) => catalogue::images(call),
            ("GET", ["images", "cluster"]) => clusters::images(call),
            ("GET", ["cluster-availability", kind @ ..]) => {
                clusters::availability(&self.stock, call, kind.first().copied())
            }
            (_, ["clusters", id, "tags", key @ ..]) => {
                let index = self.cluster_index(id)?;
                tags::answer(&mut self.clusters[index].tags, call, key.first().copied())
            }
            ("GET", ["clusters"]) => self.list_clusters(call),
            ("GET", ["clusters", id]) => self.show_cluster(id),
            ("POST", ["clusters"]) => self.create_cluster(call, now),
            ("PUT", ["clusters"]) => self.act_on_clusters(call, now),
            ("GET", ["locations"]) => catalogue::locations(),
            ("GET", ["balance"]) => Ok(Reply::json(200, &self.balance())),
            (_, ["ssh-keys" | "sshkeys", id @ ..]) => {
                Collection::Keys.answer(&mut self.keys, call, id.first().copied(), now)
            }
            (_, ["scripts", id @ ..]) => {
                Collection::Scripts.answer(&mut self.scripts, call, id.first().copied(), now)
            }
            ("GET", ["volumes"]) => self.list_volumes(call, now),
            ("GET", ["volumes", "trash"]) => self.list_trash(),
            ("GET", ["volumes", id]) => self.show_volume(id),
            ("POST", ["volumes"]) => self.create_volume(call, now),
            ("PUT", ["volumes"]) => self.act_on_volumes(call, now),
            ("DELETE", ["volumes", id]) => self.remove_volume(call, id, now),
            (_, ["volumes", id, "tags", key @ ..]) => {
                let index = self.volume_index(id)?;
                tags::answer(&mut self.volumes[index].tags, call, key.first().copied())
            }
            _ => lost(),
        }
    }

    fn balance(&self) -> Value {
        json!({"amount": units(self.account.balance / 10_000 * 10_000), "currency": "usd"})
    }

    /// Counts a list call against the limit, which runs on the sandbox's clock like everything else.
    fn count_list(&mut self, now: Timestamp) -> Result<(), Refusal> {
        let fresh = |at: &Timestamp| now.duration_since(*at) < SignedDuration::from_mins(1);
        self.listed.retain(fresh);
        if self.listed.len() >= LISTS_PER_MINUTE {
            return Err(Refusal::too_many());
        }
        self.listed.push_back(now);
        Ok(())
    }

    fn next_due(&self) -> Option<Timestamp> {
        let instances = self.instances.iter().filter_map(|one| one.next).map(|next| next.at);
        let clusters = self.clusters.iter().filter_map(|one| one.next).map(|next| next.at);
        let volumes = self.volumes.iter().filter_map(Volume::next_due);
        instances.chain(clusters).chain(volumes).chain(self.account.next_due()).min()
    }

    fn happen(&mut self, at: Timestamp) {
        for index in 0..self.instances.len() {
            if let Some(next) = self.instances[index].next.filter(|next| next.at <= at) {
                self.turn_instance(index, next);
            }
        }
        self.forget_the_gone();
        for index in 0..self.clusters.len() {
            if let Some(next) = self.clusters[index].next.filter(|next| next.at <= at) {
                self.turn_cluster(index, next);
            }
        }
        for index in 0..self.volumes.len() {
            if self.volumes[index].next_due().is_some_and(|due| due <= at) {
                self.turn_volume(index, at);
            }
        }
        if !self.account.pay(at) {
            self.foreclose(at);
        }
    }

    /// Ends everything, because the balance no longer pays for it; the volumes stay in the trash for a while.
    fn foreclose(&mut self, now: Timestamp) {
        for index in 0..self.instances.len() {
            if self.instances[index].status != Status::Discontinued {
                self.bury(index, now);
            }
        }
        for index in 0..self.clusters.len() {
            if self.clusters[index].status != Status::Discontinued {
                self.bury_cluster(index, now);
            }
        }
        for index in 0..self.volumes.len() {
            if self.volumes[index].deleted.is_none() {
                self.trash(index, false, now);
            }
        }
    }
}

fn lost() -> Answer {
    Err(Refusal::not_found("Not found"))
}
