"""A large file is sent in an upload session, block by block, and no block twice that the store has."""

import json
import os

import pytest
from conversation import Said, until
from data import noise
from laptop import BLOCK, content_hash
from test_pack import PLACE, discard, pack
from way import StandIn, Way

APPEND = "/2/files/upload_session/append_v2"
HASTY = 600


class Upload:
    """One file on its way to the store."""

    def __init__(self, home, laptop, data, packing=False):
        self.home = home
        self.laptop = laptop
        self.data = data
        home.write(PLACE, data)
        self.packed = home.ask(pack(gzip=packing, copied=0))
        self.session = laptop.start()

    def ask(self, **more):
        return dict(
            {
                "op": "push_session",
                "path": PLACE,
                "temp": self.packed["temp"],
                "stored": self.packed["stored"],
                "stored_size": self.packed["stored_size"],
                "session": self.session,
                "started": "2026-11-20T10:00:00Z",
                "content_url": self.laptop.world.ready["dropbox_content"],
                "secret": self.laptop.token(),
            },
            **more,
        )

    def go(self, **more):
        """Sends it to the end and returns what the helper said."""
        helper = self.home.start(self.ask(**more))
        helper.result()
        return helper

    def stored(self):
        """Makes a file of the session, as the laptop does."""
        reply = self.laptop.finish(self.session, len(self.data), "/export.pkl")
        assert reply.status_code == 200, reply.text
        assert reply.json()["content_hash"] == content_hash(self.data)
        self.home.ask(discard(self.packed))
        assert self.home.left() == []

    def journal(self):
        """Returns the blocks that the store has acknowledged, by the helper's own notes."""
        lines = (self.home.path(".dacapo") / ("push-" + self.packed["stored"])).read_text().splitlines()
        found = [json.loads(line) for line in lines[1:]]
        return {number for line in found if isinstance(line, list) for number in range(*line)}

    def half_way(self, blocks):
        """Lets so many blocks through, no more, and kills the helper there; returns those that arrived."""
        with Way(self.laptop.world.ready["dropbox_content"], up=blocks * BLOCK, hold=True) as way:
            helper = self.home.start(self.ask(content_url=way.base, connections=2))
            # All but what two connections were in the middle of, up to three blocks each, and the headers.
            until(lambda: way.full.is_set() and len(self.journal()) >= blocks - 6)
            helper.kill()
        return self.journal()


@pytest.fixture
def upload(home, laptop):
    return lambda data: Upload(home, laptop, data)


def sent(laptop):
    return sorted(offset // BLOCK for offset, close, _, _ in laptop.appends() if not close)


def answer(status, body, times=1, skip=0, **more):
    return dict(
        {"path": APPEND, "times": times, "skip": skip, "fault": {"answer": {"status": status, "body": body}}},
        **more,
    )


def conflict(tag, **more):
    return answer(409, {"error_summary": tag + "/..", "error": {".tag": tag}}, **more)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 9 * BLOCK + 7])
def test_a_file_arrives_whole(upload, laptop, size):
    file = upload(noise(size))
    helper = file.go()
    file.stored()
    assert laptop.bytes_of("/export.pkl") == file.data
    assert helper.said("progress")[-1] == {"bytes": size, "total": size}
    assert [close for _, close, _, _ in laptop.appends()].count(True) == 1
    assert laptop.appends()[-1][:2] == (size // BLOCK * BLOCK, True), "the closing one comes last"


def test_large_files_go_in_large_requests(upload, laptop):
    file = upload(noise(12 * BLOCK))
    file.go(connections=2)
    file.stored()
    assert len(laptop.appends()) < 9


def test_a_packed_file_can_go_this_way_too(home, laptop):
    file = Upload(home, laptop, noise(2 * BLOCK), packing=True)
    file.go()
    made = laptop.finish(file.session, file.packed["stored_size"], "/export.pkl.gz").json()
    assert made["content_hash"] == file.packed["stored"]
    home.ask(discard(file.packed))
    assert home.left() == []


# Going on


def test_only_what_the_store_has_not_acknowledged_is_sent_again(upload, laptop):
    file = upload(noise(12 * BLOCK + 3))
    there = file.half_way(7)
    before = len(sent(laptop))
    assert file.home.ask(pack(gzip=False, copied=0))["session"] == {
        "id": file.session,
        "started": "2026-11-20T10:00:00Z",
    }
    helper = file.go(connections=12)
    assert helper.said("resumed") == [len(there) * BLOCK]
    again = [offset // BLOCK for offset, close, _, _ in laptop.appends()[before:] if not close]
    assert sorted(again) == sorted(set(range(12)) - there)
    file.stored()


def test_a_cut_way_is_gone_on_from_by_the_next_run(upload, laptop, world):
    file = upload(noise(8 * BLOCK))
    with Way(world.ready["dropbox_content"], up=5 * BLOCK) as way:
        with pytest.raises(Said) as caught:
            file.go(content_url=way.base, speed=HASTY, connections=2)
    assert caught.value.kind == "network"
    there = file.journal()
    assert len(there) >= 2
    assert file.go().said("resumed") == [len(there) * BLOCK]
    file.stored()


def test_cuts_within_one_run_cost_only_their_own_requests(upload, laptop):
    file = upload(noise(6 * BLOCK))
    laptop.fail(
        {"path": APPEND, "skip": 1, "times": 2, "fault": "cut"},
        {"path": APPEND, "skip": 5, "fault": "dropbox_down"},
    )
    helper = file.go()
    struck = [offset for offset, _, _, fault in laptop.appends() if fault]
    assert len(struck) == 3 and len(helper.said("waiting")) == 3
    assert len(laptop.appends()) == 6 + 1 + 3
    file.stored()


def test_an_acknowledgement_that_got_lost_only_means_sending_again(upload, laptop):
    file = upload(noise(3 * BLOCK + 1))
    laptop.fail({"path": APPEND, "times": 2, "fault": "cut_after"})
    file.go()
    file.stored()


def test_the_answer_to_the_closing_request_may_get_lost(upload, laptop):
    file = upload(noise(2 * BLOCK + 1))
    laptop.fail({"path": APPEND, "mentions": '"close": true', "fault": "cut_after"})
    file.go()
    assert [status for _, close, status, _ in laptop.appends() if close] == [0, 409]
    file.stored()


def test_a_session_that_was_closed_before_is_left_as_it_is(upload, laptop):
    file = upload(noise(2 * BLOCK + 1))
    file.go()
    asked = len(laptop.appends())
    assert file.go().said("resumed") == [2 * BLOCK]
    assert len(laptop.appends()) == asked
    file.stored()


def test_killed_before_the_closing_request_it_still_comes_to_its_end(upload, laptop):
    file = upload(noise(3 * BLOCK + 1))
    laptop.fail({"path": APPEND, "mentions": '"close": true', "fault": "silence"})
    helper = file.home.start(file.ask())
    until(
        lambda: (
            len(file.journal()) == 3
            if (file.home.path(".dacapo") / ("push-" + file.packed["stored"])).exists()
            else False
        )
    )
    helper.kill()
    assert file.go().said("resumed") == [3 * BLOCK]
    assert sent(laptop) == [0, 1, 2]
    file.stored()


def test_a_spoilt_journal_is_no_danger(upload, laptop):
    file = upload(noise(3 * BLOCK + 1))
    there = file.half_way(3)
    place = file.home.path(".dacapo") / ("push-" + file.packed["stored"])
    good = place.read_bytes()
    for more in (
        b"[1,",
        b'[-5, "x"]\n[3]\nnull\n{}\n[1, 2, 3]\n[5, 10000000000000]\n',
        b'["closed"]\n\xff\n',
    ):
        place.write_bytes(good + more)
        helper = file.home.start(file.ask())
        until(lambda: helper.said("resumed") == [len(there) * BLOCK] or helper.ended)
        assert helper.said("resumed") == [len(there) * BLOCK]
        helper.result()
        file.session = laptop.start()  # The next with what the first had, for all that the helper knows.
        good = good.replace(good.split(b'"')[1], file.session.encode())
    place.write_bytes(b"")
    file.go()
    file.stored()


def test_another_session_starts_from_nothing(upload, laptop):
    file = upload(noise(3 * BLOCK))
    file.half_way(3)
    file.session = laptop.start()
    assert file.go().said("resumed") == []
    file.stored()


# Tokens that end


def test_a_token_that_ends_under_two_requests_is_asked_for_once(upload, laptop, world):
    file = upload(noise(8 * BLOCK))
    laptop.fail({"path": APPEND, "skip": 2, "times": 2, "fault": {"delay": {"seconds": 7200}}})
    helper = file.home.start(file.ask(connections=2, speed=1), renew=laptop.token)
    until(lambda: world.admin("GET", "faults")["rules"][0]["struck"] == 2)
    world.jump(4 * 3600)
    helper.result()
    assert helper.said("want") == [None]
    assert sorted(status for _, _, status, _ in laptop.appends() if status != 200) == [401, 401]
    file.stored()


def test_a_token_that_has_really_ended_is_renewed(upload, laptop, world):
    file = upload(noise(2 * BLOCK))
    ask = file.ask()
    world.jump(4 * 3600)
    helper = file.home.start(ask, renew=laptop.token)
    helper.result()
    assert helper.said("want") == [None]
    file.stored()


def test_a_token_that_ends_at_the_closing_request_is_renewed(upload, laptop):
    file = upload(noise(BLOCK))
    laptop.fail({"path": APPEND, "mentions": '"close": true', "fault": "expired_token"})
    helper = file.home.start(file.ask(), renew=laptop.token)
    helper.result()
    assert helper.said("want") == [None]
    file.stored()


def test_a_store_that_refuses_before_it_has_read_is_heard(upload):
    """A token that ended must not look like a broken way."""
    file = upload(noise(3 * BLOCK))
    body = json.dumps(
        {"error_summary": "expired_access_token/", "error": {".tag": "expired_access_token"}}
    ).encode()
    with StandIn(lambda request, number: (401, {}, body), reads=False) as store:
        helper = file.home.start(file.ask(content_url=store.base, connections=1))
        helper.wait_for(lambda line: "want" in line)
        assert helper.hang_up() == 1


def test_a_success_before_everything_was_sent_is_none(upload):
    file = upload(noise(9 * BLOCK))
    with StandIn(lambda request, number: (200, {}, b"null"), reads=False) as store:
        with pytest.raises(Said) as caught:
            file.go(content_url=store.base, connections=1, speed=HASTY)
    assert caught.value.kind == "network"
    assert file.journal() == set()


# Sessions and files that aren't what they were


@pytest.mark.parametrize("tag", ["not_found", "closed", "lookup_failed"])
def test_a_session_that_is_gone_is_told(upload, laptop, tag):
    file = upload(noise(3 * BLOCK))
    laptop.fail(conflict(tag, skip=1, times="always"))
    with pytest.raises(Said) as caught:
        file.go()
    assert caught.value.kind == "session_gone"


def test_a_session_that_never_was_is_gone(upload):
    file = upload(noise(BLOCK))
    with pytest.raises(Said) as caught:
        file.go(session="pid_upload_session:nobody-knows-this-one")
    assert caught.value.kind == "session_gone"


def test_a_session_that_somebody_closed_is_gone(upload, laptop):
    file = upload(noise(2 * BLOCK))
    argument = {"cursor": {"session_id": file.session, "offset": 0}, "close": True}
    assert laptop.send("files/upload_session/append_v2", argument, b"else").status_code == 200
    with pytest.raises(Said) as caught:
        file.go()
    assert caught.value.kind == "session_gone"


@pytest.mark.parametrize("tag", ["something_new", "too_large", "concurrent_session_invalid_offset"])
def test_any_other_refusal_is_final_and_told(upload, laptop, tag):
    file = upload(noise(2 * BLOCK))
    laptop.fail(conflict(tag))
    with pytest.raises(Said) as caught:
        file.go()
    assert caught.value.kind == "http" and tag in caught.value.why


def changed(place):
    with open(place, "r+b") as file:
        file.seek(4 * BLOCK + 5)
        file.write(b"WORK")


def changed_with_its_old_time(place):
    before = os.stat(place)
    changed(place)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut_short(place):
    os.truncate(place, 3 * BLOCK)


def appended(place):
    with open(place, "ab") as file:
        file.write(b"WORK")


@pytest.mark.parametrize("change", [changed, changed_with_its_old_time, cut_short, appended])
def test_a_file_that_changed_since_it_was_hashed_is_not_stored(upload, change):
    file = upload(noise(6 * BLOCK))
    change(file.home.path(PLACE))
    with pytest.raises(Said) as caught:
        file.go()
    assert caught.value.kind == "changed"
    assert file.laptop.finish(file.session, len(file.data), "/export.pkl").status_code == 409


@pytest.mark.parametrize("change", [changed, cut_short])
def test_a_file_that_changes_while_it_is_sent_is_not_stored(upload, laptop, change):
    file = upload(noise(6 * BLOCK))
    laptop.fail({"path": APPEND, "times": "always", "fault": {"delay": {"seconds": 60}}})
    helper = file.home.start(file.ask(connections=1))
    helper.wait_for(lambda line: "progress" in line)
    change(file.home.path(PLACE))
    assert file.home.refusal(helper).kind == "changed"
    assert laptop.finish(file.session, len(file.data), "/export.pkl").status_code == 409


def test_a_file_that_was_only_touched_is_stored(upload):
    file = upload(noise(2 * BLOCK))
    os.utime(file.home.path(PLACE))
    file.go()
    file.stored()


def test_bytes_that_the_way_damaged_are_sent_again(upload, laptop):
    file = upload(noise(3 * BLOCK))
    laptop.fail(conflict("content_hash_mismatch", times=2))
    helper = file.go()
    assert [told["why"] for told in helper.said("waiting")] == ["a part arrived damaged"] * 2
    file.stored()


def test_a_way_that_damages_everything_is_given_up(upload, laptop):
    file = upload(noise(3 * BLOCK))
    laptop.fail(conflict("content_hash_mismatch", times="always"))
    with pytest.raises(Said) as caught:
        file.go(speed=HASTY)
    assert (caught.value.kind, caught.value.why) == ("network", "a part arrived damaged")


def test_a_lost_list_of_blocks_is_made_anew(upload):
    file = upload(noise(3 * BLOCK))
    (file.home.path(".dacapo") / ("blocks-" + file.packed["stored"])).write_bytes(b"nothing of it")
    file.go()
    file.stored()


def test_a_helper_that_nobody_listens_to_sends_no_more(upload, world):
    file = upload(noise(6 * BLOCK))
    with Way(world.ready["dropbox_content"], up=3 * BLOCK, hold=True) as way:
        helper = file.home.start(file.ask(content_url=way.base))
        until(way.full.is_set)
        assert helper.hang_up() == 1
