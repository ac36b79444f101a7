"""The page in a browser of this machine: this machine's alone, and new when it is written anew."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from study.report.serve import HOST, PageServer
from study.store.storage import LocalStorage


@pytest.fixture
def storage(tmp_path) -> LocalStorage:
    storage = LocalStorage(tmp_path)
    storage.write("report/toy/report.html", "<p>prêt</p>".encode())
    return storage


@pytest.fixture
def server(storage, monkeypatch) -> Iterator[PageServer]:
    monkeypatch.setattr("study.report.serve.LOOK_EVERY_S", 0.0)
    with PageServer(storage, "report/toy/report.html", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: PageServer, path: str = "/", method: str = "GET", **headers: str):
    connection = HTTPConnection(HOST, server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_it_listens_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1" and server.address.startswith("http://127.0.0.1:")


def test_the_page_is_served_and_may_load_nothing(server):
    answer, body = ask(server)
    assert answer.status == 200 and body.decode() == "<p>prêt</p>"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_its_tag_changes_when_it_is_written_anew_and_only_then(server, storage):
    tags = [ask(server, method="HEAD")[0].headers["ETag"] for _ in range(2)]
    assert tags[0] and tags[0] == tags[1]
    storage.write("report/toy/report.html", b"<p>more</p>")
    answer, body = ask(server, method="HEAD")
    assert answer.headers["ETag"] not in tags and body == b""
    assert ask(server)[1] == b"<p>more</p>"


@pytest.mark.parametrize("path", ["/store.json", "/../store.json", "/report.html"])
def test_nothing_else_is_served(server, path):
    assert ask(server, path)[0].status == 404


def test_a_foreign_name_for_this_machine_is_refused(server):
    assert ask(server, Host=f"evil.example:{server.server_port}")[0].status == 403
    assert ask(server, Host="LOCALHOST:9000")[0].status == 200  # forwarded from another port


def test_a_page_that_is_gone_is_an_answer_and_comes_back(server, storage):
    storage.delete("report/toy/report.html")
    assert ask(server)[0].status == 503
    storage.write("report/toy/report.html", b"again")
    assert ask(server)[1] == b"again"


def test_a_port_that_is_taken_is_named(server, storage):
    with pytest.raises(OSError, match=rf"port {server.server_port} of 127\.0\.0\.1 cannot be used .*give another"):
        PageServer(storage, "report/toy/report.html", server.server_port)
