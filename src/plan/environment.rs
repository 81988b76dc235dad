//! Whether a version is about to be used in another environment than the one it was made in.
//!
//! What can't be known isn't guessed: a machine that is yet to come has a type and an image, no packages.

use serde::Serialize;

use super::{Draft, Kind, Note, Place, Plan};
use crate::facts::{Environment, StoredFile};
use crate::version::{Manifest, Told, Version, file_name, versions};

/// One thing that was another where a version was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `image`, `instance type`, `python`, `cuda`, or a package's name.
    pub what: String,
    /// What it was there; none where there was none.
    pub made: Option<String>,
    /// What it is here; none where there is none.
    pub here: Option<String>,
}

impl Difference {
    pub(super) fn of(what: &str, made: Option<&String>, here: Option<&String>) -> Option<Self> {
        (made != here).then(|| Self { what: what.to_owned(), made: made.cloned(), here: here.cloned() })
    }

    /// The same, where both must be known to differ.
    fn of_known(what: &str, made: Option<&String>, here: Option<&String>) -> Option<Self> {
        made.zip(here).and_then(|(made, here)| Self::of(what, Some(made), Some(here)))
    }
}

/// Returns the versions that the plan would bring to the server and that have a manifest.
pub fn to_be_brought(plan: &Plan, files: &[StoredFile]) -> Vec<Version> {
    let brought = |kind: &Kind| match kind {
        Kind::Pull { place: Place::Server, path, version, .. } => {
            versions(files, file_name(path)).into_iter().find(|stored| stored.name == *version)
        }
        _ => None,
    };
    let all = plan.actions.iter().filter_map(|action| brought(action.kind()));
    all.filter(|version| version.manifest.is_some()).collect()
}

impl Draft<'_> {
    pub(super) fn note_environment(&mut self, artifact: &str, version: &str) {
        let (artifact, version) = (artifact.to_owned(), version.to_owned());
        match self.observed.closer.told.get(&version) {
            None | Some(Told::Nothing) => {}
            Some(Told::Unusable(why)) => {
                self.note(Note::UnusableManifest { artifact, version, why: why.clone() });
            }
            Some(Told::By(made)) => {
                let differences = self.differences(made);
                if !differences.is_empty() {
                    self.note(Note::OtherEnvironment { artifact, version, differences });
                }
            }
        }
    }

    fn differences(&self, made: &Manifest) -> Vec<Difference> {
        let image = Difference::of_known("image", made.image.as_ref(), Some(self.image()));
        let mut all: Vec<Difference> = image.into_iter().chain(self.other_type(made)).collect();
        if let (Some(made), Some(here)) = (&made.environment, &self.observed.closer.environment) {
            all.extend(Difference::of_known("python", made.python.as_ref(), here.python.as_ref()));
            all.extend(Difference::of_known("cuda", made.cuda.as_ref(), here.cuda.as_ref()));
            all.extend(packages(made, here));
        }
        all
    }

    /// The image as it was asked for; the API's own wording is another.
    fn image(&self) -> &String {
        let asked = self.machine.and_then(|living| living.rented.asked.as_ref());
        asked.map_or(&self.request.spec.instance.image, |asked| &asked.image)
    }

    /// Where several types may be had, only one that is none of them is known to be another.
    fn other_type(&self, made: &Manifest) -> Option<Difference> {
        let made = made.instance_type.as_ref()?;
        let ordered = self.plan.actions.iter().find_map(|action| match action.kind() {
            Kind::Create { candidates, .. } => Some(candidates),
            _ => None,
        });
        let here: Vec<&String> = match (ordered, self.machine) {
            (Some(candidates), _) => candidates.iter().map(|candidate| &candidate.r#type).collect(),
            (None, Some(living)) => vec![&living.instance.r#type],
            (None, None) => Vec::new(),
        };
        let other = here.first().filter(|_| !here.contains(&made))?;
        Difference::of("instance type", Some(made), Some(other))
    }
}

/// Names every package that differs; where one side lists none at all, nothing is known of its packages.
fn packages(made: &Environment, here: &Environment) -> Vec<Difference> {
    if made.packages.is_empty() || here.packages.is_empty() {
        return Vec::new();
    }
    let names = made.packages.keys().chain(here.packages.keys()).collect::<std::collections::BTreeSet<_>>();
    let differs = |name: &String| Difference::of(name, made.packages.get(name), here.packages.get(name));
    names.into_iter().filter_map(differs).collect()
}
