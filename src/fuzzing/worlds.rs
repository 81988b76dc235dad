//! What the worlds answer: the cloud, the store, the server, git.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{assert_printable, assert_shown};
use crate::facts::{ArtifactFile, Probe, Repo, Server};
use crate::guard::{self, Evidence};
use crate::provider::{cloud, http, repo, server, store};

/// Declares targets whose decoders live with their providers: what they refuse must show well.
macro_rules! shown {
    ($($(#[$doc:meta])* $target:ident = $decoder:path;)*) => {
        $($(#[$doc])* pub(super) fn $target(data: &[u8]) {
            let (errors, words) = $decoder(data);
            assert_shown(errors);
            words.iter().for_each(|word| assert_printable(word));
        })*
    };
}

shown! {
    /// A list of machines, or one.
    cloud_instances = cloud::fuzzing::instances;
    /// The answer to a create.
    cloud_created = cloud::fuzzing::created;
    /// The answer to a delete.
    cloud_fate = cloud::fuzzing::fate;
    /// Any answer that isn't a success.
    cloud_refusal = cloud::fuzzing::refusal;
    /// Types, stock, images, locations, keys, balance.
    cloud_catalogue = cloud::fuzzing::catalogue;
    /// Volumes, and those in the trash.
    cloud_volumes = cloud::fuzzing::volumes;
    /// One page of a listing.
    store_listing = store::fuzzing::listing;
    /// What lies at a path; account, space, links.
    store_metadata = store::fuzzing::metadata;
    /// Any answer that isn't a success.
    store_refusal = store::fuzzing::refusal;
    /// A small file, checked against the header that describes it.
    store_download = store::fuzzing::download;
    /// An argument that goes into a header.
    store_argument = store::fuzzing::argument;
    /// `Date`, `Retry-After` and the answer to a login.
    http_answer = http::fuzzing::answer_parts;
    /// ssh's own words, and its known_hosts file.
    server_ssh = server::fuzzing::ssh;
    /// What `git ls-remote` prints, and git's complaints.
    git_refs = repo::fuzzing::refs;
    /// A git address.
    git_address = repo::fuzzing::address;
}

/// The helper's lines, and a probe in the last of them: what it finds stands against a deletion.
pub(super) fn server_reply(data: &[u8]) {
    let (errors, _) = server::fuzzing::reply(data);
    assert_shown(errors);
    if let Some(probe) = server::fuzzing::probe(data) {
        assert_judged(probe);
    }
}

/// Nothing that a server says is let go unless all of it was shown to be safe, and all of it shows well.
fn assert_judged(probe: Probe) {
    let artifacts: BTreeMap<String, String> =
        probe.artifacts.keys().map(|name| (name.clone(), format!("{name}.pkl"))).collect();
    let repo = Repo { refs: Some(BTreeMap::new()), ..Repo::default() };
    let unsafe_things = probe.files.as_ref().is_none_or(|files| !files.is_empty())
        || probe.more_files > 0
        || !probe.processes.is_empty()
        || probe
            .checkout
            .as_ref()
            .is_some_and(|checkout| !checkout.tips.is_empty() || !checkout.dirty.is_empty())
        || probe.artifacts.values().any(|file| matches!(file, ArtifactFile::Unreadable { .. }));
    let server = Server::Seen(Box::new(probe));
    let evidence = Evidence {
        machine: "11111111-2222-3333-4444-555555555555",
        taken_at: Timestamp::UNIX_EPOCH,
        server: &server,
        repo: &repo,
        url_matches: true,
        artifacts: &artifacts,
        stored: &[],
    };
    let findings = guard::findings(&evidence);
    assert!(!unsafe_things || !findings.is_empty(), "{server:?}");
    assert_eq!(guard::prove(&evidence, &[]).is_ok(), findings.is_empty());
    let mut out = Vec::new();
    crate::report::refusal(&mut out, &findings, "dacapo").expect("memory takes what is written");
    let text = String::from_utf8(out).expect("what is printed is UTF-8");
    assert_printable(&text);
    // What is offered to type settles everything, each thing by its own word.
    let words: Vec<_> = findings.iter().map(|finding| finding.discard()).collect();
    assert_eq!(guard::uncovered(findings, &words), []);
}
