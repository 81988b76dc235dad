"""Disks of one's own: made, attached, grown, copied, thrown away and taken back."""

import pytest

UNKNOWN = "b7a10c2e-7b0c-4c55-9d0f-0a6a3d1b9e11"
NOT_FOUND = ("not_found", "Volume not found")
IN_USE = ("forbidden_action", "Instance must be shut down first")


@pytest.fixture
def data(client):
    return client.volumes.create("NVMe", "data", 20)


def status(client, volume):
    return client.volumes.get_by_id(volume.id).status


def restore(client, volume):
    """The client has no call for it; its HTTP half sends it all the same."""
    client._http_client.put("/volumes", json={"id": volume.id, "action": "restore"})


def test_a_new_volume_is_detached_and_bills(data, billing):
    assert (data.name, data.size, data.type, data.location) == ("data", 20, "NVMe", "FIN-03")
    assert (data.status, data.instance_id, data.instances, data.target) == ("detached", None, [], None)
    assert (data.is_os_volume, data.ssh_key_ids, data.deleted_at) == (False, [], None)
    assert (data.base_hourly_cost, data.monthly_price, data.currency) == (0.0055, 4.0, "usd")
    assert (data.contract, data.long_term) == ("PAY_AS_YOU_GO", None)
    assert billing() == {"data": 0.0055}


def test_a_volume_is_made_where_it_is_asked_for(client):
    volume = client.volumes.create("NVMe", "data", 20, location="FIN-01")
    assert client.volumes.get_by_id(volume.id).location == "FIN-01"


def test_a_shared_volume_keeps_its_type(client):
    assert client.volumes.create("NVMe_Shared", "shared", 20).type == "NVMe_Shared"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"type": "HDD"}, "Invalid volume type", id="a type no longer sold"),
        pytest.param({"type": "nvme"}, "Invalid volume type", id="a type in other letters"),
        pytest.param({"name": ""}, "name should not be empty", id="no name"),
        pytest.param({"size": 0}, "Invalid volume size", id="no size"),
        pytest.param({"size": 10_241}, "Invalid volume size", id="too large"),
        pytest.param({"location": "NOR-01"}, "Invalid location code", id="no such location"),
        pytest.param({"instance_id": UNKNOWN}, "Invalid instance id", id="no such machine"),
    ],
)
def test_a_volume_that_cannot_be_made_is_refused(client, refused, billing, changes, message):
    with refused("invalid_request", message):
        client.volumes.create(**{"type": "NVMe", "name": "data", "size": 20, **changes})
    assert (client.volumes.get(), billing()) == ([], {})


def test_a_volume_needs_a_balance(world, client, refused):
    world.set(cloud={"balance": 0})
    with refused("insufficient_funds", "Insufficient funds, please top up your balance"):
        client.volumes.create("NVMe", "data", 20)


def test_volumes_can_be_listed_by_their_status(client, running, data):
    machine = running()
    assert [one.id for one in client.volumes.get(status="attached")] == [machine.os_volume_id]
    assert [one.id for one in client.volumes.get(status="detached")] == [data.id]
    assert client.volumes.get(status="cloning") == []


def test_a_status_that_is_none_is_refused(client, refused):
    with refused("invalid_request", "Invalid status value: flummoxed"):
        client.volumes.get(status="flummoxed")


@pytest.mark.parametrize(
    "call",
    [
        lambda volumes: volumes.get_by_id(UNKNOWN),
        lambda volumes: volumes.delete(UNKNOWN),
        lambda volumes: volumes.delete_by_id(UNKNOWN),
        lambda volumes: volumes.rename(UNKNOWN, "x"),
        lambda volumes: volumes.clone(UNKNOWN),
        lambda volumes: volumes.detach(UNKNOWN),
    ],
    ids=["get", "delete", "delete by id", "rename", "clone", "detach"],
)
def test_an_unknown_volume_is_not_found(client, refused, call):
    with refused(*NOT_FOUND):
        call(client.volumes)


def test_a_volume_is_attached_to_a_machine_that_is_offline(client, offline, data):
    machine = offline()
    client.volumes.attach(data.id, machine.id)
    attached = client.volumes.get_by_id(data.id)
    assert (attached.status, attached.instance_id, attached.target) == ("attached", machine.id, "vdb")
    assert attached.ssh_key_ids == machine.ssh_key_ids


def test_a_volume_is_made_attached_to_a_machine_that_is_offline(client, offline):
    machine = offline()
    volume = client.volumes.create("NVMe", "data", 20, instance_id=machine.id)
    assert (volume.status, volume.instance_id) == ("attached", machine.id)


def test_a_running_machine_takes_no_volume(client, running, data, refused):
    machine = running()
    with refused(*IN_USE):
        client.volumes.attach(data.id, machine.id)
    assert status(client, data) == "detached"


def test_a_volume_is_attached_to_one_machine(client, offline, data, refused):
    first, second = offline(), offline(hostname="other")
    client.volumes.attach(data.id, first.id)
    with refused("invalid_request", "Volume is not detached"):
        client.volumes.attach(data.id, second.id)


def test_a_volume_elsewhere_cannot_be_attached(client, offline, refused):
    elsewhere = client.volumes.create("NVMe", "data", 20, location="FIN-01")
    machine = offline()
    with refused("invalid_request", "Volume and instance must be in the same location"):
        client.volumes.attach(elsewhere.id, machine.id)


def test_an_unknown_machine_takes_no_volume(client, data, refused):
    with refused("invalid_request", "Invalid instance id"):
        client.volumes.attach(data.id, UNKNOWN)


def test_several_volumes_are_attached_all_or_none(client, offline, data, refused):
    elsewhere = client.volumes.create("NVMe", "far", 20, location="FIN-01")
    machine = offline()
    with refused("invalid_request", "Volume and instance must be in the same location"):
        client.volumes.attach([data.id, elsewhere.id], machine.id)
    assert status(client, data) == "detached"
    beside = client.volumes.create("NVMe", "beside", 20)
    client.volumes.attach([data.id, beside.id], machine.id)
    targets = [client.volumes.get_by_id(one.id).target for one in (data, beside)]
    assert targets == ["vdb", "vdc"]


def test_a_volume_is_detached_from_a_machine_that_is_offline(client, offline, data, billing):
    machine = offline()
    client.volumes.attach(data.id, machine.id)
    client.volumes.detach(data.id)
    detached = client.volumes.get_by_id(data.id)
    assert (detached.status, detached.instance_id) == ("detached", None)
    assert "data" in billing()


def test_a_running_machine_gives_no_volume_back(client, running, refused):
    running(volumes=[{"name": "data", "size": 20, "type": "NVMe"}])
    [data] = [one for one in client.volumes.get() if one.name == "data"]
    with refused(*IN_USE):
        client.volumes.detach(data.id)


def test_what_is_not_attached_cannot_be_detached(client, data, refused):
    with refused("forbidden_action", "Volume is not attached"):
        client.volumes.detach(data.id)


def test_an_os_volume_stays_with_its_machine(client, offline, refused):
    machine = offline()
    with refused("forbidden_action", "Can't detach the OS volume of an instance"):
        client.volumes.detach(machine.os_volume_id)


def test_one_name_can_be_given_to_several_volumes(client, data, billing):
    other = client.volumes.create("NVMe", "other", 20)
    client.volumes.rename([data.id, other.id], "renamed")
    assert [one.name for one in client.volumes.get()] == ["renamed", "renamed"]
    assert list(billing()) == ["renamed"]


def test_a_volume_keeps_its_name_rather_than_have_none(client, data, refused):
    with refused("invalid_request", "name should not be empty"):
        client.volumes.rename(data.id, "")
    assert client.volumes.get_by_id(data.id).name == "data"


def test_a_larger_volume_costs_more_from_then_on(client, data, billing):
    client.volumes.increase_size(data.id, 100)
    grown = client.volumes.get_by_id(data.id)
    assert (grown.size, grown.monthly_price) == (100, 20.0)
    assert billing() == {"data": 0.0274}


@pytest.mark.parametrize(
    ("size", "message"),
    [
        pytest.param(19, "size must be larger than the current size", id="smaller"),
        pytest.param(20, "size must be larger than the current size", id="the same"),
        pytest.param(10_241, "Invalid volume size", id="too large"),
    ],
)
def test_a_volume_only_grows_and_not_without_end(client, data, refused, size, message):
    with refused("invalid_request", message):
        client.volumes.increase_size(data.id, size)
    assert client.volumes.get_by_id(data.id).size == 20


def test_growing_several_is_all_or_none(client, data, refused, billing):
    large = client.volumes.create("NVMe", "large", 50)
    with refused("invalid_request", "size must be larger than the current size"):
        client.volumes.increase_size([data.id, large.id], 50)
    assert client.volumes.get_by_id(data.id).size == 20
    assert billing() == {"data": 0.0055, "large": 0.0137}


def test_a_copy_is_a_volume_of_its_own_that_bills(client, data, billing):
    copy = client.volumes.clone(data.id, name="copy")
    assert copy.id != data.id
    assert (copy.name, copy.size, copy.type, copy.status) == ("copy", 20, "NVMe", "detached")
    assert billing() == {"data": 0.0055, "copy": 0.0055}


def test_a_copy_without_a_name_is_named_after_its_source(client, data):
    assert client.volumes.clone(data.id).name == "data-clone"


def test_several_copies_come_as_a_list(client, data):
    other = client.volumes.create("NVMe", "other", 30)
    copies = client.volumes.clone([data.id, other.id])
    assert [(one.name, one.size) for one in copies] == [("data-clone", 20), ("other-clone", 30)]


def test_a_copy_can_be_of_another_type_but_not_of_an_unknown_one(client, data, refused):
    assert client.volumes.clone(data.id, type="NVMe_Shared").type == "NVMe_Shared"
    with refused("invalid_request", "Invalid volume type"):
        client.volumes.clone(data.id, type="HDD")


def test_a_copy_of_an_os_volume_boots(client, running):
    machine = running()
    copy = client.volumes.clone(machine.os_volume_id, name="copy")
    assert (copy.is_os_volume, copy.status) == (True, "detached")
    assert running(hostname="second", image=copy.id).os_volume_id == copy.id


def test_a_deleted_volume_is_in_the_trash_at_once_and_free(client, data, billing):
    client.volumes.delete(data.id)
    [trashed] = client.volumes.get_in_trash()
    assert (trashed.id, trashed.name, trashed.status) == (data.id, "data", "deleted")
    assert trashed.deleted_at > data.created_at
    assert (client.volumes.get(), status(client, data), billing()) == ([], "deleted", {})


def test_a_volume_deleted_permanently_is_in_no_list_but_answers(client, data):
    client.volumes.delete(data.id, is_permanent=True)
    assert (client.volumes.get(), client.volumes.get_in_trash()) == ([], [])
    assert status(client, data) == "deleted"


def test_a_second_permanent_delete_purges_the_trash(client, data):
    client.volumes.delete(data.id)
    client.volumes.delete(data.id, is_permanent=True)
    assert client.volumes.get_in_trash() == []


def test_a_second_delete_into_the_trash_is_refused(client, data, refused):
    client.volumes.delete(data.id)
    with refused("forbidden_action", "Volume is already deleted"):
        client.volumes.delete(data.id)


def test_the_trash_is_emptied_after_96_hours(world, log_in, data):
    log_in().volumes.delete(data.id)
    world.jump(95 * 3600)
    assert [one.id for one in log_in().volumes.get_in_trash()] == [data.id]
    world.jump(2 * 3600)
    assert log_in().volumes.get_in_trash() == []


def test_what_is_restored_is_charged_for_its_time_in_the_trash(world, log_in, client, data, billing):
    client.volumes.delete(data.id)
    world.jump(24 * 3600)
    spent = world.admin("GET", "bill")["spent"]
    client = log_in()
    restore(client, data)
    assert (status(client, data), billing()) == ("detached", {"data": 0.0055})
    assert world.admin("GET", "bill")["spent"] == pytest.approx(spent + 24 * 0.0055, abs=0.002)


def test_what_was_purged_cannot_be_restored(client, data, refused):
    client.volumes.delete(data.id, is_permanent=True)
    with refused("forbidden_action", "Volume is not in the trash"):
        restore(client, data)


@pytest.mark.parametrize(
    "call",
    [
        lambda volumes, one: volumes.rename(one, "x"),
        lambda volumes, one: volumes.increase_size(one, 100),
        lambda volumes, one: volumes.clone(one),
    ],
    ids=["rename", "resize", "clone"],
)
def test_nothing_is_done_with_what_is_deleted(client, data, refused, call):
    client.volumes.delete(data.id)
    with refused("forbidden_action", "Volume is deleted"):
        call(client.volumes, data.id)


@pytest.mark.parametrize("permanent", [False, True], ids=["to the trash", "permanently"])
def test_a_volume_is_deleted_by_its_id_alone(client, data, permanent):
    client.volumes.delete_by_id(data.id, is_permanent=permanent)
    assert status(client, data) == "deleted"
    assert len(client.volumes.get_in_trash()) == (0 if permanent else 1)


def test_a_volume_in_use_cannot_be_deleted_until_its_machine_is_offline(world, client, running, refused):
    machine = running(volumes=[{"name": "data", "size": 20, "type": "NVMe"}])
    [data] = [one for one in client.volumes.get() if one.name == "data"]
    with refused(*IN_USE):
        client.volumes.delete(data.id)
    client.instances.action(machine.id, "shutdown")
    world.jump(31)
    client.volumes.delete(data.id)
    assert status(client, data) == "deleted"


def test_an_os_volume_cannot_be_deleted_under_its_machine(client, offline, refused):
    machine = offline()
    with refused("forbidden_action", "Can't delete the OS volume of an instance"):
        client.volumes.delete_by_id(machine.os_volume_id)


def test_deleting_several_is_all_or_none(client, offline, data, refused, billing):
    machine = offline()
    with refused("forbidden_action", "Can't delete the OS volume of an instance"):
        client.volumes.delete([data.id, machine.os_volume_id])
    assert (client.volumes.get_in_trash(), "data" in billing()) == ([], True)


def test_a_list_that_lags_knows_neither_what_is_new_nor_what_is_gone(world, client, data):
    world.set(cloud={"list_lag": 30})
    new = client.volumes.create("NVMe", "new", 20)
    client.volumes.delete(data.id)
    assert [one.id for one in client.volumes.get()] == [data.id]
    assert (status(client, new), status(client, data)) == ("detached", "deleted")
    world.jump(31)
    assert [one.id for one in client.volumes.get()] == [new.id]
