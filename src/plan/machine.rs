//! The machine's part of the plan: which one is meant, whether it is there, where to get one.

use std::collections::BTreeSet;

use serde::Serialize;

use super::set_up::frozen;
use super::{Blocked, Draft, Fresh, Kind, Living, Note};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, InstanceType, Limits, Money, Probe, Server, Status};
use crate::guard::Discard;
use crate::lock::{Lock, LockedArtifact, LockedMachine};
use crate::observed::Observed;
use crate::record::{Base, Disk};
use crate::spec::{Spec, nearest};
use crate::world::{Artifact, Code, Machine, Market, World};

/// One machine that would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Instance type.
    pub r#type: String,
    /// Location code.
    pub location: String,
    /// Price per hour of the whole machine.
    pub price_per_hour: Money,
    /// Whether the cloud says that it is in stock; a hint, not a reservation.
    pub in_stock: bool,
}

impl<'a> Draft<'a> {
    /// Plans for one machine as the spec asks; says whether its disk is as the image made it.
    pub(super) fn bring_machine(&mut self) -> Result<Fresh> {
        self.forget_unknown();
        if let Some(living) = self.machine {
            match &living.instance.status {
                Status::Discontinued => return self.after_a_gone_machine(living),
                // Anything else that never was used and never will be holds nothing, and may bill.
                Status::Failed(_) if !living.rented.login => self.delete(living),
                Status::Deleting if !living.rented.is_in_use() => {}
                _ if self.make_way(living) => return Ok(Fresh::Unknown),
                _ => {
                    self.look_beside();
                    return self.keep_machine(living);
                }
            }
        } else if let Some(ours) = self.unrecorded() {
            self.add(Kind::Adopt { machine: ours.id.clone() });
            return Ok(Fresh::Unknown);
        }
        self.let_go_of_named_disk();
        match self.waiting_disk() {
            Some(disk) => self.boot(disk),
            None => self.create_machine(),
        }
    }

    /// A second machine of ours bills as well; tells whether it stands in the way of ending the first.
    pub(super) fn look_beside(&mut self) -> bool {
        let Some(other) = self.unrecorded() else { return false };
        let machine = other.id.clone();
        let is_twin = self.observed.record.ordered(other);
        if is_twin {
            self.add(Kind::EndTwin { machine });
        } else {
            self.plan.blocked.push(Blocked::Several { machine });
        }
        !is_twin
    }

    /// Plans for our machine to go where another laptop has rented an older one.
    pub(super) fn make_way(&mut self, living: Living<'_>) -> bool {
        let (record, instances) = (&self.observed.record, &self.observed.cloud.instances);
        let Some(other) = record.makes_way_for(instances, living.instance) else { return false };
        self.add(Kind::MakeWay { machine: living.rented.id.clone(), older: other.id.clone() });
        true
    }

    fn after_a_gone_machine(&mut self, living: Living<'a>) -> Result<Fresh> {
        if living.rented.is_in_use() && !self.request.discards.contains(&Discard::Gone) {
            return self.recover(living);
        }
        self.add(Kind::Forget { machine: living.rented.id.clone() });
        // What its disk is to become is known once the record has noted that the machine is gone.
        if living.rented.leaves_disk() {
            return Ok(Fresh::Unknown);
        }
        self.create_machine()
    }

    fn keep_machine(&mut self, living: Living<'a>) -> Result<Fresh> {
        self.plan.observed = self.observed_world(living);
        self.plan.desired.machine = self.plan.observed.machine.clone();
        let differs = self.compare_machine(living);
        let machine = living.rented.id.clone();
        let settled = matches!(
            living.instance.status,
            Status::Ordered(_) | Status::Provisioning | Status::Running | Status::Offline
        );
        if !settled {
            self.unsettled(living);
            return Ok(Fresh::Unknown);
        }
        if differs && self.request.replace && !self.is_protected(living) {
            return self.replace_machine(living);
        }
        // A deletion that was decided and never carried out: forgotten, so that it explains nothing later.
        if living.rented.ending.is_some() {
            self.add(Kind::Adopt { machine: machine.clone() });
        }
        if living.instance.status == Status::Offline {
            self.add(Kind::Start { machine });
        }
        if !living.rented.login {
            self.note(Note::NotLoggedIn);
            self.add(Kind::Ready);
            return Ok(if living.rented.booted.is_some() { Fresh::Unknown } else { Fresh::Yes });
        }
        Ok(self.look_at_server(living))
    }

    fn look_at_server(&mut self, living: Living<'_>) -> Fresh {
        let (observed, instance) = (self.observed, living.instance);
        match &observed.server {
            _ if instance.status != Status::Running => self.await_server(),
            Server::Seen(probe) => {
                self.note_missing_gpu(instance, probe);
                self.pin_host_key(living);
                Fresh::No
            }
            Server::Unreachable(why) => {
                self.plan.blocked.push(Blocked::Unreachable { why: why.clone() });
                Fresh::Unknown
            }
            Server::None => self.await_server(),
        }
    }

    /// A machine that was adopted without a record of it is known by no key yet, and gets no agent until it is.
    pub(super) fn pin_host_key(&mut self, living: Living<'_>) {
        if living.rented.host_key.is_none() {
            self.add(Kind::Ready);
        }
    }

    fn await_server(&mut self) -> Fresh {
        self.add(Kind::Ready);
        Fresh::Unknown
    }

    fn note_missing_gpu(&mut self, instance: &Instance, probe: &Probe) {
        let mut offers = self.observed.cloud.types.iter();
        let has_none = offers.any(|offer| offer.name == instance.r#type && offer.gpus == 0);
        if probe.gpu.is_none() && !has_none {
            self.note(Note::NoGpu);
        }
    }

    /// Plans for the machine to make way for another: saved and proven first, and not before the other one
    /// is known to be in stock.
    fn replace_machine(&mut self, living: Living<'a>) -> Result<Fresh> {
        let candidates = self.candidates(None)?;
        if !candidates.iter().any(|candidate| candidate.in_stock) {
            self.plan.blocked.push(Blocked::NoReplacement);
            return Ok(Fresh::Unknown);
        }
        let before = self.plan.actions.len();
        self.save_and_judge(living);
        let saves = self.plan.actions.len() > before;
        self.add(Kind::CheckStock { candidates });
        self.delete_judged(living);
        self.create_machine()?;
        // What is stored on the way is brought by the next look, which knows under which name.
        Ok(if saves { Fresh::Unknown } else { Fresh::Yes })
    }

    /// A replacement arises only where the spec differs from what creation asked for.
    fn compare_machine(&mut self, living: Living<'_>) -> bool {
        let Some(asked) = &living.rented.asked else { return false };
        let spec = &self.request.spec.instance;
        let mut differences = Vec::new();
        let mut compare = |key: &str, is: &str, wanted: &[String]| {
            if !wanted.is_empty() && !wanted.iter().any(|one| one == is) {
                differences.push((key.to_owned(), is.to_owned(), wanted.join(" or ")));
            }
        };
        compare("type", &asked.r#type, &spec.types);
        compare("location", &asked.location, &spec.locations);
        compare("image", &asked.image, std::slice::from_ref(&spec.image));
        compare("os_volume_gb", &asked.os_volume_gb.to_string(), &[spec.os_volume_gb.to_string()]);
        compare("market", asked.market.as_str(), &[spec.market.as_str().to_owned()]);
        let differs = !differences.is_empty();
        if differs {
            if let Some(machine) = &mut self.plan.desired.machine {
                for (key, _, wanted) in &differences {
                    let first = wanted.split(" or ").next().unwrap_or(wanted).to_owned();
                    match key.as_str() {
                        "type" => machine.r#type = first,
                        "location" => machine.location = first,
                        "image" => machine.image = first,
                        "market" => machine.market = spec.market,
                        _ => machine.os_volume_gb = spec.os_volume_gb,
                    }
                }
            }
            if !self.request.replace {
                self.plan.blocked.push(Blocked::Replace { differences });
            }
        }
        if asked.ssh_key != self.observed.key.fingerprint() {
            self.note(Note::OtherKey { created_with: asked.ssh_key.clone() });
        }
        differs
    }

    fn create_machine(&mut self) -> Result<Fresh> {
        self.order(None)?;
        Ok(Fresh::Yes)
    }

    /// Plans for a machine that boots this disk, where the disk is.
    pub(super) fn create_with(&mut self, disk: &Disk) -> Result<()> {
        self.order(Some(disk))
    }

    fn order(&mut self, disk: Option<&Disk>) -> Result<()> {
        let candidates = self.candidates(disk)?;
        let spec = &self.request.spec.instance;
        let first = candidates.first().ok_or_else(|| {
            let what = "no location offers what `instance.type` and `instance.location` ask for";
            let error = Error::of(ExitCode::Usage, what);
            match spec.market {
                Market::OnDemand => error.hint("leave `location` out to take any"),
                Market::Spot => error
                    .why("none of these types is sold on the spot market")
                    .hint("name another type, or set `instance.market = \"on-demand\"`"),
            }
        })?;
        let kept = disk.and_then(|disk| disk.asked.as_ref());
        self.plan.desired.machine = Some(Machine {
            r#type: first.r#type.clone(),
            location: first.location.clone(),
            image: kept.map_or(&spec.image, |kept| &kept.image).clone(),
            ssh_key: self.observed.key.fingerprint(),
            os_volume_gb: kept.map_or(spec.os_volume_gb, |kept| kept.os_volume_gb),
            market: spec.market,
        });
        if !candidates.iter().any(|candidate| candidate.in_stock) {
            self.note(Note::OutOfStock);
        }
        if !self.observed.cloud.keys.iter().any(|key| key.key == self.observed.key) {
            let name = format!("dacapo-{}", self.request.spec.name);
            self.add(Kind::RegisterKey { name, key: self.observed.key.clone() });
        }
        self.add(Kind::Create { candidates, boots: disk.map(|disk| disk.volume.clone()) });
        self.add(Kind::Ready);
        Ok(())
    }

    /// Every type at every location, in the spec's order; those in stock first. A machine that boots a disk
    /// must be where the disk is.
    fn candidates(&self, disk: Option<&Disk>) -> Result<Vec<Candidate>> {
        let cloud = &self.observed.cloud;
        let spec = &self.request.spec.instance;
        let locked = self.locked_machine()?;
        let types = locked.map_or_else(|| spec.types.clone(), |machine| vec![machine.r#type.clone()]);
        let wanted = locked.map_or_else(|| spec.locations.clone(), |machine| vec![machine.location.clone()]);
        if let Some(machine) = locked.filter(|machine| machine.image != spec.image) {
            return Err(Error::of(ExitCode::Usage, "`session.lock` was made for another image")
                .why(format!("it says `{}`, `session.toml` says `{}`", machine.image, spec.image))
                .hint("run without `--locked` to resolve anew"));
        }
        let wanted = disk.map_or(wanted, |disk| vec![disk.location.clone()]);
        let mut anywhere: Vec<&String> = cloud.locations.iter().collect();
        anywhere.sort();
        let locations: Vec<&String> = match wanted.as_slice() {
            [] => anywhere,
            listed => listed.iter().collect(),
        };
        for location in &locations {
            known("location", location, cloud.locations.iter().map(String::as_str))?;
        }
        known("image", &spec.image, cloud.images.iter().flat_map(|i| [i.slug.as_str(), i.id.as_str()]))?;
        let mut candidates = Vec::new();
        for name in &types {
            let offer = self.offer(name)?;
            let price = match spec.market {
                Market::OnDemand => Some(offer.price_per_hour),
                Market::Spot => offer.spot_price,
            };
            let Some(price) = price else { continue };
            for location in &locations {
                let in_stock = cloud.stock.get(*location).is_some_and(|types| types.contains(name));
                candidates.push(Candidate {
                    r#type: name.clone(),
                    location: (*location).clone(),
                    price_per_hour: price,
                    in_stock,
                });
            }
        }
        affordable(&mut candidates, &self.request.spec.limits)?;
        candidates.sort_by_key(|candidate| !candidate.in_stock);
        Ok(candidates)
    }

    fn locked_machine(&self) -> Result<Option<&'a LockedMachine>> {
        if !self.request.locked {
            return Ok(None);
        }
        let locked = self.request.lock.and_then(|lock| lock.machine.as_ref());
        locked.map(Some).ok_or_else(|| {
            Error::of(ExitCode::Usage, "`--locked`: session.lock names no machine")
                .why("`--locked` brings what the lock says and resolves nothing anew")
                .hint("run `dacapo up` without `--locked` once, and commit session.lock")
        })
    }

    fn offer(&self, name: &str) -> Result<&'a InstanceType> {
        let cloud = &self.observed.cloud;
        known("type", name, cloud.types.iter().map(|offer| offer.name.as_str()))?;
        let offer = cloud.types.iter().find(|offer| offer.name == name).expect("it is known");
        let image = &self.request.spec.instance.image;
        let slug = cloud.images.iter().find(|i| i.id == *image).map_or(image, |i| &i.slug);
        if offer.images.is_empty() || offer.images.contains(slug) {
            return Ok(offer);
        }
        Err(Error::of(ExitCode::Usage, format!("image `{image}` doesn't run on `{name}`"))
            .why(format!("the cloud supports there: {}", sorted(offer.images.iter().map(String::as_str))))
            .hint("set `instance.image` to one of these, or choose another `instance.type`"))
    }

    /// The world as it is, where work counts as what it is based on.
    pub(super) fn observed_world(&self, living: Living<'_>) -> World {
        let asked = living.rented.asked.as_ref();
        let instance = living.instance;
        let machine = Machine {
            r#type: instance.r#type.clone(),
            location: instance.location.clone(),
            image: asked.map_or_else(|| instance.image.clone(), |asked| asked.image.clone()),
            ssh_key: asked.map_or_else(|| self.observed.key.fingerprint(), |asked| asked.ssh_key.clone()),
            os_volume_gb: asked.map_or_else(|| self.os_volume_gb(instance), |asked| asked.os_volume_gb),
            market: if instance.spot { Market::Spot } else { Market::OnDemand },
        };
        let mut world = World { machine: Some(machine), ..World::default() };
        let Server::Seen(probe) = &self.observed.server else { return world };
        let spec = self.request.spec;
        if let Some(head) = probe.checkout.as_ref().and_then(|checkout| checkout.head.clone()) {
            let branch = probe.checkout.as_ref().and_then(|checkout| checkout.branch.clone());
            world.code = Some(Code {
                url: spec.repo.url.clone(),
                branch: branch.unwrap_or_else(|| "(detached)".to_owned()),
                commit: head,
            });
        }
        for (name, kept) in self.present(living.rented) {
            if let Some(artifact) = spec.artifacts.get(&name) {
                let content = Some(kept.payload);
                let path = artifact.path.clone();
                world.artifacts.insert(name, Artifact { path, version: kept.version, content });
            }
        }
        world.setup = self.observed_set_up();
        world.notebook = self.observed_notebook();
        world
    }

    fn os_volume_gb(&self, instance: &Instance) -> u32 {
        let os = instance.os_volume.as_ref();
        self.observed.cloud.volumes.iter().find(|v| Some(&v.id) == os).map_or(0, |volume| volume.size_gb)
    }
}

/// Leaves out what costs more than the spec allows; none left is over budget.
fn affordable(candidates: &mut Vec<Candidate>, limits: &Limits) -> Result<()> {
    let Some(cheapest) = candidates.iter().map(|candidate| candidate.price_per_hour).min() else {
        return Ok(());
    };
    let by_deadline = |price: Money| price.for_seconds(limits.deadline.seconds());
    let over = |what: &str, costs: Money, key: &str, most: Money| {
        Error::of(
            ExitCode::Budget,
            format!("every machine that the spec asks for {what} more than `limits.{key}`"),
        )
        .why(format!("the cheapest is {costs}, and the spec allows {most}"))
        .hint(format!("raise `limits.{key}`, or name a cheaper `instance.type`; nothing was ordered"))
    };
    if let Some(most) = limits.max_price_per_hour {
        candidates.retain(|candidate| candidate.price_per_hour <= most);
        if candidates.is_empty() {
            return Err(over("costs", cheapest, "max_price_per_hour", most));
        }
    }
    if let Some(most) = limits.max_cost {
        candidates.retain(|candidate| by_deadline(candidate.price_per_hour) <= most);
        if candidates.is_empty() {
            return Err(over("would, by its deadline, cost", by_deadline(cheapest), "max_cost", most));
        }
    }
    Ok(())
}

fn known<'n>(key: &str, name: &str, among: impl Iterator<Item = &'n str>) -> Result<()> {
    // In the order of the alphabet, so that the answer doesn't depend on the order of the cloud's lists.
    let offered: BTreeSet<&str> = among.collect();
    if offered.contains(name) {
        return Ok(());
    }
    let error = Error::of(ExitCode::Usage, format!("`instance.{key}`: the cloud doesn't offer `{name}`"));
    let near = nearest(name, offered.iter().copied());
    let hint = near.map_or_else(|| "name one of these".to_owned(), |near| format!("did you mean `{near}`?"));
    Err(error.why(format!("it offers {}", sorted(offered))).hint(hint))
}

fn sorted<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    quoted(&names)
}

pub(super) fn quoted(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub(super) fn lock(spec: &Spec, observed: &Observed, before: Option<&Lock>) -> Lock {
    let record = &observed.record;
    let machine = record.machine.as_ref().and_then(|machine| machine.asked.as_ref());
    let base: &Base = record.machine.as_ref().map_or(&record.last, |machine| &machine.base);
    let packages = frozen(spec, observed).or_else(|| {
        let before = before.and_then(|lock| lock.packages.clone());
        before.filter(|_| spec.setup.is_some())
    });
    let kept = |name: &String| base.artifacts.get(name).or_else(|| record.last.artifacts.get(name));
    Lock {
        machine: machine
            .map(|asked| LockedMachine {
                r#type: asked.r#type.clone(),
                location: asked.location.clone(),
                image: asked.image.clone(),
            })
            .or_else(|| before.and_then(|lock| lock.machine.clone())),
        commit: base.commit.clone().filter(|_| !observed.laptop.spec_in_repo),
        packages,
        artifacts: spec
            .artifacts
            .keys()
            .filter_map(|name| {
                let kept = kept(name)?;
                let (version, content) = (kept.version.clone(), Some(kept.payload));
                Some((name.clone(), LockedArtifact { version, content }))
            })
            .collect(),
    }
}
