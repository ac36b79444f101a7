"""A bucket: an S3-compatible server on loopback, and the environment that its clients need."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from study.store.storage import open_storage

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Bucket:
    """A bucket by its name and server; its files are below `address(path)`."""

    name: str
    server: str

    def address(self, path: str) -> str:
        return f"s3://{self.name}/{path}?endpoint_override={self.server}&scheme=http&region=us-east-1"


def upload(folder: Path, address: str) -> None:
    """Every file of a folder to an address in a bucket."""
    storage = open_storage(address)
    for path in folder.iterdir():
        storage.write(path.name, path.read_bytes())


@contextmanager
def serving(name: str) -> Iterator[Bucket]:
    """An empty bucket for as long as the server runs; this process and those it starts may use it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in CREDENTIALS.items():
                patch.setenv(variable, value)
            place = f"{host}:{port}"
            fs.S3FileSystem(
                endpoint_override=place, scheme="http", region="us-east-1", allow_bucket_creation=True
            ).create_dir(name)
            yield Bucket(name, place)
    finally:
        server.stop()
