"""What the vendor's client can't send or doesn't look at: raw requests and raw answers."""

import re
from datetime import datetime, timedelta

import pytest
import requests

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g me@laptop"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def body(key, **changes):
    """An order with every field there is, null where null is allowed."""
    return {
        "instance_type": "1RTX6000ADA.10V",
        "image": "ubuntu-24.04-cuda-13.0-open-docker",
        "hostname": "lesson3",
        "description": None,
        "ssh_key_ids": [key],
        "location_code": "FIN-03",
        "startup_script_id": None,
        "os_volume": None,
        "volumes": None,
        "existing_volumes": None,
        "is_spot": None,
        "contract": None,
        "pricing": None,
        "coupon": None,
        "tags": None,
        **changes,
    }


def error(reply):
    return reply.status_code, reply.json()["code"], reply.json()["message"]


def test_an_order_whose_every_optional_field_is_null_is_taken_and_answered_with_a_bare_id(raw, key):
    reply = raw("POST", "/instances", json=body(key))
    assert (reply.status_code, reply.headers["content-type"]) == (202, "text/plain; charset=utf-8")
    assert UUID.fullmatch(reply.text)
    assert raw("GET", f"/instances/{reply.text}").json()["description"] == ""


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/ssh-keys", {"name": "laptop", "key": KEY}, 201),
        ("/scripts", {"name": "marker", "script": "true"}, 201),
        ("/volumes", {"type": "NVMe", "name": "data", "size": 20}, 202),
    ],
)
def test_what_is_made_is_answered_with_a_bare_id(raw, path, asked, status):
    reply = raw("POST", path, json=asked)
    assert (reply.status_code, bool(UUID.fullmatch(reply.text))) == (status, True)


@pytest.mark.parametrize("missing", ["instance_type", "image", "hostname", "location_code"])
def test_an_order_without_a_required_field_is_refused(raw, key, missing):
    asked = body(key)
    del asked[missing]
    reply = raw("POST", "/instances", json=asked)
    assert error(reply)[:2] == (400, "invalid_request")
    assert missing in reply.json()["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"is_spot": "yes"},
        {"volumes": {"name": "data"}},
        {"os_volume": {"name": "x", "size": "50"}},
        {"hostname": 3},
    ],
    ids=["text for a bool", "an object for a list", "text for a number", "a number for text"],
)
def test_a_field_of_the_wrong_type_is_refused(raw, key, changes):
    reply = raw("POST", "/instances", json=body(key, **changes))
    assert error(reply)[:2] == (400, "invalid_request")


def test_a_body_that_is_no_json_is_refused_in_json(raw):
    reply = raw("POST", "/instances", data=b"instance_type=1V100.6V")
    assert error(reply)[:2] == (400, "invalid_request")
    assert reply.headers["content-type"] == "application/json"


def test_fields_nobody_knows_are_ignored(raw, key):
    assert raw("POST", "/instances", json=body(key, colour="green")).status_code == 202


def test_a_call_without_a_token_is_refused_and_the_catalogues_are_open(world):
    base = world.ready["cloud"]
    message = "Access token is missing, invalid or expired"
    assert error(requests.get(f"{base}/instances", timeout=30)) == (401, "unauthorized_request", message)
    for path in ("instance-types", "volume-types", "cluster-types"):
        assert requests.get(f"{base}/{path}", timeout=30).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_a_path_that_is_none_is_not_found(raw, method):
    assert error(raw(method, "/machines")) == (404, "not_found", "Not found")


def test_a_grant_that_is_none_is_refused(world):
    reply = requests.post(f"{world.ready['cloud']}/oauth2/token", json={"grant_type": "password"}, timeout=30)
    assert error(reply) == (400, "invalid_request", "grant_type is missing or not supported")


def test_the_date_header_is_the_worlds_time(world, raw):
    now = world.jump(0)
    date = datetime.strptime(raw("GET", "/balance").headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs(date - datetime.fromisoformat(now).replace(tzinfo=None)) < timedelta(seconds=5)


def test_a_machine_shows_what_the_client_does_not_read(world, raw, running):
    machine = running(image="jupyter")
    shown = raw("GET", f"/instances/{machine.id}").json()
    assert TIME.fullmatch(shown["created_at"]) and UUID.fullmatch(shown["created_by_user_id"])
    assert (shown["os_name"], shown["tags"]) == ("JupyterLab", [])
    assert shown["volume_ids"] == [machine.os_volume_id]
    assert shown["price_per_hour"] == 1.172
    assert len(shown["jupyter_token"]) == 48


def test_a_types_price_is_text_where_a_machines_is_a_number(raw):
    kind = raw("GET", "/instance-types/1V100.6V").json()
    assert (kind["price_per_hour"], kind["spot_price"]) == ("0.192", "0.0595")
    assert error(raw("GET", "/instance-types/1V100")) == (404, "not_found", "Instance type not found")


def test_of_mixed_ids_each_has_its_own_result(raw, running):
    machine = running()
    ids = [machine.id, "nobody"]
    reply = raw("PUT", "/instances", json={"action": "delete", "id": ids, "volume_ids": []})
    assert reply.status_code == 207
    assert reply.json() == [
        {"action": "delete", "instanceId": machine.id, "status": "success"},
        {
            "action": "delete",
            "instanceId": "nobody",
            "status": "error",
            "error": "Invalid instance id",
            "statusCode": 400,
        },
    ]


def test_one_id_needs_no_list_and_all_done_is_202(raw, running):
    machine = running()
    reply = raw("PUT", "/instances", json={"action": "force_shutdown", "id": machine.id})
    result = {"action": "force_shutdown", "instanceId": machine.id, "status": "success"}
    assert (reply.status_code, reply.json()) == (202, [result])


def test_the_list_of_machines_answers_120_times_a_minute(world, raw):
    assert {raw("GET", "/instances").status_code for _ in range(120)} == {200}
    assert error(raw("GET", "/instances")) == (429, "too_many_requests", "Too many requests")
    assert raw("GET", "/volumes").status_code == 200
    world.jump(61)
    assert raw("GET", "/instances").status_code == 200


def test_the_old_and_the_new_name_of_keys_are_one_collection(raw, key):
    assert raw("GET", "/ssh-keys").json() == raw("GET", "/sshkeys").json()
    [shown] = raw("GET", f"/ssh-keys/{key}").json()
    # What `ssh-keygen -E md5 -lf` says of this key.
    assert shown["fingerprint"] == "05:6d:11:6f:aa:82:7f:17:e4:a2:92:09:ca:cf:9d:42"


@pytest.mark.parametrize("spot", ["is_spot", "isSpot"])
@pytest.mark.parametrize("location", ["location_code", "locationCode"])
def test_availability_understands_each_spelling(raw, spot, location):
    reply = raw("GET", f"/instance-availability?{spot}=true&{location}=FIN-02")
    [listed] = reply.json()
    assert (listed["location_code"], "1L40S.20V" in listed["availabilities"]) == ("FIN-02", False)


def test_scripts_come_in_pages_newest_first_on_request_and_by_part_of_their_name(raw, client):
    for number in range(12):
        client.startup_scripts.create(f"script-{number}", "true")

    def names(query):
        return [one["name"] for one in raw("GET", f"/scripts{query}").json()]

    assert names("?page=2") == ["script-10", "script-11"]
    assert names("?pageSize=2&page=2") == ["script-2", "script-3"]
    assert names("?name=pt-1") == ["script-1", "script-10", "script-11"]
    assert names("?orderBy=created_at&orderDirection=DESC&pageSize=1") == ["script-11"]


def test_tags_are_lower_case_unique_listed_and_removable(raw, key):
    first = raw("POST", "/instances", json=body(key, tags=[{"key": "Session", "value": "lesson3"}])).text
    second = raw("POST", "/instances", json=body(key, tags=[{"key": "session", "value": "lesson4"}])).text

    def listed(tag):
        return [one["id"] for one in raw("GET", f"/instances?tag={tag}").json()]

    assert (listed("session"), listed("session%3Dlesson4")) == ([first, second], [second])
    assert raw("GET", "/instances?tag=session&tag=other").json() == []
    made = raw("POST", f"/instances/{first}/tags", json={"key": "Nonce", "value": "n1"})
    assert (made.status_code, made.json()["key"], made.json()["value"]) == (201, "nonce", "n1")
    assert raw("POST", f"/instances/{first}/tags", json={"key": "nonce"}).status_code == 409
    assert raw("DELETE", f"/instances/{first}/tags/nonce").status_code == 204
    assert error(raw("DELETE", f"/instances/{first}/tags/nonce")) == (404, "not_found", "Tag not found")


@pytest.mark.parametrize(
    "tag",
    [{"key": ""}, {"key": "k" * 64}, {"key": "k", "value": "v" * 128}],
    ids=["no key", "key too long", "value too long"],
)
def test_a_tag_that_is_too_short_or_too_long_is_refused(raw, client, tag):
    volume = client.volumes.create("NVMe", "data", 20)
    assert error(raw("POST", f"/volumes/{volume.id}/tags", json=tag))[:2] == (400, "invalid_request")


def test_a_volume_has_at_most_ten_tags(raw, client):
    volume = client.volumes.create("NVMe", "data", 20)
    path = f"/volumes/{volume.id}/tags"
    added = [raw("POST", path, json={"key": f"k{number}"}).status_code for number in range(11)]
    assert added == [201] * 10 + [400]


def test_a_trashed_volume_says_when_it_was_deleted(raw, client):
    volume = client.volumes.create("NVMe", "data", 20)
    assert raw("DELETE", f"/volumes/{volume.id}?is_permanent=false").status_code == 202
    [trashed] = raw("GET", "/volumes/trash").json()
    assert TIME.fullmatch(trashed["deleted_at"]) and trashed["is_permanently_deleted"] is False


def test_a_clone_can_be_put_somewhere_else_but_not_nowhere(raw, client):
    volume = client.volumes.create("NVMe", "data", 20)
    clone = {"action": "clone", "id": volume.id, "location_code": "FIN-01"}
    reply = raw("PUT", "/volumes", json=clone)
    assert (reply.status_code, client.volumes.get_by_id(reply.json()[0]).location) == (202, "FIN-01")
    refused = raw("PUT", "/volumes", json={**clone, "location_code": "NOR-01"})
    assert error(refused) == (400, "invalid_request", "Invalid location code")


def test_volume_types_price_a_gigabyte_and_a_second(raw):
    [nvme, shared] = raw("GET", "/volume-types?currency=eur").json()
    assert (nvme["is_shared_fs"], shared["is_shared_fs"], nvme["price"]["currency"]) == (False, True, "eur")
    assert nvme["price"]["cps_per_gb"] == pytest.approx(0.2 * 0.86 / (730 * 3600))


def test_the_price_history_has_a_point_for_each_day_up_to_today(world, raw):
    today = world.jump(0)[:10]
    history = raw("GET", "/instance-types/price-history?num_of_months=2&currency=usd").json()
    points = history["1V100.6V"]
    assert (len(points), points[-1]["date"]) == (60, today)
    assert points[0] == {
        "date": points[0]["date"],
        "fixed_price_per_hour": 0.192,
        "dynamic_price_per_hour": 0.192,
        "currency": "usd",
    }
    assert len({point["date"] for point in points}) == 60


@pytest.mark.parametrize("months", ["0", "13", "many"])
def test_the_price_history_goes_back_one_to_twelve_months(raw, months):
    message = "num_of_months must be between 1 and 12"
    reply = raw("GET", f"/instance-types/price-history?num_of_months={months}")
    assert error(reply) == (400, "invalid_request", message)


def test_a_cluster_is_answered_with_an_object_tagged_and_ended_only_by_discontinue(world, raw, key):
    world.set(cloud={"balance": 1000})
    asked = {
        "cluster_type": "16B200",
        "image": "ubuntu-22.04-cuda-12.9-cluster",
        "hostname": "swarm",
        "ssh_key_ids": [key],
        "location_code": "FIN-03",
        "shared_volume": {"name": "shared", "size": 500},
    }
    made = raw("POST", "/clusters", json=asked)
    assert (made.status_code, list(made.json())) == (202, ["id"])
    cluster = made.json()["id"]
    tagged = raw("POST", f"/clusters/{cluster}/tags", json={"key": "Session", "value": "lesson3"})
    assert (tagged.status_code, raw("GET", f"/clusters/{cluster}").json()["tags"]) == (201, [tagged.json()])
    refused = raw("PUT", "/clusters", json={"actions": [{"id": cluster, "action": "delete"}]})
    assert error(refused) == (400, "invalid_request", "Invalid action: delete")


def test_a_shared_volume_belongs_to_several_machines_until_the_last_lets_go(world, raw, client, offline):
    first, second = offline(), offline(hostname="other")
    both = [first.id, second.id]
    asked = {"type": "NVMe_Shared", "name": "shared", "size": 20, "instance_ids": both}
    shared = raw("POST", "/volumes", json=asked).text

    def shown():
        volume = client.volumes.get_by_id(shared)
        return volume.status, [one["id"] for one in volume.instances]

    assert shown() == ("attached", both)
    named = {"action": "detach", "id": shared, "instance_ids": [first.id]}
    assert raw("PUT", "/volumes", json=named).status_code == 202
    assert shown() == ("attached", [second.id])
    client.volumes.attach(shared, first.id)
    client.instances.action(second.id, "delete", volume_ids=[shared])
    world.jump(60)
    assert shown() == ("attached", [first.id])
    client.volumes.detach(shared)
    assert shown() == ("detached", [])


def test_a_volume_that_is_not_shared_belongs_to_one_machine(raw, client, offline):
    both = [offline().id, offline(hostname="other").id]
    asked = {"type": "NVMe", "name": "data", "size": 20}
    refused = raw("POST", "/volumes", json={**asked, "instance_ids": both})
    assert error(refused) == (400, "invalid_request", "Volume can be attached to one instance only")
    data = client.volumes.create(**asked)
    refused = raw("PUT", "/volumes", json={"action": "attach", "id": data.id, "instance_ids": both})
    assert error(refused) == (400, "invalid_request", "Volume is not detached")
    assert client.volumes.get_by_id(data.id).status == "detached"
