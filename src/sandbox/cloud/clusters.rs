//! Clusters: several machines ordered, billed and ended as one, with a volume that they share.
//!
//! Their nodes are facts only: nobody answers at their addresses.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::billing::{Kind, micros, units};
use super::catalogue::{
    Currency, LOCATIONS, Stock, image_id, is_location, sized, text, volume_price, written,
};
use super::instances::{Next, Status};
use super::order::is_hostname;
use super::reply::{Answer, Refusal, body};
use super::tags::{self, NewTag, Tag};
use super::volumes::Volume;
use crate::digest::sha256_hex;
use crate::sandbox::clock::later;
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// A cluster, also after its end.
#[derive(Serialize, Deserialize)]
pub struct Cluster {
    id: String,
    hostname: String,
    description: String,
    kind: String,
    image: String,
    location: String,
    contract: String,
    key_ids: Vec<String>,
    script_id: Option<String>,
    pub(super) tags: Vec<Tag>,
    created: Timestamp,
    pub(super) status: Status,
    pub(super) next: Option<Next>,
    /// The ids of its worker nodes.
    nodes: Vec<String>,
}

/// A type of cluster: so many nodes with eight GPUs each. The prices are those of their single machines.
struct ClusterType {
    name: &'static str,
    model: &'static str,
    nodes: u32,
    gpu_memory: u32,
    cores: u32,
    memory: u32,
    price: f64,
}

const TYPES: [ClusterType; 2] = [
    ClusterType {
        name: "16B200",
        model: "B200 SXM6 180GB",
        nodes: 2,
        gpu_memory: 2880,
        cores: 480,
        memory: 2944,
        price: 110.68,
    },
    ClusterType {
        name: "16H200",
        model: "H200 SXM5 141GB",
        nodes: 2,
        gpu_memory: 2256,
        cores: 352,
        memory: 2912,
        price: 75.712,
    },
];

const IMAGES: [(&str, &str, &[&str]); 2] = [
    ("ubuntu-22.04-cuda-12.9-cluster", "Ubuntu 22.04 + CUDA 12.9 Cluster", &["Ubuntu 22.04", "CUDA 12.9"]),
    ("ubuntu-24.04-cuda-12.8-cluster", "Ubuntu 24.04 + CUDA 12.8 Cluster", &["Ubuntu 24.04", "CUDA 12.8"]),
];

/// The body of `POST /clusters`.
#[derive(Deserialize)]
struct Order {
    cluster_type: String,
    image: String,
    hostname: String,
    description: Option<String>,
    ssh_key_ids: Option<Vec<String>>,
    location_code: String,
    contract: Option<String>,
    startup_script_id: Option<String>,
    shared_volume: SharedVolume,
    tags: Option<Vec<NewTag>>,
}

#[derive(Deserialize)]
struct SharedVolume {
    name: String,
    size: u64,
}

/// The body of `PUT /clusters`.
#[derive(Deserialize)]
struct Asked {
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    id: String,
    action: String,
}

impl ClusterType {
    fn named(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|kind| kind.name == name)
    }

    fn describe(&self, into: &mut Value) {
        let gpus = 8 * self.nodes;
        into["cpu"] = json!({"description": format!("{} CPU", self.cores), "number_of_cores": self.cores});
        into["gpu"] = json!({"description": format!("{gpus}x {}", self.model), "number_of_gpus": gpus});
        into["gpu_memory"] = sized(self.gpu_memory, "GPU RAM");
        into["memory"] = sized(self.memory, "RAM");
    }

    fn json(&self, currency: Currency) -> Value {
        let images: Vec<&str> = IMAGES.iter().map(|(slug, ..)| *slug).collect();
        let mut value = json!({
            "id": random::uuid_from(&sha256_hex(self.name.as_bytes())), "cluster_type": self.name,
            "model": self.model, "name": format!("{} cluster", self.model), "manufacturer": "NVIDIA",
            "price_per_hour": text(currency.of(self.price)), "currency": currency.code(),
            "node_details": [format!("{}x 8 GPU nodes", self.nodes)], "supported_os": images,
        });
        self.describe(&mut value);
        value
    }
}

/// `GET /cluster-types`; answers without a token.
pub fn types(call: &Call) -> Answer {
    let currency = Currency::asked(call)?;
    Ok(Reply::json(200, &TYPES.iter().map(|kind| kind.json(currency)).collect()))
}

/// `GET /images/cluster`, for all types or for one.
pub fn images(call: &Call) -> Answer {
    if call.query("instance_type").is_some_and(|name| ClusterType::named(name).is_none()) {
        return Err(Refusal::not_found("Cluster type not found"));
    }
    let listed = IMAGES.iter().map(|(slug, name, details)| {
        json!({"id": image_id(slug), "image_type": slug, "name": name, "is_default": *slug == IMAGES[0].0,
               "details": details, "category": "cluster", "is_cluster": true})
    });
    Ok(Reply::json(200, &listed.collect()))
}

/// `GET /cluster-availability` and `/cluster-availability/{type}`.
pub fn availability(stock: &Stock, call: &Call, kind: Option<&str>) -> Answer {
    let location = call.query("location_code");
    if let Some(kind) = kind {
        let there = ClusterType::named(kind).is_some() && stock.shows(location, kind);
        return Ok(Reply::json(200, &json!(there)));
    }
    if location.is_some_and(|code| !is_location(code)) {
        return Err(Refusal::invalid("Invalid location code"));
    }
    let asked = |code: &&str| location.is_none_or(|location| location == *code);
    let listed = LOCATIONS.iter().map(|(code, ..)| *code).filter(asked).map(|code| {
        let names = TYPES.iter().map(|kind| kind.name).filter(|kind| stock.shows(Some(code), kind));
        json!({"location_code": code, "availabilities": names.collect::<Vec<_>>()})
    });
    Ok(Reply::json(200, &listed.collect()))
}

impl Cluster {
    fn json(&self, cloud: &Cloud) -> Value {
        let up = self.status == Status::Running;
        let node = |(number, id): (usize, &String)| {
            json!({"id": id, "hostname": format!("{}-{}", self.hostname, number + 1), "status": self.status,
                   "public_ip": "", "private_ip": format!("10.0.0.{}", number + 2)})
        };
        let nodes: Vec<Value> = self.nodes.iter().enumerate().filter(|_| up).map(node).collect();
        let shared = cloud.volumes.iter().filter(|volume| volume.belongs_to(&self.id));
        let shared: Vec<Value> = shared
            .map(|volume| {
                json!({"id": volume.id, "name": volume.name, "size_in_gigabytes": volume.size,
                       "mount_point": "/mnt/shared"})
            })
            .collect();
        let os_name = IMAGES.iter().find(|(slug, ..)| *slug == self.image).map(|(_, name, _)| *name);
        let kind = ClusterType::named(&self.kind);
        let mut value = json!({
            "id": self.id, "ip": up.then_some("127.78.0.2"), "status": self.status,
            "created_at": written(self.created), "hostname": self.hostname, "description": self.description,
            "location": self.location, "price_per_hour": kind.map(|kind| units(micros(kind.price))),
            "cluster_type": self.kind, "image": self.image, "os_name": os_name, "ssh_key_ids": self.key_ids,
            "contract": self.contract, "startup_script_id": self.script_id, "auto_rent_extension": null,
            "turn_to_pay_as_you_go": null, "extension_settings": null, "long_term_period": null,
            "worker_nodes": nodes, "shared_volumes": shared, "tags": self.tags,
        });
        if let Some(kind) = kind {
            kind.describe(&mut value);
        }
        value
    }
}

impl Cloud {
    /// `GET /clusters`.
    pub(super) fn list_clusters(&self, call: &Call) -> Answer {
        let status = call.query("status").map(Status::asked).transpose()?;
        let listed = self.clusters.iter().filter(|cluster| match status {
            Some(status) => cluster.status == status,
            None => cluster.status != Status::Discontinued,
        });
        Ok(Reply::json(200, &listed.map(|cluster| cluster.json(self)).collect()))
    }

    /// `GET /clusters/{id}`; a discontinued one still answers.
    pub(super) fn show_cluster(&self, id: &str) -> Answer {
        Ok(Reply::json(200, &self.clusters[self.cluster_index(id)?].json(self)))
    }

    /// `POST /clusters`: the id comes in an object here.
    pub(super) fn create_cluster(&mut self, call: &Call, now: Timestamp) -> Answer {
        let order: Order = body(call)?;
        let kind = self.check_cluster(&order)?;
        let tags = tags::checked(order.tags)?;
        let volume = order.shared_volume;
        let total = micros(kind.price) + volume_price(volume.size);
        if !self.account.covers(total) {
            return Err(Refusal::funds());
        }
        if !self.stock.take(&order.location_code, kind.name) {
            let (name, location) = (kind.name, &order.location_code);
            let message = format!("Not enough resources to deploy a cluster type {name} in {location}");
            return Err(Refusal::capacity(message));
        }
        let id = random::uuid();
        let mut shared = Volume::new(volume.name, volume.size, &order.location_code, Vec::new(), now);
        (shared.kind, shared.holders) = ("NVMe_Shared".to_owned(), vec![id.clone()]);
        self.add_volume(shared, now);
        self.account.open(Kind::Cluster, &id, &order.hostname, micros(kind.price), now);
        self.clusters.push(Cluster {
            id: id.clone(),
            hostname: order.hostname,
            description: order.description.unwrap_or_default(),
            kind: kind.name.to_owned(),
            image: order.image,
            location: order.location_code,
            contract: order.contract.unwrap_or_else(|| "PAY_AS_YOU_GO".to_owned()),
            key_ids: order.ssh_key_ids.unwrap_or_default(),
            script_id: order.startup_script_id,
            tags,
            created: now,
            status: Status::Ordered,
            next: Some(self.timing.ordered(now)),
            nodes: (0..kind.nodes).map(|_| random::uuid()).collect(),
        });
        Ok(Reply::json(202, &json!({"id": id})))
    }

    fn check_cluster(&self, order: &Order) -> Result<&'static ClusterType, Refusal> {
        let kind = ClusterType::named(&order.cluster_type)
            .ok_or_else(|| Refusal::invalid("Invalid cluster type"))?;
        if !is_hostname(&order.hostname) {
            return Err(Refusal::invalid("Invalid hostname"));
        }
        if !is_location(&order.location_code) {
            return Err(Refusal::invalid("Invalid location code"));
        }
        if !IMAGES.iter().any(|(slug, ..)| *slug == order.image || image_id(slug) == order.image) {
            return Err(Refusal::invalid("Operating system is not valid for this cluster type"));
        }
        if !matches!(order.contract.as_deref(), None | Some("PAY_AS_YOU_GO" | "LONG_TERM")) {
            return Err(Refusal::invalid("contract must be one of: LONG_TERM, PAY_AS_YOU_GO"));
        }
        if order.shared_volume.name.is_empty() || order.shared_volume.size == 0 {
            return Err(Refusal::invalid("shared_volume needs a name and a size"));
        }
        self.key_lines(order.ssh_key_ids.as_deref().unwrap_or_default(), false)?;
        self.check_script(order.startup_script_id.as_deref())?;
        Ok(kind)
    }

    /// `PUT /clusters`: nothing is done unless all of it can be done.
    pub(super) fn act_on_clusters(&mut self, call: &Call, now: Timestamp) -> Answer {
        let asked: Asked = body(call)?;
        if asked.actions.is_empty() {
            return Err(Refusal::invalid("actions should not be empty"));
        }
        let mut indexes = Vec::new();
        for one in &asked.actions {
            if one.action != "discontinue" {
                return Err(Refusal::invalid(format!("Invalid action: {}", one.action)));
            }
            let index = self.cluster_index(&one.id)?;
            // The rule is known of instances; that clusters have it too is assumed.
            if let status @ (Status::Provisioning | Status::Discontinued) = self.clusters[index].status {
                return Err(Refusal::forbidden(format!("Can't discontinue a {} cluster", status.word())));
            }
            indexes.push(index);
        }
        indexes.into_iter().for_each(|index| self.bury_cluster(index, now));
        Ok(Reply::empty(202))
    }

    /// Lets a cluster become what it was going to become.
    pub(super) fn turn_cluster(&mut self, index: usize, next: Next) {
        let built = later(next.at, self.timing.provisioning);
        let cluster = &mut self.clusters[index];
        (cluster.status, cluster.next) = (next.status, None);
        if next.status == Status::Provisioning {
            cluster.next = Some(Next { at: built, status: Status::Running });
            let id = cluster.id.clone();
            self.attach_all(&id);
        }
    }

    /// Ends a cluster; its shared volume is detached and goes on billing.
    pub(super) fn bury_cluster(&mut self, index: usize, now: Timestamp) {
        let cluster = &mut self.clusters[index];
        (cluster.status, cluster.next) = (Status::Discontinued, None);
        self.account.close(&cluster.id, now);
        self.stock.put_back(&cluster.location, &cluster.kind);
        let id = cluster.id.clone();
        self.release_volumes(&id, now);
    }

    /// Returns where a cluster stands.
    pub(super) fn cluster_index(&self, id: &str) -> Result<usize, Refusal> {
        let index = self.clusters.iter().position(|cluster| cluster.id == id);
        index.ok_or_else(|| Refusal::invalid("Invalid cluster id"))
    }
}
