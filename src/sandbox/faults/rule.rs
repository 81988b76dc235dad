//! Which calls a rule is about, when it strikes, and what it does: the shape of the fault plan.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::catalogue;
use crate::sandbox::SshFaults;
use crate::sandbox::admin_routes::Changes;
use crate::sandbox::process::Service;
use crate::sandbox::wire::Call;

/// What is to go wrong, as a file or an admin call gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The rules for the HTTP services, tried in this order.
    pub rules: Vec<Rule>,
    /// What goes wrong on the way to the instances; it takes the place of what was said before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshFaults>,
}

/// Which calls are struck, when, and how. What isn't said matches everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the journal calls its strikes; the fault's name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `cloud`, `dropbox_api` or `dropbox_content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The HTTP method, in capitals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The whole path without the query; `*` stands for one segment, `**` at the end for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Text that the body or the `Dropbox-API-Arg` header contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<String>,
    /// How many matching calls go by unharmed first.
    #[serde(default)]
    pub skip: u64,
    /// How many calls are struck after that: a number, 1 by default, or `"always"`.
    #[serde(default)]
    pub times: Times,
    /// What is done: a name from the catalogue, or an object.
    #[serde(deserialize_with = "fault")]
    pub fault: Fault,
}

/// How often a rule strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// So often.
    Exactly(u64),
    /// Every time.
    Always,
}

/// What is done to a call. Seconds are the sandbox's.
///
/// `after` says that the call has its effect first; otherwise it has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This is answered instead.
    Answer(Canned),
    /// The real answer, changed; a strike counts only if there was something to change.
    Change(Box<Change>),
    /// The answer comes later: the call waits before its effect or, with `after`, behind it.
    Delay {
        /// By how much.
        seconds: f64,
        /// Whether the effect comes first.
        #[serde(default)]
        after: bool,
    },
    /// The connection stays open and nothing comes.
    Silence {
        /// Whether the effect comes first.
        #[serde(default)]
        after: bool,
    },
    /// The connection is reset.
    Cut {
        /// Whether the effect comes first.
        #[serde(default)]
        after: bool,
    },
    /// The client loses its connection and the call has its effect later.
    Late {
        /// How much later.
        seconds: f64,
        /// Whether the client is left waiting instead of being cut off.
        #[serde(default)]
        silent: bool,
    },
    /// The world is changed behind the services' backs, as the admin's `set` does; the call goes on.
    World {
        /// The body of `set`.
        set: Value,
        /// Whether the call's own effect comes first.
        #[serde(default)]
        after: bool,
    },
    /// The first answer that this rule saw to the same call, for as long as the true one is another.
    Stale {},
    /// The service takes no connections: for so long or, without `seconds`, until the rule is gone.
    ///
    /// Stands for all that keeps a connection from being made: refused, no such name, a certificate
    /// that isn't right. Connections that are open stay open. Only the service can be chosen.
    Closed {
        /// How long, from when the rule came into force.
        #[serde(default)]
        seconds: Option<f64>,
    },
}

/// An answer that is given instead of the real one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canned {
    /// The HTTP status, 200 to 999.
    pub status: u16,
    /// Headers; a value `date+N` becomes the HTTP date N seconds from now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Text as it is, anything else as JSON with its content type; nothing by default.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// Whether the call has its effect first.
    #[serde(default)]
    pub after: bool,
}

/// What is changed in the real answer, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Another status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Headers (in small letters) to set or, with null, to leave out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Option<String>>,
    /// Another body: text as it is, anything else as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<Value>,
    /// Fields to add: to an object, or to every object of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
    /// Values to set where something is, by JSON pointer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// An element of a list to repeat, by JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<String>,
    /// An element of a list, or a field, to leave out, by JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<String>,
    /// A list to empty, by JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<String>,
    /// So many blanks behind the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad: Option<usize>,
    /// Only so many bytes are sent, then the connection closes; `Content-Length` promises all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<usize>,
    /// Bytes per sandbox second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

impl Plan {
    /// Reads a plan; says in words where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plan: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (number, rule) in plan.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rule {} ({}): {why}", number + 1, rule.title()))?;
        }
        Ok(plan)
    }
}

impl Rule {
    /// Returns what the journal calls its strikes.
    pub fn title(&self) -> String {
        let own = || catalogue::name_of(&self.fault).unwrap_or_else(|| self.fault.kind()).to_owned();
        self.name.clone().unwrap_or_else(own)
    }

    /// Returns whether a call is one of those that the rule is about.
    pub(super) fn is_about(&self, service: Service, call: &Call) -> bool {
        !matches!(self.fault, Fault::Closed { .. })
            && self.names(service)
            && self.method.as_deref().is_none_or(|method| call.method == method)
            && self.path.as_deref().is_none_or(|pattern| covers(pattern, &call.path))
            && self.mentions.as_deref().is_none_or(|text| mentions(call, text))
    }

    /// Returns whether the rule is about this service.
    pub(super) fn names(&self, service: Service) -> bool {
        service != Service::Admin && self.service.as_deref().is_none_or(|name| name == service.name())
    }

    fn check(&self) -> Result<(), String> {
        const SERVICES: [&str; 3] = ["cloud", "dropbox_api", "dropbox_content"];
        if let Some(service) = self.service.as_deref().filter(|service| !SERVICES.contains(service)) {
            return Err(format!("`{service}` is no service; there are {}", SERVICES.join(", ")));
        }
        if let Some(method) = self.method.as_deref().filter(|method| *method != method.to_uppercase()) {
            return Err(format!("methods are written in capitals, not `{method}`"));
        }
        let parts = self.path.as_deref().map(|path| path.split('/').collect::<Vec<_>>()).unwrap_or_default();
        if parts.first().is_some_and(|first| !first.is_empty()) {
            return Err("a path starts with `/`".to_owned());
        }
        if parts.iter().rev().skip(1).any(|part| *part == "**") {
            return Err("`**` stands at the end of a path only".to_owned());
        }
        let narrowed = self.method.is_some() || self.path.is_some() || self.mentions.is_some();
        match &self.fault {
            Fault::Closed { .. } if narrowed => {
                Err("a closed service is closed to every call: leave out method, path and mentions"
                    .to_owned())
            }
            fault => fault.check(),
        }
    }
}

impl Fault {
    /// Returns the word that the plan has for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Answer(_) => "answer",
            Self::Change(_) => "change",
            Self::Delay { .. } => "delay",
            Self::Silence { .. } => "silence",
            Self::Cut { .. } => "cut",
            Self::Late { .. } => "late",
            Self::World { .. } => "world",
            Self::Stale {} => "stale",
            Self::Closed { .. } => "closed",
        }
    }

    fn check(&self) -> Result<(), String> {
        let seconds = match self {
            Self::Delay { seconds, .. } | Self::Late { seconds, .. } => Some(*seconds),
            Self::Closed { seconds } => *seconds,
            Self::Change(change) => {
                if change.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
                    return Err("`rate` is more than 0 bytes per second".to_owned());
                }
                if change.headers.get("date").is_some_and(Option::is_none) {
                    return Err("the HTTP server always sends a `date`: give it another value".to_owned());
                }
                if **change == Change::default() {
                    return Err("it changes nothing".to_owned());
                }
                None
            }
            Self::World { set, .. } => {
                Changes::read(set).map_err(|why| format!("`set` is wrong: {why}"))?;
                None
            }
            Self::Answer(_) | Self::Silence { .. } | Self::Cut { .. } | Self::Stale {} => None,
        };
        if seconds.is_some_and(|seconds| !seconds.is_finite() || seconds < 0.0) {
            return Err("`seconds` is not negative".to_owned());
        }
        let status = match self {
            Self::Answer(canned) => Some(canned.status),
            Self::Change(change) => change.status,
            _ => None,
        };
        match status.filter(|status| !(200..=999).contains(status)) {
            Some(status) => Err(format!("{status} is no status of an answer (200 to 999)")),
            None => Ok(()),
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::Exactly(1)
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exactly(times) => to.serialize_u64(*times),
            Self::Always => to.serialize_str("always"),
        }
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(word) if word == "always" => Ok(Self::Always),
            Value::Number(number) if let Some(times) = number.as_u64() => Ok(Self::Exactly(times)),
            other => Err(D::Error::custom(format!("`times` is a number or \"always\", not {other}"))),
        }
    }
}

/// Reads a fault: a name from the catalogue, or what it is made of.
fn fault<'de, D: Deserializer<'de>>(from: D) -> Result<Fault, D::Error> {
    match Value::deserialize(from)? {
        Value::String(name) => catalogue::named(&name)
            .ok_or_else(|| D::Error::custom(format!("no fault is named `{name}`; {}", catalogue::hint()))),
        made => Fault::deserialize(made).map_err(D::Error::custom),
    }
}

fn mentions(call: &Call, text: &str) -> bool {
    let argument = call.header("dropbox-api-arg").is_some_and(|argument| argument.contains(text));
    argument || String::from_utf8_lossy(&call.body).contains(text)
}

/// Returns whether a path is one of those that a pattern stands for.
fn covers(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        match (wanted, parts.next()) {
            ("**", _) => return true,
            (_, None) => return false,
            ("*", Some(part)) if !part.is_empty() => {}
            (wanted, Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}
