"""Public keys: named lines that a machine copies when it is ordered."""

import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@laptop"


def names(client):
    return [key.name for key in client.ssh_keys.get()]


def test_a_key_comes_back_as_it_was_given(client):
    made = client.ssh_keys.create("laptop", KEY)
    [listed] = client.ssh_keys.get()
    assert (listed.id, listed.name, listed.public_key) == (made.id, "laptop", KEY)
    assert len(made.id) == 36


def test_a_key_is_found_by_its_id(client):
    client.ssh_keys.create("other", KEY)
    made = client.ssh_keys.create("laptop", KEY)
    found = client.ssh_keys.get_by_id(made.id)
    assert (found.id, found.name, found.public_key) == (made.id, "laptop", KEY)


def test_the_same_key_under_the_same_name_is_two_keys(client):
    first, second = client.ssh_keys.create("laptop", KEY), client.ssh_keys.create("laptop", KEY)
    assert [key.id for key in client.ssh_keys.get()] == [first.id, second.id]


def test_keys_are_not_listed_in_pages(client):
    for number in range(12):
        client.ssh_keys.create(f"key-{number}", KEY)
    assert names(client) == [f"key-{number}" for number in range(12)]


def test_keys_are_deleted_several_at_a_time(client):
    first, second, third = (client.ssh_keys.create(name, KEY) for name in ("a", "b", "c"))
    client.ssh_keys.delete([first.id, third.id])
    assert [key.id for key in client.ssh_keys.get()] == [second.id]


def test_a_key_is_deleted_by_its_id(client):
    first, second = client.ssh_keys.create("a", KEY), client.ssh_keys.create("b", KEY)
    client.ssh_keys.delete_by_id(first.id)
    assert [key.id for key in client.ssh_keys.get()] == [second.id]


@pytest.mark.parametrize("call", ["get_by_id", "delete_by_id"])
def test_an_unknown_key_is_not_found(client, refused, call):
    with refused("not_found", "SSH key not found"):
        getattr(client.ssh_keys, call)("0f9b7d52-0000-4000-a000-000000000000")


def test_a_list_with_an_unknown_key_deletes_none(client, refused):
    made = client.ssh_keys.create("a", KEY)
    with refused("not_found", "SSH key not found"):
        client.ssh_keys.delete([made.id, "0f9b7d52-0000-4000-a000-000000000000"])
    assert names(client) == ["a"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("-----BEGIN OPENSSH PRIVATE KEY-----", "Invalid SSH key", id="a private key"),
        pytest.param("ssh-ed25519", "Invalid SSH key", id="no key behind the type"),
        pytest.param("ssh-ed25519 not*base64", "Invalid SSH key", id="not base64"),
        pytest.param(KEY.replace("ssh-ed25519", "ssh-rsa"), "Invalid SSH key", id="of another type"),
        pytest.param(" ", "key should not be empty", id="blank"),
    ],
)
def test_what_is_no_public_key_is_refused(client, refused, line, message):
    with refused("invalid_request", message):
        client.ssh_keys.create("laptop", line)
    assert names(client) == []


def test_a_key_needs_a_name(client, refused):
    with refused("invalid_request", "name should not be empty"):
        client.ssh_keys.create("", KEY)


def test_deleting_a_key_changes_no_machine(client, running, key):
    machine = running()
    client.ssh_keys.delete_by_id(key)
    assert client.instances.get_by_id(machine.id).ssh_key_ids == [key]
