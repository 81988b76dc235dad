"""Spot machines: cheaper, taken away without a word, and what becomes of their disks."""

import pytest
from verda.instances import OSVolume


def evict(world, machine):
    world.set(cloud={"status": {machine.id: "discontinued"}})


def test_a_spot_machine_has_the_spot_price_and_contract(order, billing):
    machine = order(is_spot=True)
    assert (machine.is_spot, machine.contract, machine.price_per_hour) == (True, "SPOT", 0.4102)
    assert billing()["lesson3"] == 0.4102


def test_a_spot_contract_can_be_named(order):
    assert order(is_spot=True, contract="SPOT").contract == "SPOT"


def test_a_type_without_a_spot_market_is_refused(order, refused):
    with refused("invalid_request", "Spot is not available for this instance type"):
        order(is_spot=True, instance_type="1L40S.20V")


def test_a_commitment_excludes_spot(order, refused):
    with refused("invalid_request", "contract LONG_TERM excludes is_spot"):
        order(is_spot=True, contract="LONG_TERM")


@pytest.mark.parametrize("asked", ["keep_detached", "move_to_trash", "delete_permanently"])
def test_a_fate_for_the_disk_is_refused_without_spot(order, refused, asked):
    with refused("invalid_request", "on_spot_discontinue is only valid for spot instances"):
        order(os_volume=OSVolume(name="root", size=50, on_spot_discontinue=asked))


def test_a_fate_for_a_data_volume_is_refused_without_spot(order, refused):
    data = {"name": "data", "size": 20, "type": "NVMe", "on_spot_discontinue": "move_to_trash"}
    with refused("invalid_request", "on_spot_discontinue is only valid for spot instances"):
        order(volumes=[data])


@pytest.mark.parametrize(
    ("fate", "status", "bills", "trashed"),
    [
        pytest.param(None, "detached", True, False, id="unsaid: kept"),
        pytest.param("keep_detached", "detached", True, False, id="keep_detached"),
        pytest.param("move_to_trash", "deleted", False, True, id="move_to_trash"),
        pytest.param("delete_permanently", "deleted", False, False, id="delete_permanently"),
    ],
)
def test_an_eviction_does_to_the_disk_what_the_order_said(
    world, client, running, billing, fate, status, bills, trashed
):
    disk = OSVolume(name="root", size=50, on_spot_discontinue=fate)
    machine = running(is_spot=True, os_volume=disk)
    evict(world, machine)
    assert client.instances.get_by_id(machine.id).status == "discontinued"
    assert client.instances.get() == []
    world.jump(30)
    assert client.volumes.get_by_id(machine.os_volume_id).status == status
    assert ("root" in billing()) is bills
    assert ([one.id for one in client.volumes.get_in_trash()] == [machine.os_volume_id]) is trashed


def test_each_disk_has_a_fate_of_its_own(world, client, running, billing):
    data = {"name": "data", "size": 20, "type": "NVMe", "on_spot_discontinue": "move_to_trash"}
    scratch = {"name": "scratch", "size": 20, "type": "NVMe", "on_spot_discontinue": "delete_permanently"}
    evict(world, running(is_spot=True, volumes=[data, scratch]))
    world.jump(30)
    assert set(billing()) == {"lesson3-os"}
    assert [one.name for one in client.volumes.get_in_trash()] == ["data"]


def test_deleting_a_spot_machine_oneself_follows_the_delete_and_not_the_fate(world, client, running, billing):
    disk = OSVolume(name="root", size=50, on_spot_discontinue="delete_permanently")
    machine = running(is_spot=True, os_volume=disk)
    client.instances.action(machine.id, "delete", volume_ids=[])
    world.jump(60)
    assert client.volumes.get_by_id(machine.os_volume_id).status == "detached"
    assert set(billing()) == {"root"}


def test_an_evicted_machine_makes_room_for_the_next(world, client, running, order):
    world.set(cloud={"stock": {"FIN-03": {"1RTX6000ADA.10V": 1}}})
    evict(world, running(is_spot=True))
    assert order(is_spot=True).status == "ordered"
