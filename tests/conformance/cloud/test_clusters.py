"""Clusters: several machines ordered, billed and ended as one."""

import pytest

UNKNOWN = "5d1f0c2e-7b0c-4c55-9d0f-0a6a3d1b9e11"


@pytest.fixture
def rich(world):
    world.set(cloud={"balance": 1000})


@pytest.fixture
def order(client, key, rich):
    def order(**changes):
        asked = {
            "hostname": "swarm",
            "cluster_type": "16B200",
            "image": "ubuntu-22.04-cuda-12.9-cluster",
            "ssh_key_ids": [key],
            "wait_for_status": None,
            **changes,
        }
        return client.clusters.create(**asked)

    return order


def test_a_cluster_type_tells_its_hardware_and_its_price(client):
    types = {one.cluster_type: one for one in client.cluster_types.get()}
    b200 = types["16B200"]
    assert (b200.price_per_hour, b200.currency, b200.manufacturer) == (110.68, "usd", "NVIDIA")
    assert (b200.gpu["number_of_gpus"], b200.gpu_memory["size_in_gigabytes"]) == (16, 2880)
    assert b200.node_details == ["2x 8 GPU nodes"]
    assert "ubuntu-22.04-cuda-12.9-cluster" in b200.supported_os


def test_cluster_prices_come_in_euros_on_request(client):
    [b200] = [one for one in client.cluster_types.get(currency="eur") if one.cluster_type == "16B200"]
    assert (b200.currency, b200.price_per_hour) == ("eur", pytest.approx(110.68 * 0.86))


@pytest.mark.parametrize(
    ("name", "location", "there"),
    [
        pytest.param("16B200", None, True, id="somewhere"),
        pytest.param("16B200", "FIN-01", False, id="only elsewhere"),
        pytest.param("16H200", None, False, id="sold out"),
        pytest.param("1V100.6V", None, False, id="a machine's type"),
    ],
)
def test_a_cluster_types_availability_is_a_plain_bool(client, name, location, there):
    assert client.clusters.is_available(name, location_code=location) is there


def test_a_locations_clusters_are_listed(client):
    assert client.clusters.get_availabilities(location_code="FIN-03") == ["16B200"]
    assert client.clusters.get_availabilities(location_code="FIN-01") == []


def test_cluster_images_of_an_unknown_type_are_not_found(client, refused):
    with refused("not_found", "Cluster type not found"):
        client.clusters.get_cluster_images("17B200")


def test_a_cluster_comes_up_with_its_nodes_and_its_volume(world, client, order, key, billing):
    cluster = order(description="many", shared_volume_size=500)
    assert (cluster.status, cluster.ip, cluster.worker_nodes) == ("ordered", None, [])
    assert (cluster.hostname, cluster.description, cluster.location) == ("swarm", "many", "FIN-03")
    assert (cluster.cluster_type, cluster.ssh_key_ids) == ("16B200", [key])
    world.jump(70)
    cluster = client.clusters.get_by_id(cluster.id)
    assert cluster.status == "running" and cluster.ip
    assert [node.hostname for node in cluster.worker_nodes] == ["swarm-1", "swarm-2"]
    assert len({node.private_ip for node in cluster.worker_nodes}) == 2
    [shared] = cluster.shared_volumes
    assert (shared.name, shared.size_in_gigabytes) == ("swarm-shared-volume", 500)
    assert billing() == {"swarm": 110.68, "swarm-shared-volume": 0.137}


def test_the_client_waits_until_a_cluster_is_being_built(order, waiting):
    assert order(wait_for_status="provisioning").status == "provisioning"
    assert 5 <= sum(waiting) < 65


def test_a_cluster_ends_and_its_volume_bills_on(world, client, order, billing):
    cluster = order(shared_volume_name="shared", shared_volume_size=500)
    world.jump(70)
    client.clusters.delete(cluster.id)
    assert (client.clusters.get(), client.clusters.get_by_id(cluster.id).status) == ([], "discontinued")
    [shared] = client.volumes.get()
    assert (shared.name, shared.type, shared.status) == ("shared", "NVMe_Shared", "detached")
    assert billing() == {"shared": 0.137}


def test_clusters_are_listed_by_status(world, client, order):
    first = order()
    world.jump(70)
    second = order(hostname="other")
    assert [one.id for one in client.clusters.get(status="running")] == [first.id]
    assert [one.id for one in client.clusters.get()] == [first.id, second.id]


def test_a_cluster_in_the_making_cannot_be_ended(world, client, order, refused):
    cluster = order()
    world.jump(10)
    with refused("forbidden_action", "Can't discontinue a provisioning cluster"):
        client.clusters.delete(cluster.id)


@pytest.mark.parametrize("call", ["get_by_id", "delete"])
def test_an_unknown_cluster_is_refused(client, refused, call):
    with refused("invalid_request", "Invalid cluster id"):
        getattr(client.clusters, call)(UNKNOWN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"cluster_type": "17B200"}, "Invalid cluster type", id="type"),
        pytest.param(
            {"image": "24.04.base"},
            "Operating system is not valid for this cluster type",
            id="a machine's image",
        ),
        pytest.param({"location": "NOR-01"}, "Invalid location code", id="location"),
        pytest.param({"hostname": "-"}, "Invalid hostname", id="hostname"),
        pytest.param({"ssh_key_ids": [UNKNOWN]}, "Invalid SSH key id", id="key"),
        pytest.param({"startup_script_id": UNKNOWN}, "Invalid startup script id", id="script"),
    ],
)
def test_what_does_not_exist_refuses_the_cluster(client, order, refused, billing, changes, message):
    with refused("invalid_request", message):
        order(**changes)
    assert (client.clusters.get(), billing()) == ([], {})


def test_an_empty_shelf_refuses_a_cluster(order, refused, billing):
    with refused("service_unavailable", "Not enough resources to deploy a cluster type 16H200 in FIN-03"):
        order(cluster_type="16H200")
    assert billing() == {}


def test_a_cluster_needs_a_balance(world, order, refused, billing):
    world.set(cloud={"balance": 10})
    with refused("insufficient_funds", "Insufficient funds, please top up your balance"):
        order()
    assert billing() == {}
