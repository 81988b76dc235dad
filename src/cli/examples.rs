//! The examples below each command's help; `tests/it/examples.rs` runs every one.
//!
//! Commands with a file of their own have theirs there.

pub(super) const ALL: &str = "Examples:
  dacapo init                 asks what the session should be, and writes session.toml
  dacapo --sandbox up --yes   rehearses it, without any account
  dacapo up                   rents the server, brings code and artifacts
  dacapo status               what there is, what it costs
  dacapo down                 saves, proves that nothing is lost, ends it";

pub(super) const PLAN: &str = "Examples:
  dacapo plan                     what `apply` would do
  dacapo plan --set state=absent  what `down` would do
  dacapo plan --explain 1         what the first action rests on
  dacapo plan -o today.plan       kept, for `dacapo apply today.plan`
  dacapo plan --markdown          for a pull request's comment";

pub(super) const APPLY: &str = "Examples:
  dacapo apply             shows the plan, and asks
  dacapo apply --yes       doesn't ask
  dacapo apply today.plan  carries out what `plan -o` kept, if it is still the same plan";

pub(super) const UP: &str = "Examples:
  dacapo up                                        shows the plan, and asks
  dacapo up --yes --set instance.type=1L40S.20V    on another machine, this once
  dacapo up --yes --locked                         exactly what session.lock says";

pub(super) const DOWN: &str = "Examples:
  dacapo down                                      saves, proves, asks, deletes
  dacapo down --yes --discard files:scratch.bin    that file may be lost
  dacapo down --yes --keep-disk                    the disk stays and bills; the next `up` boots it";

pub(super) const RUN: &str = "Examples:
  dacapo run -- python3 train.py  in the checkout; its exit code is ours
  dacapo run -A -- git fetch      with the ssh agent along";

pub(super) const VALIDATE: &str = "Examples:
  dacapo validate                every mistake, with its place
  dacapo validate -f other.toml  of another file";

pub(super) const LOGIN: &str = "Examples:
  dacapo login cloud    asks for the pair that the cloud's console made
  dacapo login dropbox  shows a page, and asks for the code that it shows";

pub(super) const ARTIFACTS: &str = "Examples:
  dacapo artifacts list         what is stored
  dacapo artifacts push model   stores one now
  dacapo artifacts pull model   brings one now";

pub(super) const SANDBOX: &str = "Examples:
  dacapo sandbox bill   what bills in the rehearsal
  dacapo sandbox stop   ends it; what it keeps stays";

pub(super) const COMPLETIONS: &str = "Examples:
  source <(dacapo completions bash)              for this shell
  dacapo completions fish > completions.fish     to be kept in ~/.config/fish/completions";

pub(super) const MAN: &str = "Examples:
  dacapo man > dacapo.1    the first page
  dacapo man --dir man1    a page per command";
