//! What the worlds answer: the cloud, the store, the server, git.

use super::{assert_printable, assert_shown};
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
    /// The helper's lines, and a probe in the last of them.
    server_reply = server::fuzzing::reply;
    /// ssh's own words, and its known_hosts file.
    server_ssh = server::fuzzing::ssh;
    /// What `git ls-remote` prints, and git's complaints.
    git_refs = repo::fuzzing::refs;
    /// A git address.
    git_address = repo::fuzzing::address;
}
