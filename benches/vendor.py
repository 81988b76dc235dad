"""The official Python SDK's own uploader and downloader, as a program: it prints the seconds of one transfer.

    vendor.py push|pull WORKERS FILE PATH < ready.json
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "conformance"))

from dropbox.file_transfer import Downloader, DownloadOptions, File, FileUpload, Uploader, UploadOptions  # noqa: E402
from dropbox.files import CommitInfo  # noqa: E402
from store.client import client  # noqa: E402


class World:
    ready = json.load(sys.stdin)


def main():
    what, workers, file, path = sys.argv[1:]
    with client(World, timeout=600) as dbx:
        # What is measured is the transfer alone: neither Python's start nor the SDK's.
        began = time.monotonic()
        if what == "push":
            options = UploadOptions(parallel_uploads=int(workers))
            Uploader(dbx).upload(FileUpload(file), CommitInfo(path), options)
        else:
            options = DownloadOptions(parallel_downloads=int(workers))
            Downloader(dbx).download(path, File(file), options)
        print(time.monotonic() - began)


main()
