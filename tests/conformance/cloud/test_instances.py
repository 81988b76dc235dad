"""A machine's life after the order: listed, stopped, started, deleted with or without its disks."""

import pytest

UNKNOWN = "5d1f0c2e-7b0c-4c55-9d0f-0a6a3d1b9e11"
DATA = [{"name": "data", "size": 20, "type": "NVMe"}]


def status(client, machine):
    return client.instances.get_by_id(machine.id).status


def data_volume(client):
    return next(volume for volume in client.volumes.get() if volume.name == "data")


def test_the_list_shows_a_machine_from_the_order_on(client, order):
    machine = order()
    assert [(one.id, one.status) for one in client.instances.get()] == [(machine.id, "ordered")]


def test_the_list_can_be_narrowed_to_a_status(client, running, order):
    up, new = running(), order(hostname="new")
    assert [one.id for one in client.instances.get(status="running")] == [up.id]
    assert [one.id for one in client.instances.get(status="ordered")] == [new.id]
    assert client.instances.get(status="offline") == []


def test_a_status_that_is_none_is_refused(client, refused):
    with refused("invalid_request", "Invalid status value: sleeping"):
        client.instances.get(status="sleeping")


def test_a_machine_that_is_gone_leaves_the_list_but_answers_by_its_id(world, client, running):
    machine = running()
    client.instances.action(machine.id, "delete")
    world.jump(21)
    assert client.instances.get() == []
    assert [one.id for one in client.instances.get(status="discontinued")] == [machine.id]
    gone = client.instances.get_by_id(machine.id)
    assert (gone.status, gone.ip, gone.hostname) == ("discontinued", None, "lesson3")


def test_an_unknown_id_is_refused_in_the_known_words(client, refused):
    with refused("invalid_request", "Invalid instance id"):
        client.instances.get_by_id(UNKNOWN)


def test_a_machine_shut_down_goes_on_billing(world, client, running, billing):
    machine = running()
    before = billing()
    client.instances.action(machine.id, "shutdown")
    assert status(client, machine) == "running"
    world.jump(31)
    assert status(client, machine) == "offline"
    assert billing() == before == {"lesson3": 1.172, "lesson3-os": 0.0137}


def test_an_offline_machine_starts_again_under_its_address(world, client, offline):
    machine = offline()
    client.instances.action(machine.id, "start")
    world.jump(21)
    again = client.instances.get_by_id(machine.id)
    assert (again.status, again.ip) == ("running", machine.ip)


def test_a_start_under_way_is_taken_back_by_a_shutdown(world, client, offline):
    machine = offline()
    client.instances.action(machine.id, "start")
    client.instances.action(machine.id, "shutdown")
    world.jump(60)
    assert status(client, machine) == "offline"


def test_starting_what_runs_changes_nothing(client, running, asked):
    machine = running()
    client.instances.action(machine.id, "start")
    assert (status(client, machine), asked()[-2]) == ("running", ("PUT", "/v1/instances", 204))


@pytest.mark.parametrize("action", ["start", "shutdown"])
def test_a_machine_that_is_being_built_can_neither_start_nor_stop(world, client, order, refused, action):
    machine = order()
    world.jump(10)
    with refused("forbidden_action", f"Can't {action} a provisioning instance"):
        client.instances.action(machine.id, action)


def test_a_machine_that_is_being_built_cannot_be_deleted(world, client, order, refused):
    machine = order()
    world.jump(10)
    with refused("forbidden_action", "Can't discontinue a provisioning instance"):
        client.instances.action(machine.id, "delete")
    world.jump(60)
    assert status(client, machine) == "running"


def test_an_order_that_is_not_yet_being_built_can_be_deleted(world, client, order, billing):
    machine = order()
    client.instances.action(machine.id, "delete")
    world.jump(60)
    assert (status(client, machine), billing()) == ("discontinued", {})


def test_what_is_gone_cannot_be_deleted_again(world, client, running, refused):
    machine = running()
    client.instances.action(machine.id, "delete")
    world.jump(21)
    with refused("forbidden_action", "Can't discontinue a discontinued instance"):
        client.instances.action(machine.id, "delete")


def test_deleting_twice_while_it_is_going_is_no_error(client, running, asked):
    machine = running()
    client.instances.action(machine.id, "delete")
    client.instances.action(machine.id, "delete")
    assert asked()[-2:] == [("PUT", "/v1/instances", 202), ("PUT", "/v1/instances", 204)]
    assert status(client, machine) == "deleting"


def test_what_is_gone_cannot_be_started(world, client, running, refused):
    machine = running()
    client.instances.action(machine.id, "delete")
    world.jump(21)
    with refused("forbidden_action", "Can't start a discontinued instance"):
        client.instances.action(machine.id, "start")


def test_an_unknown_machine_cannot_be_deleted(client, refused):
    with refused("invalid_request", "Invalid instance id"):
        client.instances.action(UNKNOWN, "delete")


def test_an_action_on_nobody_is_refused(client, refused):
    with refused("invalid_request", "id should not be empty"):
        client.instances.action([], "delete")


def test_hibernation_is_refused_and_the_machine_runs_on(client, running, refused):
    machine = running()
    with refused("forbidden_action", "Hibernation is not available"), pytest.warns(DeprecationWarning):
        client.instances.action(machine.id, "hibernate")
    assert status(client, machine) == "running"


def test_an_action_that_is_none_is_refused(client, running, refused):
    machine = running()
    with refused("invalid_request", "Invalid action: restore"):
        client.instances.action(machine.id, "restore")


@pytest.mark.parametrize(
    ("named", "left", "trashed"),
    [
        pytest.param(None, {"data"}, {"lesson3-os"}, id="null: the OS volume goes"),
        pytest.param([], {"data", "lesson3-os"}, set(), id="an empty list: none goes"),
        pytest.param(["lesson3-os"], {"data"}, {"lesson3-os"}, id="the OS volume alone"),
        pytest.param(["data"], {"lesson3-os"}, {"data"}, id="the data alone"),
        pytest.param(["data", "lesson3-os"], set(), {"data", "lesson3-os"}, id="both"),
    ],
)
def test_what_a_delete_names_goes_to_the_trash_and_the_rest_bills_on(
    world, client, running, billing, named, left, trashed
):
    machine = running(volumes=DATA)
    ids = {volume.name: volume.id for volume in client.volumes.get()}
    listed = None if named is None else [ids[name] for name in named]
    client.instances.action(machine.id, "delete", volume_ids=listed)
    world.jump(60)
    assert {volume.name for volume in client.volumes.get(status="detached")} == left
    assert {volume.name for volume in client.volumes.get_in_trash()} == trashed
    assert set(billing()) == left


def test_a_disk_goes_some_time_after_its_machine_and_bills_until_then(world, client, running, billing):
    machine = running()
    client.instances.action(machine.id, "delete")
    world.jump(21)
    assert (status(client, machine), set(billing())) == ("discontinued", {"lesson3-os"})
    assert client.volumes.get_by_id(machine.os_volume_id).status == "deleting"
    world.jump(21)
    assert billing() == {}


def test_volumes_deleted_permanently_are_not_in_the_trash(world, client, running, billing):
    machine = running(volumes=DATA)
    ids = [volume.id for volume in client.volumes.get()]
    client.instances.action(machine.id, "delete", volume_ids=ids, delete_permanently=True)
    world.jump(60)
    assert (client.volumes.get_in_trash(), billing()) == ([], {})
    assert [client.volumes.get_by_id(one).status for one in ids] == ["deleted", "deleted"]


def test_without_a_list_nothing_is_deleted_permanently(world, client, running):
    machine = running()
    client.instances.action(machine.id, "delete", delete_permanently=True)
    world.jump(60)
    assert [volume.id for volume in client.volumes.get_in_trash()] == [machine.os_volume_id]


def test_a_volume_of_another_machine_cannot_be_named(client, running, refused):
    first, second = running(), running(hostname="other")
    with refused("invalid_request", "Invalid volume id"):
        client.instances.action(first.id, "delete", volume_ids=[second.os_volume_id])
    assert (status(client, first), status(client, second)) == ("running", "running")


def test_several_machines_are_deleted_at_once_each_with_its_own_disk(world, client, running, billing):
    first, second = running(), running(hostname="other")
    disks = [first.os_volume_id, second.os_volume_id]
    client.instances.action([first.id, second.id], "delete", volume_ids=disks)
    world.jump(60)
    assert (client.instances.get(), billing()) == ([], {})


def test_of_mixed_ids_the_good_one_goes_and_the_client_does_not_notice(world, client, running):
    machine = running()
    client.instances.action([machine.id, UNKNOWN], "delete")
    assert status(client, machine) == "deleting"


def test_the_minutes_not_used_come_back(world, client, running):
    machine = running()
    client.instances.action(machine.id, "delete", volume_ids=[machine.os_volume_id])
    world.jump(600)
    bill = world.admin("GET", "bill")
    assert bill["billing"] == []
    # It lived for 70 seconds and took 20 to go; its disk took 20 more.
    assert bill["spent"] == pytest.approx(1.172 * 90 / 3600 + 0.0137 * 110 / 3600, rel=0.1)
    assert bill["balance"] == pytest.approx(50 - bill["spent"], abs=1e-6)


def test_a_balance_that_runs_out_ends_everything(world, log_in, running, billing):
    machine = running(volumes=DATA)
    world.set(cloud={"balance": 0.5})
    world.jump(3700)
    client = log_in()
    assert (status(client, machine), billing()) == ("discontinued", {})
    assert {volume.name for volume in client.volumes.get_in_trash()} == {"data", "lesson3-os"}


def test_a_list_that_lags_does_not_show_a_new_machine_for_a_while(world, client, order):
    world.set(cloud={"list_lag": 30})
    machine = order()
    assert (client.instances.get(), status(client, machine)) == ([], "ordered")
    world.jump(29)
    assert client.instances.get() == []
    world.jump(2)
    assert [one.id for one in client.instances.get()] == [machine.id]


def test_a_list_that_lags_shows_old_statuses_and_what_is_gone(world, client, running):
    machine = running()
    world.set(cloud={"list_lag": 30})
    client.instances.action(machine.id, "delete")
    world.jump(25)
    assert status(client, machine) == "discontinued"
    assert [one.status for one in client.instances.get()] == ["running"]
    world.jump(10)
    assert [one.status for one in client.instances.get()] == ["deleting"]
    world.jump(20)
    assert client.instances.get() == []


def test_a_list_that_stops_lagging_is_exact_at_once(world, client, order):
    world.set(cloud={"list_lag": 3600})
    machine = order()
    assert client.instances.get() == []
    world.set(cloud={"list_lag": 0})
    assert [one.id for one in client.instances.get()] == [machine.id]
