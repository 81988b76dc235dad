"""Ordering a machine: every option, every refusal, and how it comes up or doesn't."""

import pytest
from verda.instances import OSVolume

UNKNOWN = "5d1f0c2e-7b0c-4c55-9d0f-0a6a3d1b9e11"


def test_right_after_the_order_there_is_neither_an_address_nor_a_disk(order, key):
    machine = order()
    assert (machine.status, machine.ip, machine.os_volume_id) == ("ordered", None, None)
    assert (machine.hostname, machine.description) == ("lesson3", "the third lesson")
    assert (machine.instance_type, machine.location) == ("1RTX6000ADA.10V", "FIN-03")
    assert machine.image == "ubuntu-24.04-cuda-13.0-open-docker"
    assert (machine.ssh_key_ids, machine.startup_script_id) == ([key], None)
    assert (machine.is_spot, machine.contract, machine.pricing) == (False, "PAY_AS_YOU_GO", "FIXED_PRICE")
    assert machine.price_per_hour == 1.172


def test_a_machine_describes_its_hardware_as_its_type_does(client, order):
    machine = order()
    [kind] = [one for one in client.instance_types.get() if one.instance_type == machine.instance_type]
    described = (machine.cpu, machine.gpu, machine.gpu_memory, machine.memory, machine.storage)
    assert described == (kind.cpu, kind.gpu, kind.gpu_memory, kind.memory, kind.storage)
    assert machine.gpu == {"description": "1x RTX 6000 Ada", "number_of_gpus": 1}


def test_without_being_told_the_client_waits_until_the_machine_is_being_built(order, waiting):
    machine = order(wait_for_status=lambda status: status != "ordered")
    assert (machine.status, machine.ip) == ("provisioning", None)
    assert 5 <= sum(waiting) < 65


def test_the_client_can_wait_for_a_status_by_its_word(order, waiting):
    machine = order(wait_for_status="running")
    assert machine.status == "running"
    assert machine.ip.startswith("127.77.")
    assert 65 <= sum(waiting) < 80


def test_a_status_that_never_comes_ends_the_wait_but_not_the_machine(client, order, waiting):
    with pytest.raises(TimeoutError, match="within 30.0 seconds"):
        order(wait_for_status="offline", max_wait_time=30)
    assert sum(waiting) == 30
    assert [machine.hostname for machine in client.instances.get()] == ["lesson3"]


def test_a_running_machine_and_its_disk_know_of_each_other(client, running):
    machine = running()
    disk = client.volumes.get_by_id(machine.os_volume_id)
    assert (disk.instance_id, disk.status) == (machine.id, "attached")
    assert (disk.target, disk.is_os_volume) == ("vda", True)
    [held] = disk.instances
    assert (held["id"], held["hostname"], held["ip"]) == (machine.id, "lesson3", machine.ip)
    assert (held["status"], held["os_volume_id"]) == ("running", disk.id)
    assert disk.ssh_key_ids == machine.ssh_key_ids


def test_without_an_os_volume_there_is_one_of_50_gb_named_after_the_host(client, running, billing):
    disk = client.volumes.get_by_id(running().os_volume_id)
    assert (disk.name, disk.size, disk.type, disk.location) == ("lesson3-os", 50, "NVMe", "FIN-03")
    assert billing() == {"lesson3": 1.172, "lesson3-os": 0.0137}


@pytest.mark.parametrize(
    "asked",
    [OSVolume(name="root", size=120), {"name": "root", "size": 120}],
    ids=["as the client's type", "as a plain dict"],
)
def test_an_os_volume_is_made_as_asked(client, running, asked):
    disk = client.volumes.get_by_id(running(os_volume=asked).os_volume_id)
    assert (disk.name, disk.size, disk.monthly_price) == ("root", 120, 24.0)


@pytest.mark.parametrize(
    ("size", "message"),
    [(49, "os_volume.size must not be less than 50"), (10_241, "Invalid volume size")],
)
def test_an_os_volume_has_a_least_and_a_largest_size(order, refused, billing, size, message):
    with refused("invalid_request", message):
        order(os_volume=OSVolume(name="root", size=size))
    assert billing() == {}


def test_new_data_volumes_come_with_the_machine_each_on_its_device(client, running, billing):
    asked = [{"name": "data", "size": 20, "type": "NVMe"}, {"name": "more", "size": 30, "type": "NVMe"}]
    machine = running(volumes=asked)
    data = [volume for volume in client.volumes.get() if not volume.is_os_volume]
    assert [(one.name, one.size, one.target) for one in data] == [("data", 20, "vdb"), ("more", 30, "vdc")]
    assert {one.instance_id for one in data} == {machine.id}
    assert billing() == {"lesson3": 1.172, "lesson3-os": 0.0137, "data": 0.0055, "more": 0.0083}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        pytest.param({"name": "data", "size": 20, "type": "HDD"}, "Invalid volume type", id="no longer sold"),
        pytest.param({"name": "data", "size": 0, "type": "NVMe"}, "Invalid volume size", id="no size"),
        pytest.param({"name": "", "size": 20, "type": "NVMe"}, "name should not be empty", id="no name"),
    ],
)
def test_a_data_volume_that_cannot_be_made_refuses_the_order(client, order, refused, volume, message):
    with refused("invalid_request", message):
        order(volumes=[volume])
    assert client.instances.get() == []


def test_an_existing_volume_is_attached(client, running):
    data = client.volumes.create("NVMe", "data", 20)
    machine = running(existing_volumes=[data.id])
    data = client.volumes.get_by_id(data.id)
    assert (data.status, data.instance_id, data.target) == ("attached", machine.id, "vdb")


def test_an_existing_volume_has_to_exist(order, refused):
    with refused("invalid_request", "Invalid volume id"):
        order(existing_volumes=[UNKNOWN])


def test_an_existing_volume_has_to_be_detached(client, order, running, refused):
    running(hostname="first", volumes=[{"name": "data", "size": 20, "type": "NVMe"}])
    [data] = [volume for volume in client.volumes.get() if volume.name == "data"]
    with refused("invalid_request", "Volume is not detached"):
        order(existing_volumes=[data.id])


def test_an_existing_volume_has_to_be_in_the_machines_location(client, order, refused):
    elsewhere = client.volumes.create("NVMe", "data", 20, location="FIN-01")
    with refused("invalid_request", "Volume and instance must be in the same location"):
        order(existing_volumes=[elsewhere.id])


def test_an_existing_volume_is_attached_once(client, order, refused):
    data = client.volumes.create("NVMe", "data", 20)
    with refused("invalid_request", "Volume is listed twice"):
        order(existing_volumes=[data.id, data.id])
    assert client.volumes.get_by_id(data.id).status == "detached"


def test_a_startup_script_is_named_by_the_machine(client, order):
    script = client.startup_scripts.create("marker", "touch /root/marker")
    assert order(startup_script_id=script.id).startup_script_id == script.id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"startup_script_id": UNKNOWN}, "Invalid startup script id", id="script"),
        pytest.param({"ssh_key_ids": [UNKNOWN]}, "Invalid SSH key id", id="key"),
        pytest.param({"ssh_key_ids": []}, "ssh_key_ids should not be empty", id="no key at all"),
        pytest.param({"instance_type": "1RTX6000ADA"}, "Invalid instance type", id="type"),
        pytest.param({"image": "ubuntu-18.04"}, "Invalid image", id="image"),
        pytest.param({"image": UNKNOWN}, "Invalid image", id="image by id"),
        pytest.param({"location": "NOR-01"}, "Invalid location code", id="location"),
        pytest.param(
            {"contract": "1_MONTH"},
            "contract must be one of: LONG_TERM, PAY_AS_YOU_GO, SPOT",
            id="a duration for a contract",
        ),
        pytest.param({"contract": "SPOT"}, "contract SPOT needs is_spot", id="spot contract without spot"),
        pytest.param(
            {"pricing": "DYNAMIC_PRICE"}, "pricing must be one of: FIXED_PRICE", id="pricing that is gone"
        ),
    ],
)
def test_what_does_not_exist_refuses_the_order(client, order, refused, billing, changes, message):
    with refused("invalid_request", message):
        order(**changes)
    assert (client.instances.get(), billing()) == ([], {})


def test_an_image_that_the_type_cannot_run_is_refused_in_the_known_words(order, refused):
    with refused("invalid_request", "Operating system is not valid for this instance type"):
        order(instance_type="1V100.6V")


def test_an_image_is_ordered_by_its_id_as_well(order):
    machine = order(image="2404f580-1300-1111-82b3-f199fb9b701b")
    assert machine.image == "ubuntu-24.04-cuda-13.0-open-docker"


def test_one_key_may_stand_without_a_list(order, key):
    assert order(ssh_key_ids=key).ssh_key_ids == [key]


def test_several_keys_are_kept_in_their_order(client, order, key):
    second = client.ssh_keys.create("second", client.ssh_keys.get_by_id(key).public_key).id
    assert order(ssh_key_ids=[second, key]).ssh_key_ids == [second, key]


@pytest.mark.parametrize(
    "hostname",
    ["a", "9a", "a-b", "A" * 63],
    ids=["a letter", "digit first", "hyphen inside", "63 characters"],
)
def test_a_hostname_is_kept_as_it_is(order, hostname):
    assert order(hostname=hostname).hostname == hostname


@pytest.mark.parametrize(
    "hostname",
    ["", "123", "-a", "a-", "a_b", "a.b", "lecci\u00f3n", "a" * 64],
    ids=["empty", "no letter", "hyphen first", "hyphen last", "underscore", "dot", "accent", "64 characters"],
)
def test_a_hostname_that_is_none_is_refused(order, refused, hostname):
    with refused("invalid_request", "Invalid hostname"):
        order(hostname=hostname)


def test_the_same_hostname_twice_is_two_machines_that_both_bill(world, client, order):
    first, second = order(), order()
    assert {machine.id for machine in client.instances.get()} == {first.id, second.id}
    billing = [one["id"] for one in world.admin("GET", "bill")["billing"] if one["name"] == "lesson3"]
    assert sorted(billing) == sorted([first.id, second.id])


@pytest.mark.parametrize("contract", ["PAY_AS_YOU_GO", "LONG_TERM"])
def test_a_contract_is_shown_as_it_was_asked_for(order, contract):
    assert order(contract=contract, pricing="FIXED_PRICE", coupon="SPRING").contract == contract


def test_two_machines_have_two_addresses(running):
    first, second = running(), running(hostname="other")
    assert first.ip != second.ip


@pytest.mark.parametrize(("name", "gpus"), [("8B300.240V", 8), ("1H100.80S.30V", 1)])
def test_an_empty_shelf_refuses_with_the_count_the_type_and_the_place(order, refused, billing, name, gpus):
    message = f"Not enough resources to deploy a {gpus} GPU instance type {name} in FIN-03"
    with refused("service_unavailable", message):
        order(instance_type=name)
    assert billing() == {}


def test_an_availability_can_claim_what_is_not_there(world, client, order, refused):
    world.set(cloud={"claims": {"FIN-03": {"8B300.240V": True}}})
    assert client.instances.is_available("8B300.240V", location_code="FIN-03") is True
    [listed] = client.instances.get_availabilities(location_code="FIN-03")
    assert "8B300.240V" in listed["availabilities"]
    message = "Not enough resources to deploy a 8 GPU instance type 8B300.240V in FIN-03"
    with refused("service_unavailable", message):
        order(instance_type="8B300.240V")


def test_an_availability_can_hide_what_is_there_until_it_tells_the_truth_again(world, client, order):
    world.set(cloud={"claims": {"FIN-03": {"1RTX6000ADA.10V": False}}})
    assert client.instances.is_available("1RTX6000ADA.10V", location_code="FIN-03") is False
    assert order().status == "ordered"
    world.set(cloud={"claims": {"FIN-03": {"1RTX6000ADA.10V": None}}})
    assert client.instances.is_available("1RTX6000ADA.10V", location_code="FIN-03") is True


def test_a_balance_that_does_not_cover_ten_minutes_refuses(world, client, order, refused, billing):
    world.set(cloud={"balance": 0.1})
    with refused("insufficient_funds", "Insufficient funds, please top up your balance"):
        order()
    assert (client.balance.get().amount, billing()) == (0.1, {})


@pytest.mark.parametrize("ending", ["no_capacity", "error", "installation_failed"])
def test_a_boot_that_fails_stays_listed_and_bills_until_it_is_deleted(world, client, order, billing, ending):
    world.set(cloud={"endings": [ending]})
    machine = order()
    world.jump(70)
    [listed] = client.instances.get()
    assert (listed.id, listed.status, listed.ip) == (machine.id, ending, None)
    assert "lesson3" in billing()
    client.instances.action(machine.id, "delete")
    world.jump(60)
    assert (client.instances.get(), billing()) == ([], {})


def test_a_place_that_is_not_found_shows_before_anything_is_built(world, client, order):
    world.set(cloud={"endings": ["no_capacity"]})
    machine = order()
    world.jump(6)
    assert client.instances.get_by_id(machine.id).status == "no_capacity"


def test_a_machine_can_be_taken_away_while_it_boots(world, client, order, billing):
    world.set(cloud={"endings": ["discontinued"]})
    machine = order()
    world.jump(10)
    assert client.instances.get_by_id(machine.id).status == "provisioning"
    world.jump(60)
    assert client.instances.get_by_id(machine.id).status == "discontinued"
    assert (client.instances.get(), billing()) == ([], {"lesson3-os": 0.0137})


def test_a_machine_can_be_forgotten_while_it_boots_and_its_disk_bills_on(
    world, client, order, refused, billing
):
    world.set(cloud={"endings": ["gone"]})
    machine = order()
    world.jump(70)
    with refused("not_found", "Invalid instance id"):
        client.instances.get_by_id(machine.id)
    assert client.instances.get(status="discontinued") == []
    assert billing() == {"lesson3-os": 0.0137}


def test_an_ending_is_for_one_order_and_the_next_comes_up(world, client, order):
    world.set(cloud={"endings": ["error"]})
    first, second = order(), order()
    world.jump(70)
    assert client.instances.get_by_id(first.id).status == "error"
    assert client.instances.get_by_id(second.id).status == "running"


@pytest.fixture
def kept(world, client, running):
    """The OS volume of a machine that is gone."""

    def kept(**changes):
        machine = running(**changes)
        client.instances.action(machine.id, "delete", volume_ids=[])
        world.jump(21)
        return client.volumes.get_by_id(machine.os_volume_id)

    return kept


def test_a_kept_disk_boots_again_without_a_key(client, kept, running):
    disk = kept(os_volume=OSVolume(name="root", size=80))
    assert disk.status == "detached"
    machine = running(image=disk.id, ssh_key_ids=[])
    assert (machine.os_volume_id, machine.image) == (disk.id, "ubuntu-24.04-cuda-13.0-open-docker")
    assert [(one.name, one.size) for one in client.volumes.get()] == [("root", 80)]


def test_a_kept_disk_boots_only_where_it_is(kept, order, refused):
    disk = kept()
    with refused("invalid_request", "Volume and instance must be in the same location"):
        order(image=disk.id, location="FIN-01")


def test_a_kept_disk_boots_one_machine_at_a_time(kept, running, order, refused):
    disk = kept()
    running(image=disk.id)
    with refused("invalid_request", "Volume is not detached"):
        order(image=disk.id)


def test_a_data_volume_boots_nothing(client, order, refused):
    data = client.volumes.create("NVMe", "data", 60)
    with refused("invalid_request", "Volume is not an OS volume"):
        order(image=data.id)
