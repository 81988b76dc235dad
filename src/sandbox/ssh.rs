//! Joins the SSH half to the rest: laptop, instances, git host and the gateway between them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::runtime::Handle;

use super::gateway::{self, Router};
use super::journal::{Journal, Request};
use super::laptop::{Laptop, runtime_directory};
use super::repo::{self, GitHost, Source};
use super::server::{self, Plan, Servers, SshRequest, Sshd};
use super::ssh_side::{Places, SshNeeds, SshSide};
use crate::error::{Error, Result};

/// The only login name, as on the real cloud's images; a real sshd may only serve another.
const USER: &str = "root";

/// What the admin route `seed` takes beside the URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    /// The branch that a clone checks out.
    branch: String,
    /// A local checkout to copy; the example project without one.
    #[serde(default)]
    checkout: Option<std::path::PathBuf>,
}

/// Starts laptop, servers, git host and gateway in the sandbox's folder.
pub async fn start(needs: SshNeeds) -> Result<SshSide> {
    let runtime = runtime_directory(&needs.dir)?;
    let laptop = Laptop::prepare(&needs.dir, &needs.exe, &runtime).await?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let journal = noting(&needs);
    let sshd = match &needs.sshd {
        Some(program) => Some(Sshd::find(program, &needs.dir, &runtime).await?),
        None => None,
    };
    let user = sshd.as_ref().map_or(USER, Sshd::user).to_owned();
    let surroundings = server::Surroundings {
        directory: needs.dir.clone(),
        runtime,
        sshd,
        search_path: path.to_string_lossy().into_owned(),
        journal: journal.clone(),
    };
    let servers = Servers::new(surroundings, lookup(&needs, user.clone()));
    let git = GitHost::new(repo::Surroundings {
        directory: needs.dir.clone(),
        search_path: path,
        laptop_key: laptop.public_key.clone(),
        known_hosts: laptop.known_hosts.clone(),
        journal,
    })?;
    let faults = Plan::default();
    let router = Router {
        servers: servers.clone(),
        git: git.clone(),
        faults: faults.clone(),
        clock: needs.clock.clone(),
    };
    let gateway = gateway::listen(&needs.dir, router).await?;
    let places = Places {
        user,
        ssh: laptop.ssh_config.clone(),
        proxy: laptop.proxy_command.clone(),
        git: "every git host that a spec names, over ssh, for the laptop's key alone".to_owned(),
        home: laptop.home.clone(),
        agent: laptop.agent_socket().to_path_buf(),
        known_hosts: laptop.known_hosts.clone(),
        gateway: format!("127.0.0.1:{}", gateway.port()),
    };
    Ok(side(places, servers, git, faults, needs, Alive { _laptop: laptop, _gateway: gateway }))
}

/// What must live as long as the world: the agent ends with the laptop, the listener with the gateway.
struct Alive {
    _laptop: Laptop,
    _gateway: gateway::Gateway,
}

fn side(
    places: Places,
    servers: Servers,
    git: GitHost,
    faults: Plan,
    needs: SshNeeds,
    alive: Alive,
) -> SshSide {
    let runtime = Handle::current();
    let (cutting, destroying, copying) = (servers.clone(), servers.clone(), servers.clone());
    let (seeding, forgetting) = (git, needs.dir.join("git"));
    let (cutter, holding) = (runtime.clone(), faults.clone());
    SshSide {
        places,
        disconnect: Box::new(move |instance| {
            let (servers, instance) = (cutting.clone(), instance.to_owned());
            // A process that can't be ended stays visible as this machine's own; the world goes on.
            cutter.spawn(async move { drop(servers.disconnect(&instance).await) });
        }),
        destroy_disk: Box::new(move |disk| drop(destroying.destroy_disk(disk))),
        copy_disk: Box::new(move |from, to| drop(copying.copy_disk(from, to))),
        connections: Box::new(move || servers.connections()),
        seed: Box::new(move |url, source| {
            let _alive = &alive;
            let seed = Seed::deserialize(source)
                .map_err(|error| Error::new("cannot read what to seed the git host from").because(&error))?;
            let source = seed.checkout.as_deref().map_or(Source::Lesson3, Source::Checkout);
            runtime.block_on(seeding.seed(url, &seed.branch, source))
        }),
        faults: Box::new(move |plan| faults.set(plan)),
        holds: Box::new(move || holding.holds()),
        reset: Box::new(move || remove_repositories(&forgetting)),
    }
}

fn remove_repositories(folder: &std::path::Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new("cannot forget the repositories").because(&error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Beside the hosts' folders lies the git host's own key, which stays.
        if entry.file_type().map_err(failed)?.is_dir() {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn lookup(needs: &SshNeeds, user: String) -> server::Lookup {
    let find = needs.lookup.clone();
    Arc::new(move |address: Ipv4Addr| {
        let access = find(&address.to_string())?;
        let (instance, disk, keys, script) = (access.instance, access.disk, access.keys, access.script);
        Some(server::Access { instance, disk, user: user.clone(), keys, script })
    })
}

fn noting(needs: &SshNeeds) -> server::Journal {
    let (journal, clock): (Journal, _) = (needs.journal.clone(), needs.clock.clone());
    Arc::new(move |request: SshRequest| {
        let git = request.what == "git connect" || request.what.starts_with("git-");
        journal.note(Request {
            service: if git { "git" } else { "ssh" }.to_owned(),
            method: request.user,
            path: request.what,
            query: request.instance,
            status: 0,
            at: clock.now(),
            headers: Default::default(),
            body: Request::kept(&request.stdin),
            struck: None,
        });
    })
}
