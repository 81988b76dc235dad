"""What our client sends, judged by what the vendors' own clients send for the same call."""

import fnmatch
import tomllib
from pathlib import Path

import pytest
from dropbox.exceptions import DropboxException
from mirror import MIRRORS
from recording import SERVICES, fields_of, name_of
from verda.exceptions import APIException

EXPLAINED = tomllib.loads((Path(__file__).parent / "differences.toml").read_text())


def variants(requests, name):
    """Returns one request for each set of places in which the call's values are sent."""
    return {frozenset(fields_of(one)): one for one in requests if name_of(one) == name}.values()


def answer_to(world, request, name):
    """Lets the vendor's client make the same call, and returns what it sent."""
    before = len(world.requests())
    try:
        MIRRORS[name](world.ready, request)
    except (APIException, DropboxException):
        pass  # Created already, gone by now: what was sent is what counts.
    sent = [one for one in world.requests()[before:] if one["service"] in SERVICES]
    # It logs in first, and may look afterwards at what it changed.
    return next(one for one in sent if one["method"] == request["method"] and is_login(one) == is_login(request))


def is_login(request):
    return request["path"].endswith("/oauth2/token")


def differences(world, ours, name):
    """Returns the places of `name` where one side sends what the other doesn't, each as one line."""
    found = set()
    for request in variants(ours, name):
        mine, theirs = fields_of(request), fields_of(answer_to(world, request, name))
        for place in mine.keys() | theirs.keys():
            if place not in theirs:
                found.add((place, "only ours"))
            elif place not in mine:
                found.add((place, f"only theirs: {theirs[place]!r}"))
            elif mine[place] != theirs[place]:
                found.add((place, f"ours {mine[place]!r}, theirs {theirs[place]!r}"))
    return found


def explains(entry, name, difference, place="*"):
    where, kind = difference
    return fnmatch.fnmatchcase(name, entry["call"]) and fnmatch.fnmatchcase(where, place) and kind.startswith(entry["kind"])


def explained(name, difference):
    return any(explains(one, name, difference, place) for one in EXPLAINED["difference"] for place in one["places"])


def test_every_call_of_ours_is_judged(ours):
    made = {name_of(request) for request in ours}
    assert made - set(EXPLAINED["no_counterpart"]) == set(MIRRORS)


@pytest.mark.parametrize("name", MIRRORS)
def test_we_send_what_they_send(laptop, ours, name):
    unexplained = [d for d in sorted(differences(laptop.world, ours, name)) if not explained(name, d)]
    assert not unexplained, "\n".join([name, *map(": ".join, unexplained)])


def test_no_explanation_is_stale(laptop, ours):
    found = [(name, one) for name in MIRRORS for one in differences(laptop.world, ours, name)]
    entries = [(entry, place) for entry in EXPLAINED["difference"] for place in entry["places"]]
    stale = [
        f"{entry['call']} {place}"
        for entry, place in entries
        if not any(explains(entry, name, one, place) for name, one in found)
    ]
    assert stale == []
