"""For each call of our client, the same call by the vendor's own client, with the same values."""

import dropbox
import requests
from dropbox import files
from recording import argument_of
from verda import VerdaClient
from verda.instances import OSVolume


class Loopback(requests.adapters.HTTPAdapter):
    """Leads the Dropbox client, which insists on https and on the real hosts, into the sandbox."""

    def __init__(self, hosts):
        super().__init__()
        self.hosts = hosts

    def send(self, request, **options):
        host = request.url.split("/")[2]
        request.url = self.hosts[host] + request.path_url
        return super().send(request, **options)


def cloud_client(ready):
    return VerdaClient(ready["client_id"], ready["client_secret"], ready["cloud"])


def store_client(ready, **grant):
    session = dropbox.create_session()
    hosts = {dropbox.session.API_HOST: ready["dropbox_api"], dropbox.session.API_CONTENT_HOST: ready["dropbox_content"]}
    session.mount("https://", Loopback(hosts))
    return dropbox.Dropbox(session=session, **(grant or {"oauth2_access_token": ready["dropbox_token"]}))


def token(ready, request):
    cloud_client(ready)


def refresh(ready, request):
    client = store_client(ready, oauth2_refresh_token=ready["dropbox_refresh_token"], app_key=ready["dropbox_app_key"])
    client.refresh_access_token()


def availability(ready, request):
    cloud_client(ready).instances.get_availabilities(is_spot=False)


def order(ready, request):
    sent = argument_of(request)
    volume = OSVolume(sent["os_volume"]["name"], sent["os_volume"]["size"])
    cloud_client(ready).instances.create(
        sent["instance_type"],
        sent["image"],
        sent["hostname"],
        sent["description"],
        ssh_key_ids=sent["ssh_key_ids"],
        location=sent["location_code"],
        startup_script_id=sent.get("startup_script_id"),
        os_volume=volume,
        is_spot=sent["is_spot"],
        wait_for_status=None,
    )


def act(ready, request):
    sent = argument_of(request)
    instances = cloud_client(ready).instances
    instances.action(sent["id"], sent["action"], sent.get("volume_ids"), sent.get("delete_permanently", False))


def remove_volume(ready, request):
    sent = argument_of(request)
    assert sent["action"] == "delete"
    cloud_client(ready).volumes.delete(sent["id"], is_permanent=sent["is_permanent"])


def last(request):
    return request["path"].rsplit("/", 1)[1]


def add_key(ready, request):
    sent = argument_of(request)
    cloud_client(ready).ssh_keys.create(sent["name"], sent["key"])


def add_script(ready, request):
    sent = argument_of(request)
    cloud_client(ready).startup_scripts.create(sent["name"], sent["script"])


def write_mode(sent):
    if sent[".tag"] == "update":
        return files.WriteMode.update(sent["update"])
    return {"add": files.WriteMode.add, "overwrite": files.WriteMode.overwrite}[sent[".tag"]]


def upload(ready, request):
    sent = argument_of(request)
    mode = write_mode(sent.pop("mode"))
    store_client(ready).files_upload(request["body"].encode(), sent.pop("path"), mode=mode, **sent)


def upload_link(ready, request):
    sent = argument_of(request)
    commit = sent["commit_info"]
    mode = write_mode(commit.pop("mode"))
    info = files.CommitInfo(commit.pop("path"), mode=mode, **commit)
    store_client(ready).files_get_temporary_upload_link(info, duration=sent["duration"])


def list_folder(ready, request):
    store_client(ready).files_list_folder(**argument_of(request))


MIRRORS = {
    "cloud POST /v1/oauth2/token": token,
    "cloud GET /v1/instances": lambda ready, _: cloud_client(ready).instances.get(),
    "cloud GET /v1/instances/{id}": lambda ready, request: cloud_client(ready).instances.get_by_id(last(request)),
    "cloud POST /v1/instances": order,
    "cloud PUT /v1/instances": act,
    "cloud GET /v1/instance-types": lambda ready, _: cloud_client(ready).instance_types.get(currency="usd"),
    "cloud GET /v1/instance-availability": availability,
    "cloud GET /v1/images": lambda ready, _: cloud_client(ready).images.get(),
    "cloud GET /v1/locations": lambda ready, _: cloud_client(ready).locations.get(),
    "cloud GET /v1/balance": lambda ready, _: cloud_client(ready).balance.get(),
    "cloud GET /v1/ssh-keys": lambda ready, _: cloud_client(ready).ssh_keys.get(),
    "cloud POST /v1/ssh-keys": add_key,
    "cloud GET /v1/scripts": lambda ready, _: cloud_client(ready).startup_scripts.get(),
    "cloud POST /v1/scripts": add_script,
    "cloud DELETE /v1/scripts/{id}": lambda ready, request: cloud_client(ready).startup_scripts.delete_by_id(
        last(request)
    ),
    "cloud GET /v1/volumes": lambda ready, _: cloud_client(ready).volumes.get(),
    "cloud GET /v1/volumes/trash": lambda ready, _: cloud_client(ready).volumes.get_in_trash(),
    "cloud GET /v1/volumes/{id}": lambda ready, request: cloud_client(ready).volumes.get_by_id(last(request)),
    "cloud PUT /v1/volumes": remove_volume,
    "dropbox_api POST /oauth2/token": refresh,
    "dropbox_api POST /2/users/get_current_account": lambda ready, _: store_client(ready).users_get_current_account(),
    "dropbox_api POST /2/users/get_space_usage": lambda ready, _: store_client(ready).users_get_space_usage(),
    "dropbox_api POST /2/files/list_folder": list_folder,
    "dropbox_api POST /2/files/list_folder/continue": lambda ready, request: store_client(
        ready
    ).files_list_folder_continue(**argument_of(request)),
    "dropbox_api POST /2/files/get_metadata": lambda ready, request: store_client(ready).files_get_metadata(
        **argument_of(request)
    ),
    "dropbox_api POST /2/files/delete_v2": lambda ready, request: store_client(ready).files_delete_v2(
        **argument_of(request)
    ),
    "dropbox_api POST /2/files/get_temporary_link": lambda ready, request: store_client(
        ready
    ).files_get_temporary_link(**argument_of(request)),
    "dropbox_api POST /2/files/get_temporary_upload_link": upload_link,
    "dropbox_content POST /2/files/download": lambda ready, request: store_client(ready).files_download(
        **argument_of(request)
    ),
    "dropbox_content POST /2/files/upload": upload,
}
