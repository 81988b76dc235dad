//! What the worlds say about themselves, in our own types and before anything is concluded from it.
//!
//! Unknown statuses and kinds survive as text: a service may learn new words before we do.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::digest::ContentHash;

/// An amount of money in millionths of the account's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    /// Millionths of one unit of currency.
    pub micros: i64,
}

impl Money {
    /// Returns the amount nearest to `units`.
    pub fn from_units(units: f64) -> Self {
        Self { micros: (units * 1e6).round() as i64 }
    }

    /// Returns the amount in whole units of currency, for JSON.
    pub fn units(self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// Returns this price per hour applied to `seconds`.
    #[must_use]
    pub fn for_seconds(self, seconds: i64) -> Self {
        let micros = i128::from(self.micros) * i128::from(seconds) / 3600;
        Self { micros: micros.clamp(i64::MIN.into(), i64::MAX.into()) as i64 }
    }
}

impl Serialize for Money {
    /// A number of whole units of currency.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.units())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_units)
    }
}

impl std::ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { micros: self.micros.saturating_add(other.micros) }
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |a, b| a + b)
    }
}

impl fmt::Display for Money {
    /// Four decimals for small prices, two from 10 upwards.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.units();
        if units.abs() >= 10.0 { write!(f, "{units:.2}") } else { write!(f, "{units:.4}") }
    }
}

/// What the cloud says of an instance's life.
///
/// Source: the API's 13 published values; anything else is kept as `Other`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// On its way: `new`, `ordered`, `pending`, `validating`.
    Ordered(String),
    /// Being built; can't be deleted now.
    Provisioning,
    /// Up; sshd may still need minutes.
    Running,
    /// Shut down, and still billed.
    Offline,
    /// Going away.
    Deleting,
    /// Gone; hidden from the list.
    Discontinued,
    /// Never came up and never will: `no_capacity`, `error`, `installation_failed`.
    Failed(String),
    /// Something else (`unknown`, `notfound`, or a word we don't know): never taken for absence.
    Other(String),
}

impl From<String> for Status {
    fn from(text: String) -> Self {
        match text.as_str() {
            "new" | "ordered" | "pending" | "validating" => Self::Ordered(text),
            "provisioning" => Self::Provisioning,
            "running" => Self::Running,
            "offline" => Self::Offline,
            "deleting" => Self::Deleting,
            "discontinued" => Self::Discontinued,
            "no_capacity" | "error" | "installation_failed" => Self::Failed(text),
            _ => Self::Other(text),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.to_string()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordered(text) | Self::Failed(text) | Self::Other(text) => text,
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Offline => "offline",
            Self::Deleting => "deleting",
            Self::Discontinued => "discontinued",
        })
    }
}

/// One machine as the cloud lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The cloud's id (a UUID).
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its public address; none before it runs.
    pub ip: Option<String>,
    /// When the cloud took the order.
    pub created_at: Timestamp,
    /// Its host name: not unique, never an identity.
    pub hostname: String,
    /// Free text; ours carries `dacapo session=… store=… nonce=…`.
    pub description: String,
    /// The instance type.
    pub r#type: String,
    /// The image in the API's own wording, which may differ from what was asked for.
    pub image: String,
    /// The location code.
    pub location: String,
    /// The whole machine's price per hour.
    pub price_per_hour: Money,
    /// Whether it may be taken away at any moment.
    pub spot: bool,
    /// The volume it boots from; may be unknown early in provisioning.
    pub os_volume: Option<String>,
    /// Every volume it has, the OS volume included, without doubles.
    pub volumes: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What opens the notebook server that its image runs; none where the image runs none.
    pub notebook: Option<Token>,
}

/// What opens a notebook server: whoever has it runs commands on the machine.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// Wraps what a service told.
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// Returns it bare: for the helper's standard input, and for the address that opens the page.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// What a session may cost, and how long it may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// How long a machine may run, from the cloud's `created_at`.
    pub deadline: Deadline,
    /// No machine that costs more is ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price_per_hour: Option<Money>,
    /// No machine is ordered that would cost more by its deadline; one that has is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Money>,
    /// Nobody ends the machine while this is set.
    pub protect: bool,
}

/// How long a machine may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    minutes: u32,
}

impl Deadline {
    /// The longest, in minutes: a year.
    const LONGEST: u32 = 365 * 24 * 60;

    /// Returns it in seconds.
    pub fn seconds(self) -> i64 {
        i64::from(self.minutes) * 60
    }

    /// Returns when a machine that was created then is due.
    pub fn after(self, created: Timestamp) -> Timestamp {
        created.checked_add(SignedDuration::from_secs(self.seconds())).unwrap_or(Timestamp::MAX)
    }
}

impl Default for Deadline {
    /// A working day.
    fn default() -> Self {
        Self { minutes: 8 * 60 }
    }
}

impl fmt::Display for Deadline {
    /// As written in `session.toml` and in tags: `8h`, `1d12h`, `90m` as `1h30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes) = (self.minutes / 1440, self.minutes / 60 % 24, self.minutes % 60);
        for (count, unit) in [(days, "d"), (hours, "h"), (minutes, "m")] {
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Deadline {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut minutes = 0_u32;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let count: u32 = rest[..digits].parse().map_err(drop)?;
            let unit = match rest[digits..].chars().next() {
                Some('d') => 1440,
                Some('h') => 60,
                Some('m') => 1,
                _ => return Err(()),
            };
            minutes = count.checked_mul(unit).and_then(|more| minutes.checked_add(more)).ok_or(())?;
            rest = &rest[digits + 1..];
        }
        if (1..=Self::LONGEST).contains(&minutes) { Ok(Self { minutes }) } else { Err(()) }
    }
}

impl Serialize for Deadline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One volume as the cloud lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The cloud's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The API's word: `attached`, `detached`, `deleted`, …
    pub status: String,
    /// Size in GB.
    pub size_gb: u32,
    /// The machine it is attached to.
    pub instance: Option<String>,
    /// What it costs per hour while it isn't in the trash.
    pub price_per_hour: Money,
    /// The same, as it is sold: per month.
    pub price_per_month: Money,
    /// The location code.
    pub location: String,
    /// When it was made, where the API says.
    pub created_at: Option<Timestamp>,
    /// When it went into the trash.
    pub deleted_at: Option<Timestamp>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Volume {
    /// How long the cloud keeps a deleted volume, in hours.
    pub const TRASH_HOURS: i64 = 96;

    /// Returns until when a volume in the trash can be restored.
    pub fn purged_at(&self) -> Option<Timestamp> {
        let trash = SignedDuration::from_hours(Self::TRASH_HOURS);
        self.deleted_at.and_then(|at| at.checked_add(trash).ok())
    }
}

/// A machine on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// The name used to order it.
    pub name: String,
    /// The whole machine's on-demand price per hour.
    pub price_per_hour: Money,
    /// Its price on the spot market; none where it isn't sold there.
    pub spot_price: Option<Money>,
    /// Image slugs that it can boot; empty when the API doesn't say.
    pub images: Vec<String>,
    /// How many GPUs it has.
    pub gpus: u32,
}

/// An image on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The cloud's id (a UUID), accepted wherever the slug is.
    pub id: String,
    /// The slug used to order it.
    pub slug: String,
}

/// A public key that the account holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    /// The cloud's id.
    pub id: String,
    /// Its name: not unique.
    pub name: String,
    /// The key, as it was registered.
    pub key: PublicKey,
}

/// A public key's type and material; comments never take part in comparing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(String);

impl PublicKey {
    /// Reads an OpenSSH public key line; anything behind the material is dropped.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (kind, material) = (words.next()?, words.next()?);
        let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        let base64 = material.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        (known && base64 && material.starts_with("AAAA")).then(|| Self(format!("{kind} {material}")))
    }

    /// Returns `type base64`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the fingerprint as ssh prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        use base64::Engine as _;
        let material = self.0.split(' ').nth(1).unwrap_or_default();
        let blob = base64::engine::general_purpose::STANDARD.decode(material).unwrap_or_default();
        let digest = hex::decode(crate::digest::sha256_hex(&blob)).unwrap_or_default();
        format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest))
    }
}

/// What one round of reads learned of the cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Cloud {
    /// The cloud's own time, from its `Date` header.
    pub now: Timestamp,
    /// Every machine that the account lists.
    pub instances: Vec<Instance>,
    /// The machine named by the record, asked for by id because the list doesn't show it;
    /// `None` inside means that the account doesn't know the id.
    pub recorded: Option<Option<Instance>>,
    /// Every volume that isn't deleted.
    pub volumes: Vec<Volume>,
    /// What can be restored from the trash; none where nobody needed to look.
    pub trash: Option<Vec<Volume>>,
    /// What can be ordered.
    pub types: Vec<InstanceType>,
    /// The asked market's stock by location code; a hint, not a reservation.
    pub stock: BTreeMap<String, Vec<String>>,
    /// Images on offer.
    pub images: Vec<Image>,
    /// Location codes.
    pub locations: Vec<String>,
    /// The account's public keys.
    pub keys: Vec<AccountKey>,
    /// What is left on the account.
    pub balance: Money,
    /// The currency of every amount.
    pub currency: String,
}

/// One file of the store, as its listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Path below the store's folder, without a leading slash.
    pub path: String,
    /// The revision.
    pub rev: String,
    /// Size in bytes, as stored.
    pub size: u64,
    /// The hash of the stored (possibly packed) bytes.
    pub content: ContentHash,
    /// When the service took it.
    pub modified: Timestamp,
}

/// Returns a name as the store tells names apart: lower case, one character for one character.
pub fn folded(name: &str) -> String {
    let fold = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    name.chars().map(fold).collect()
}

/// What one round of reads learned of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// The hash that stands for account and path in tags; `local` without a store.
    pub id: String,
    /// The store's own time, from its `Date` header.
    pub now: Timestamp,
    /// Every file below the store's folder.
    pub files: Vec<StoredFile>,
    /// Whether files can be stored that are too large for one call.
    pub large_files: LargeFiles,
}

/// Whether files can be stored that are too large for one call. For those the server is lent a token that
/// writes and deletes, so one is made only where it reaches nothing but the app's own folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LargeFiles {
    /// They can.
    Possible,
    /// A token that may do less can't be had: there is no refresh token.
    NoRefreshToken,
    /// Nobody has said that the app sees its own folder only.
    NoAppFolder,
}

/// What one probe learned on the server. Every field is the server's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Python's version.
    pub python: String,
    /// git's version; none when it isn't installed.
    pub git: Option<String>,
    /// What `nvidia-smi -L` named first; none when it is missing or fails.
    pub gpu: Option<String>,
    /// The login user's home directory.
    pub home: String,
    /// Bytes free on the disk that holds the home directory.
    pub disk_free: u64,
    /// Whether set-up was marked as ended.
    pub set_up: bool,
    /// The checkout; none where there is nothing at its path.
    pub checkout: Option<Checkout>,
    /// By artifact name.
    pub artifacts: BTreeMap<String, ArtifactFile>,
    /// New regular files under the home directory that neither git nor an artifact answers for;
    /// none when the marker that tells new from old is missing.
    pub files: Option<Vec<NewFile>>,
    /// How many more there are than `files` lists.
    pub more_files: u64,
    /// Programs that use the GPU, run from the checkout, or are otherwise somebody's work.
    pub processes: Vec<Process>,
    /// The notebook server; none where there never was one.
    #[serde(default)]
    pub notebook: Option<Notebook>,
    /// What became of set-up; none where it wasn't asked about.
    #[serde(default)]
    pub setup: Option<SetUp>,
}

/// What the server has noted of set-up, and what its steps would be given now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    /// The steps that ran to their good end, in their order.
    pub steps: Vec<RanStep>,
    /// The step that began and didn't end well.
    #[serde(default)]
    pub broke: Option<BrokenStep>,
    /// What lies at the inputs' paths.
    pub inputs: BTreeMap<String, ArtifactFile>,
    /// The packages that there were when set-up ended.
    #[serde(default)]
    pub freeze: Option<BTreeMap<String, String>>,
    /// Those that there are now: name, in the index's spelling, → version.
    pub packages: BTreeMap<String, String>,
}

/// A step of set-up that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanStep {
    /// Its text.
    pub run: String,
    /// What its inputs held when it began.
    pub inputs: BTreeMap<String, ContentHash>,
}

/// A step of set-up that began and didn't end well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenStep {
    /// Its text.
    pub run: String,
    /// Its exit code; none where it was cut short.
    #[serde(default)]
    pub code: Option<i32>,
}

/// A notebook server, by its own word. What only a browser holds, such as unsaved changes, it doesn't know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notebook {
    /// Whether it answers to its token.
    pub running: bool,
    /// Why not.
    #[serde(default)]
    pub why: Option<String>,
    /// Whether the image runs it.
    pub given: bool,
    /// Where it listens on the machine's loopback.
    pub port: u16,
    /// The folder that it was started for, below the checkout.
    pub directory: String,
    /// What was installed beside it.
    pub packages: Vec<String>,
    /// Jupyter's version.
    #[serde(default)]
    pub version: Option<String>,
    /// Its kernels.
    pub kernels: Vec<Kernel>,
    /// Notebooks, consoles and files that are open with a kernel.
    pub documents: Vec<String>,
    /// How many terminals are open.
    pub terminals: u32,
}

/// One kernel of a notebook server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The notebook that it runs for, by its path; none for a kernel that was left behind.
    pub document: Option<String>,
    /// Whether it waits for something to do. What it holds in memory is lost with it all the same.
    pub idle: bool,
}

/// What lies at the checkout's path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// Why git can't read it; everything else is then empty.
    #[serde(default)]
    pub broken: Option<String>,
    /// `remote.origin.url`.
    #[serde(default)]
    pub remote: Option<String>,
    /// The commit that HEAD names; none while unborn.
    #[serde(default)]
    pub head: Option<String>,
    /// The branch that HEAD is on; none when detached.
    #[serde(default)]
    pub branch: Option<String>,
    /// Every local branch, tag, stash entry and detached HEAD, and remote branches that weren't fetched.
    #[serde(default)]
    pub tips: Vec<Tip>,
    /// Every path that differs from what is committed, or that the index hides.
    #[serde(default)]
    pub dirty: Vec<Dirty>,
    /// Repositories of their own in it that aren't submodules.
    #[serde(default)]
    pub nested: Vec<Nested>,
    /// LFS objects that came to be after the clone: whether their server has them can't be told from here.
    #[serde(default)]
    pub lfs: Vec<NewFile>,
    /// Every `merge`, `rebase`, `am`, `cherry-pick`, `revert` or `bisect` under way, and where.
    #[serde(default)]
    pub unfinished: Vec<String>,
    /// Whether HEAD contains the commit that the probe was asked about (so that a push is all it needs).
    #[serde(default)]
    pub contains_wanted: bool,
    /// The commit that would hold what differs from HEAD, byte for byte; none where it wasn't asked for, or
    /// where nothing can be put into one.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// A name in the checkout that keeps commits alive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// For people: `branch main`, `tag v1`, `stash@{0}`, `detached HEAD`.
    pub name: String,
    /// The commit (tags are peeled).
    pub commit: String,
    /// Of a tag: what it names itself, which is an object of its own where the tag says something.
    #[serde(default)]
    pub tag: Option<String>,
    /// Why saving leaves it out, where saving was asked about.
    #[serde(default)]
    pub refused: Option<String>,
}

/// A repository of its own within the checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nested {
    /// Below the checkout, with a `/` at its end.
    pub path: String,
    /// Commits that no remote of its own was ever seen to have.
    pub unpushed: u64,
    /// Paths that differ from its last commit, and whatever else is under way in it.
    pub changed: u64,
    /// Stash entries.
    pub stashes: u64,
    /// Why git can't read it.
    #[serde(default)]
    pub broken: Option<String>,
}

/// One path that differs from the last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirty {
    /// Below the checkout; bytes that aren't UTF-8 are escaped.
    pub path: String,
    /// `modified`, `staged`, `deleted`, `renamed`, `untracked` or `unmerged`; `filtered` where git's own
    /// filters hide the difference, `unpushed` for a submodule with commits of its own.
    pub how: String,
    /// Size in bytes; none when it is gone.
    pub size: Option<u64>,
    /// Whether `Checkout::snapshot` holds it.
    #[serde(default)]
    pub carried: bool,
    /// Why the snapshot leaves it out, where that is for a reason that the spec can lift.
    #[serde(default)]
    pub refused: Option<String>,
}

/// What lies at an artifact's path on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ArtifactFile {
    /// Nothing.
    Missing,
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// The hash of its bytes.
        content: ContentHash,
    },
    /// A folder, a link, or a file that changed while it was read; `why` says which.
    Unreadable {
        /// In the server's words.
        why: String,
    },
}

/// A file that would die with the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// Below the home directory; bytes that aren't UTF-8 are escaped.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
}

/// A program at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id on the server.
    pub pid: u32,
    /// Program name and first argument, no more: arguments may hold secrets.
    pub command: String,
    /// `gpu`, `checkout`, `busy kernel`, `kernel`, `writes PATH`, `tmux or screen`, or `home`.
    pub why: String,
}

/// What programs in the checkout run with; the server's word, and as much of it as could be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of the checkout's own Python (`.venv`, `venv`), else of `python3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// CUDA's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// The packages that this Python finds: name, in the index's spelling, → version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, String>,
}

/// What an artifact is made from and in: the checkout and its environment, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The commit that HEAD names.
    pub commit: Option<String>,
    /// Whether the checkout differs from that commit, the artifacts themselves aside; none where it can't
    /// be told.
    pub dirty: Option<bool>,
    /// What programs run with.
    pub environment: Environment,
}

/// What trying to look at the server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// There is no machine to look at, or it isn't up yet.
    None,
    /// It couldn't be looked at; the text says why.
    Unreachable(String),
    /// It answered.
    Seen(Box<Probe>),
}

/// What the git remote and the local checkout say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repo {
    /// The remote's refs: name → commit (tags peeled); none when it couldn't be asked (`unreachable`).
    pub refs: Option<BTreeMap<String, String>>,
    /// The remote's tags as they are, not peeled: `refs/tags/…` → object.
    pub tags: BTreeMap<String, String>,
    /// Why the remote couldn't be asked.
    pub unreachable: Option<String>,
    /// Whether it refused the laptop's keys.
    pub denied: bool,
    /// How the server's tips stand to the remote: commit → whether the remote contains it.
    pub contained: BTreeMap<String, bool>,
    /// Whether the remote's branch already contains the server's HEAD (so that it can be fast-forwarded).
    pub head_behind: Option<bool>,
    /// What the local checkout of the same repo says.
    pub local: Option<LocalCheckout>,
}

impl Repo {
    /// Tells whether the remote was shown to contain a commit.
    pub fn contains(&self, commit: &str) -> bool {
        self.contained.get(commit) == Some(&true)
    }

    /// Tells whether the remote has all that a name on the server keeps: the commit and, of a tag, the tag.
    pub fn holds(&self, tip: &Tip) -> bool {
        let Some(object) = &tip.tag else { return self.contains(&tip.commit) };
        let name = tip.name.strip_prefix("tag ").unwrap_or(&tip.name);
        let is_named = |there: &str| {
            there.strip_prefix("refs/tags/").is_some_and(|there| {
                there == name
                    || there
                        .strip_suffix(name)
                        .is_some_and(|before| before.starts_with("dacapo/") && before.ends_with('/'))
            })
        };
        self.contains(&tip.commit) && self.tags.iter().any(|(there, tag)| tag == object && is_named(there))
    }
}

/// A commit between two others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// Which of the two has it.
    pub side: Side,
    /// The beginning of its hash.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
}

/// One of two commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first one has it, the second hasn't.
    First,
    /// The second one has it, the first hasn't.
    Second,
}

/// The checkout that `session.toml` lies in, where its remote is the spec's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCheckout {
    /// Commits on the spec's branch that the remote's branch doesn't have.
    pub unpushed: usize,
    /// Whether `git status` would list anything.
    pub dirty: bool,
}
