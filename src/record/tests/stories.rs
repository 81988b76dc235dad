//! What people do with a session, one command after another.

use super::process::Wish;

/// One leg of a story: what is wanted, and whether it is tried again after it was cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leg {
    Want(Wish),
    /// Cut off, it isn't tried again: the next leg begins.
    Once(Wish),
    /// Somebody removes the record from the store.
    RecordLost,
}

pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) legs: &'static [Leg],
    /// Which machines, in the order of their creation, end in `no_capacity`.
    pub(super) failing: &'static [usize],
}

const UP: Leg = Leg::Want(Wish::Up);
const DOWN: Leg = Leg::Want(Wish::Down);
const KEEP: Leg = Leg::Want(Wish::Keep);
const REPLACE: Leg = Leg::Want(Wish::Replace);
const UP_ONCE: Leg = Leg::Once(Wish::Up);
const DOWN_ONCE: Leg = Leg::Once(Wish::Down);
const KEEP_ONCE: Leg = Leg::Once(Wish::Keep);
const REPLACE_ONCE: Leg = Leg::Once(Wish::Replace);

const fn story(name: &'static str, legs: &'static [Leg]) -> Story {
    Story { name, legs, failing: &[] }
}

const fn failing(name: &'static str, failing: &'static [usize], legs: &'static [Leg]) -> Story {
    Story { name, legs, failing }
}

pub(super) const STORIES: [Story; 20] = [
    story("up, then down", &[UP, DOWN]),
    story("up cut off, then down", &[UP_ONCE, DOWN]),
    story("up and down, twice", &[UP, DOWN, UP, DOWN]),
    story("down cut off, then up", &[UP, DOWN_ONCE, UP, DOWN]),
    story("up and down cut off, then up", &[UP_ONCE, DOWN_ONCE, UP, DOWN]),
    failing("no capacity for two machines", &[0, 1], &[UP, DOWN]),
    failing("no capacity, up cut off, then down", &[0], &[UP_ONCE, DOWN]),
    failing("no capacity for the one after", &[1], &[UP, DOWN, UP, DOWN]),
    story("a disk kept, booted and ended", &[UP, KEEP, UP, DOWN]),
    story("keeping cut off, then up", &[UP, KEEP_ONCE, UP, DOWN]),
    story("keeping cut off, then down", &[UP, KEEP_ONCE, DOWN]),
    story("booting cut off, then up", &[UP, KEEP, UP_ONCE, UP, DOWN]),
    story("booting cut off, then down", &[UP, KEEP, UP_ONCE, DOWN]),
    failing("no capacity for a kept disk", &[1], &[UP, KEEP, UP, DOWN]),
    story("replaced", &[UP, REPLACE, DOWN]),
    story("replacing cut off, then down", &[UP, REPLACE_ONCE, DOWN]),
    failing("no capacity for the replacement", &[1], &[UP, REPLACE, DOWN]),
    story("a kept disk whose machine is replaced", &[UP, KEEP, UP, REPLACE, DOWN]),
    story("the record lost, then down", &[UP, Leg::RecordLost, DOWN]),
    story("up cut off and the record lost, then up and down", &[UP_ONCE, Leg::RecordLost, UP, DOWN]),
];
