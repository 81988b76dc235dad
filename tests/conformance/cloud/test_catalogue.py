"""What is sold, where, and for how much."""

import pytest


def kind(client, name, **more):
    return next(one for one in client.instance_types.get(**more) if one.instance_type == name)


def test_a_type_tells_its_hardware_and_its_prices(client):
    v100 = kind(client, "1V100.6V")
    assert (v100.price_per_hour, v100.spot_price_per_hour, v100.currency) == (0.192, 0.0595, "usd")
    assert v100.cpu == {"description": "6 CPU", "number_of_cores": 6}
    assert v100.gpu == {"description": "1x Tesla V100 16GB", "number_of_gpus": 1}
    assert v100.gpu_memory == {"description": "16GB GPU RAM", "size_in_gigabytes": 16}
    assert v100.memory == {"description": "23GB RAM", "size_in_gigabytes": 23}
    assert v100.storage == {"description": "dynamic"}
    assert (v100.manufacturer, v100.model) == ("NVIDIA", "Tesla V100 16GB")
    assert v100.supported_os == ["24.04.base", "jupyter", "26.04.base"]


def test_prices_come_in_euros_on_request(client):
    v100 = kind(client, "1V100.6V", currency="eur")
    assert (v100.currency, v100.price_per_hour) == ("eur", pytest.approx(0.192 * 0.86))


def test_an_unknown_currency_is_refused(client, refused):
    with refused("invalid_request", "currency must be one of: usd, eur"):
        client.instance_types.get(currency="sek")


def test_prices_and_gpu_memory_are_those_of_the_whole_machine(client):
    one, two = kind(client, "1V100.6V"), kind(client, "2V100.10V")
    assert two.price_per_hour == pytest.approx(2 * one.price_per_hour)
    assert two.gpu_memory["size_in_gigabytes"] == 2 * one.gpu_memory["size_in_gigabytes"]


def test_a_type_without_a_gpu_says_so(client):
    cpu = kind(client, "CPU.4V.16G")
    assert (cpu.gpu["number_of_gpus"], cpu.gpu_memory["size_in_gigabytes"]) == (0, 0)
    assert (cpu.model, cpu.price_per_hour) == ("CPU Node", 0.0279)


def test_a_type_without_a_spot_market_has_a_spot_price_of_nothing(client):
    assert kind(client, "1L40S.20V").spot_price_per_hour == 0


@pytest.mark.parametrize(
    ("name", "spot", "location", "there"),
    [
        pytest.param("1V100.6V", False, None, True, id="somewhere"),
        pytest.param("1V100.6V", False, "FIN-01", True, id="there"),
        pytest.param("1V100.6V", False, "FIN-02", False, id="only elsewhere"),
        pytest.param("1V100.6V", True, "FIN-03", True, id="as spot"),
        pytest.param("1L40S.20V", True, "FIN-03", False, id="no spot market"),
        pytest.param("8B300.240V", False, None, False, id="sold out"),
        pytest.param("CPU.4V", False, None, False, id="no such type"),
        pytest.param("1V100.6V", False, "NOR-01", False, id="no such location"),
    ],
)
def test_one_types_availability_is_a_plain_bool(client, name, spot, location, there):
    assert client.instances.is_available(name, is_spot=spot, location_code=location) is there


def test_all_availabilities_come_by_location_in_the_order_of_the_locations(client):
    listed = client.instances.get_availabilities()
    assert [one["location_code"] for one in listed] == ["FIN-01", "ICE-01", "FIN-02", "FIN-03"]
    assert listed[1]["availabilities"] == ["CPU.4V.16G", "1A6000.10V"]


def test_one_locations_availability_is_a_list_of_one(client):
    assert client.instances.get_availabilities(location_code="FIN-02") == [
        {
            "location_code": "FIN-02",
            "availabilities": ["CPU.4V.16G", "1L40S.20V", "1A100.40S.22V", "1H100.80S.30V", "2H100.80S.80V"],
        }
    ]


def test_spot_has_a_list_of_its_own(client):
    [spot] = client.instances.get_availabilities(is_spot=True, location_code="FIN-02")
    [demand] = client.instances.get_availabilities(is_spot=False, location_code="FIN-02")
    assert set(demand["availabilities"]) - set(spot["availabilities"]) == {"1L40S.20V"}


def test_the_list_refuses_a_location_that_is_none(client, refused):
    with refused("invalid_request", "Invalid location code"):
        client.instances.get_availabilities(location_code="NOR-01")


def test_a_type_is_available_until_its_last_machine_is_ordered_and_again_after_its_end(
    world, client, running
):
    world.set(cloud={"stock": {"FIN-03": {"1RTX6000ADA.10V": 1}}})

    def there():
        return client.instances.is_available("1RTX6000ADA.10V", location_code="FIN-03")

    assert there() is True
    machine = running()
    assert there() is False
    client.instances.action(machine.id, "delete", volume_ids=[])
    world.jump(21)
    assert there() is True


def test_images_are_named_by_slug_and_id(client):
    images = {image.image_type: image for image in client.images.get()}
    assert set(images) >= {"ubuntu-22.04", "24.04.base", "jupyter"}
    docker = images["ubuntu-24.04-cuda-13.0-open-docker"]
    assert docker.id == "2404f580-1300-1111-82b3-f199fb9b701b"
    assert docker.name == "Ubuntu 24.04 + CUDA 13.0 Open + Docker"
    assert docker.details == ["Ubuntu 24.04", "CUDA 13.0", "Docker"]


def test_images_of_machines_and_of_clusters_are_kept_apart(client):
    machines = {image.image_type for image in client.images.get()}
    clusters = set(client.clusters.get_cluster_images())
    assert clusters == {"ubuntu-22.04-cuda-12.9-cluster", "ubuntu-24.04-cuda-12.8-cluster"}
    assert not machines & clusters


def test_a_types_images_are_those_it_supports(client):
    slugs = {image.image_type for image in client.images.get(instance_type="1V100.6V")}
    assert slugs == set(kind(client, "1V100.6V").supported_os)


def test_images_of_an_unknown_type_are_not_found(client, refused):
    with refused("not_found", "Instance type not found"):
        client.images.get(instance_type="1V100")


def test_locations_come_in_their_order_with_names_and_countries(client):
    listed = [(one["code"], one["name"], one["country_code"]) for one in client.locations.get()]
    assert listed == [
        ("FIN-01", "Finland 1", "FI"),
        ("ICE-01", "Iceland 1", "IS"),
        ("FIN-02", "Finland 2", "FI"),
        ("FIN-03", "Finland 3", "FI"),
    ]


def test_the_balance_is_a_number_of_dollars(client):
    balance = client.balance.get()
    assert (balance.amount, balance.currency) == (50.0, "usd")


def test_an_order_takes_ten_minutes_from_the_balance_at_once(client, order):
    order()
    step = (1.172 + 0.0137) / 6
    assert client.balance.get().amount == pytest.approx(50 - step, abs=0.0101)


def test_volume_types_have_a_price_per_month_and_gigabyte(client):
    prices = {one.type: one.price_per_month_per_gb for one in client.volume_types.get()}
    assert prices == {"NVMe": 0.2, "NVMe_Shared": 0.2}


def test_commitments_for_machines_have_a_length_and_a_discount(client):
    periods = {one.code: one for one in client.long_term.get_instance_periods()}
    assert list(periods) == ["1_MONTH", "3_MONTHS", "6_MONTHS", "1_YEAR"]
    half = periods["6_MONTHS"]
    assert (half.name, half.unit_name, half.unit_value) == ("6 months", "month", 6)
    assert (half.is_enabled, half.discount_percentage) == (True, 20.0)


def test_clusters_are_committed_to_for_longer(client):
    codes = [one.code for one in client.long_term.get_cluster_periods()]
    assert codes == ["3_MONTHS", "6_MONTHS", "1_YEAR"]
