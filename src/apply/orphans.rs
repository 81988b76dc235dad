//! Removes what bills without a spec: single machines and volumes, by their ids.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::facts::{Repo, Server, Status};
use crate::guard::{self, Discard, Evidence};
use crate::plan::{Action, Kind};
use crate::provider::Providers;
use crate::provider::cloud::Deleted;

const POLL: Duration = Duration::from_secs(5);
/// How long the cloud may take to say that a machine or a volume is gone.
const GONE: Duration = Duration::from_secs(30 * 60);

/// Carries out one removal and waits until the cloud says that it is done. What goes, goes to the trash.
pub async fn remove(providers: &Providers, action: &Action) -> Result<()> {
    match action.kind() {
        Kind::Delete { machine, volumes } => remove_machine(providers, action, machine, volumes).await,
        Kind::DeleteVolume { volume, .. } => providers.cloud.delete_volume(action, volume).await,
        _ => Ok(()),
    }
}

/// Nobody can look at a machine without its spec: naming it names everything on it as a loss.
async fn remove_machine(providers: &Providers, action: &Action, id: &str, volumes: &[String]) -> Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        let (now, _) = providers.cloud.instances().await?;
        let evidence = Evidence {
            machine: id,
            taken_at: now,
            server: &Server::None,
            repo: &Repo::default(),
            url_matches: false,
            artifacts: &std::collections::BTreeMap::new(),
            stored: &[],
        };
        let proof = guard::prove(&evidence, &[Discard::Unreachable])
            .map_err(|_| Error::new(format!("cannot remove machine `{id}`")))?;
        match providers.cloud.delete(action, proof, volumes).await? {
            Deleted::Accepted | Deleted::Gone => break,
            Deleted::NotYet(why) if waited > GONE => {
                return Err(Error::new(format!("cannot remove machine `{id}`")).why(why));
            }
            Deleted::NotYet(_) => {}
        }
        providers.sleep(POLL).await;
        waited += POLL;
    }
    loop {
        match providers.cloud.instance(id).await?.map(|instance| instance.status) {
            None | Some(Status::Discontinued) => return Ok(()),
            Some(status) if waited > GONE => {
                return Err(Error::new(format!("machine `{id}` is still {status}"))
                    .why("the cloud took its removal and hasn't carried it out")
                    .hint("it bills; `dacapo orphans` shows it"));
            }
            Some(_) => {}
        }
        providers.sleep(POLL).await;
        waited += POLL;
    }
}
