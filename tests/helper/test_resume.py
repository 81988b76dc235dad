"""A pull that ended half-way goes on from there, and what it makes is never anything but the stored bytes."""

import gzip
import json
import os

import pytest
from conversation import Said, until
from data import noise
from laptop import BLOCK, content_hash
from way import StandIn, Way

PLACE = "lesson3/export.pkl"
PART = PLACE + ".dacapo-part"
HASTY = 600  # Ten minutes of patience are one second.


@pytest.fixture
def half_way(home, world):
    """Starts a pull on a way that lets so many blocks through, and kills the helper there."""

    def half_way(ask, blocks):
        known = set(journals(home))
        with Way(world.ready["dropbox_content"], down=blocks * BLOCK, hold=True) as way:
            helper = home.start(dict(ask, secret=way.through(ask["secret"]), connections=2))
            # What is on its way in two connections when nothing comes any more, and the headers.
            until(
                lambda: (
                    way.full.is_set()
                    and any(
                        len(place.read_bytes().splitlines()) > blocks - 3
                        for place in set(journals(home)) - known
                    )
                )
            )
            helper.kill()

    return half_way


def fetched(laptop, before, total):
    """Returns how many bytes were asked for by the requests behind the first so many."""
    return sum((total if end is None else end) - first for first, end, _, _ in laptop.gets()[before:])


def journals(home):
    return list(home.path(".dacapo").glob("pull-*.blocks"))


def journal(home):
    [place] = journals(home)
    return place


def test_a_cut_way_costs_only_the_blocks_that_were_under_way(home, stored, laptop, world):
    data = noise(18 * BLOCK + 9)
    through = 12 * BLOCK
    ask = dict(stored(data), speed=HASTY)
    with Way(world.ready["dropbox_content"], down=through) as way:
        error = home.refused(dict(ask, secret=way.through(ask["secret"])))
    assert error.kind == "network"
    assert not home.path(PLACE).exists()
    before = len(laptop.gets())
    helper = home.start(ask)
    helper.result()
    assert home.read(PLACE) == data
    [resumed] = helper.said("resumed")
    assert fetched(laptop, before, len(data)) == len(data) - resumed
    again = through - resumed
    assert 0 <= again <= 8 * BLOCK, "a block for each connection"
    assert home.left() == []


def test_a_killed_pull_costs_only_the_blocks_that_were_under_way(home, stored, laptop, half_way):
    data = noise(11 * BLOCK)
    ask = stored(data)
    half_way(ask, 8)
    assert not home.path(PLACE).exists()
    before = len(laptop.gets())
    helper = home.start(ask)
    helper.result()
    assert home.read(PLACE) == data
    assert fetched(laptop, before, len(data)) == len(data) - helper.said("resumed")[0]
    assert helper.said("resumed")[0] >= 5 * BLOCK
    assert home.left() == []


def test_packed_bytes_are_gone_on_with_too(home, stored, half_way):
    data = noise(10 * BLOCK)
    packed = gzip.compress(data, 0)
    ask = stored(packed, gzip=True, payload=content_hash(data))
    half_way(ask, 8)
    helper = home.start(ask)
    helper.result()
    assert helper.said("resumed")[0] >= 5 * BLOCK
    assert home.read(PLACE) == data
    assert home.left() == []


def test_blocks_that_were_changed_since_are_fetched_again(home, stored, half_way):
    data = noise(11 * BLOCK)
    ask = stored(data)
    half_way(ask, 8)
    blocks = [json.loads(line)[0] for line in journal(home).read_text().splitlines()[1:]]
    with open(home.path(PART), "r+b") as part:
        part.seek(blocks[0] * BLOCK + 77)
        part.write(b"?")
    helper = home.start(ask)
    helper.result()
    assert helper.said("resumed") == [(len(blocks) - 1) * BLOCK]
    assert home.read(PLACE) == data


def test_a_spoilt_journal_is_no_danger(home, stored, half_way):
    spoilt = [
        lambda raw: raw[:-20],
        lambda raw: raw + b"[3,",
        lambda raw: raw + b'[-1, "00"]\n[1000000000, "00"]\n["x", "00"]\n[1, 2, 3]\n{}\n',
        lambda raw: b"",
        lambda raw: b"\xff\x00 no journal\n",
        lambda raw: raw.replace(b'", ', b'0", ', 1),
    ]
    data = noise(6 * BLOCK)
    ask = stored(data)
    half_way(ask, 5)
    place = journal(home)
    part, lines = home.read(PART), place.read_bytes()
    for spoil in spoilt:
        home.write(PART, part)
        place.write_bytes(spoil(lines))
        home.ask(ask)
        assert home.read(PLACE) == data
        assert home.left() == []
        home.path(PLACE).unlink()


def test_what_is_left_of_a_longer_version_does_not_stay_at_the_end(home, stored, half_way):
    longer = noise(11 * BLOCK)
    shorter = longer[: 7 * BLOCK + 5]
    short = stored(shorter)
    half_way(short, 6)
    half_way(stored(longer), 10)
    home.ask(short)
    assert home.read(PLACE) == shorter


def test_a_part_cut_short_is_completed(home, stored, half_way):
    data = noise(11 * BLOCK)
    ask = stored(data)
    half_way(ask, 8)
    os.truncate(home.path(PART), 2 * BLOCK)
    home.ask(ask)
    assert home.read(PLACE) == data


def test_a_second_name_of_the_users_file_is_never_written_to(home, stored, half_way, laptop):
    """As a crash leaves it between the last two steps: the part is the file itself."""
    ask = stored(noise(6 * BLOCK))
    half_way(ask, 5)
    os.link(home.path(PART), home.path(PLACE))
    with open(home.path(PLACE), "r+b") as file:
        file.write(b"the user goes on with it")
    work = home.read(PLACE)
    laptop.fail({"path": "/cd/0/get/**", "skip": 4, "times": "always", "fault": "not_found_page"})
    home.refused(dict(ask, replaces=content_hash(work)))
    assert home.read(PLACE) == work


def test_what_a_crash_left_behind_the_last_step_is_tidied_up(home, stored, half_way):
    data = noise(6 * BLOCK)
    ask = stored(data)
    half_way(ask, 5)
    home.write(PLACE, data)
    home.ask(ask)
    assert home.left() == []


def test_links_in_the_place_of_a_part_are_not_followed(home, stored, half_way):
    data = noise(6 * BLOCK)
    ask = stored(data)
    half_way(ask, 5)
    home.path(PART).rename(home.path("elsewhere"))
    before = home.read("elsewhere")
    os.symlink("../elsewhere", home.path(PART))
    home.ask(ask)
    assert home.read(PLACE) == data and home.read("elsewhere") == before


def test_a_link_that_is_refused_for_good_leaves_the_blocks_for_the_next(home, stored, laptop):
    data = noise(11 * BLOCK)
    ask = dict(stored(data), connections=2)
    laptop.fail(
        {"path": "/cd/0/get/**", "times": 2, "fault": {"change": {"truncate": 3 * BLOCK}}},
        {"path": "/cd/0/get/**", "skip": 2, "times": "always", "fault": "not_found_page"},
    )
    assert home.refused(ask).kind == "http"
    laptop.fail()
    helper = home.start(ask)
    helper.result()
    assert helper.said("resumed")[0] >= 2 * BLOCK
    assert home.read(PLACE) == data and home.left() == []


def test_a_pull_that_got_nothing_leaves_nothing(home, stored, laptop):
    ask = dict(stored(noise(2 * BLOCK)), speed=HASTY)
    for fault in ("not_found_page", "dropbox_down"):
        laptop.fail({"path": "/cd/0/get/**", "times": "always", "fault": fault})
        home.refused(ask)
        assert home.left() == []


def test_several_ends_one_after_the_other_still_come_to_the_end(home, stored, world):
    data = noise(16 * BLOCK + 1)
    ask = dict(stored(data), speed=HASTY, connections=2)
    ends = 0
    while True:
        with Way(world.ready["dropbox_content"], down=6 * BLOCK) as way:
            try:
                home.ask(dict(ask, secret=way.through(ask["secret"])))
                break
            except Said as said:
                assert said.kind == "network"
                ends += 1
    assert home.read(PLACE) == data
    assert 2 <= ends <= 5


def test_a_store_without_ranges_starts_over_and_is_right(home, stored, half_way):
    data = noise(6 * BLOCK)
    ask = stored(data)
    half_way(ask, 5)
    with StandIn(lambda request, number: (200, {}, data)) as store:
        home.ask(dict(ask, secret=store.link))
    assert home.read(PLACE) == data and home.left() == []


def test_killed_while_it_unpacks_it_still_comes_to_its_end(home, stored, laptop):
    data = bytes(60 * BLOCK)
    packed = gzip.compress(data, 1)
    ask = stored(packed, gzip=True, payload=content_hash(data))
    helper = home.start(ask)
    until(lambda: home.path(PART).exists() and home.path(PART).stat().st_size > 0)
    helper.kill()
    assert not home.path(PLACE).exists()
    asked = len(laptop.gets())
    home.ask(ask)
    assert home.read(PLACE) == data
    assert home.left() == [] and len(laptop.gets()) == asked
