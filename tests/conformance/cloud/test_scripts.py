"""Startup scripts: like keys, but listed in pages."""

import pytest

SCRIPT = "#!/bin/bash\necho 'grüße' > /root/marker\n"
UNKNOWN = "0f9b7d52-0000-4000-a000-000000000000"


def test_a_script_comes_back_byte_by_byte(client):
    made = client.startup_scripts.create("marker", SCRIPT)
    [listed] = client.startup_scripts.get()
    assert (listed.id, listed.name, listed.script) == (made.id, "marker", SCRIPT)


def test_a_script_is_found_by_its_id(client):
    client.startup_scripts.create("other", "true")
    made = client.startup_scripts.create("marker", SCRIPT)
    found = client.startup_scripts.get_by_id(made.id)
    assert (found.id, found.name, found.script) == (made.id, "marker", SCRIPT)


def test_the_same_name_twice_is_two_scripts(client):
    first, second = (client.startup_scripts.create("marker", text) for text in ("true", "false"))
    assert [one.id for one in client.startup_scripts.get()] == [first.id, second.id]


def test_the_clients_list_stops_after_the_first_page(client):
    for number in range(11):
        client.startup_scripts.create(f"script-{number}", "true")
    assert [one.name for one in client.startup_scripts.get()] == [f"script-{number}" for number in range(10)]


def test_scripts_are_deleted_several_at_a_time(client):
    first, second, third = (client.startup_scripts.create(name, "true") for name in ("a", "b", "c"))
    client.startup_scripts.delete([first.id, third.id])
    assert [one.id for one in client.startup_scripts.get()] == [second.id]


def test_a_script_is_deleted_by_its_id(client):
    first, second = (client.startup_scripts.create(name, "true") for name in ("a", "b"))
    client.startup_scripts.delete_by_id(first.id)
    assert [one.id for one in client.startup_scripts.get()] == [second.id]


@pytest.mark.parametrize("call", ["get_by_id", "delete_by_id"])
def test_an_unknown_script_is_not_found(client, refused, call):
    with refused("not_found", "Script not found"):
        getattr(client.startup_scripts, call)(UNKNOWN)


def test_a_list_with_an_unknown_script_deletes_none(client, refused):
    made = client.startup_scripts.create("a", "true")
    with refused("not_found", "Script not found"):
        client.startup_scripts.delete([made.id, UNKNOWN])
    assert [one.id for one in client.startup_scripts.get()] == [made.id]


@pytest.mark.parametrize(("name", "text", "field"), [("", "true", "name"), ("marker", "", "script")])
def test_a_script_needs_a_name_and_a_text(client, refused, name, text, field):
    with refused("invalid_request", f"{field} should not be empty"):
        client.startup_scripts.create(name, text)
