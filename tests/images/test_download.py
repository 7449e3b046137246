"""The downloader, against a server of our own."""

import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from diffeo.errors import ConfigError, FileError
from diffeo.images import download
from diffeo.images.data.download import SETS, Published

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    ranges, cut, asked = True, None, []

    def do_GET(self):
        start = 0
        given = self.headers.get("Range")
        type(self).asked.append(given)
        if self.path != "/a.bin":
            self.send_error(404)
            return
        if given and self.ranges:
            start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.cut])

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server():
    class Own(Server):
        asked = []  # noqa: RUF012

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        Own.address = f"http://127.0.0.1:{running.server_port}"
        yield Own
        running.shutdown()
        thread.join()


def one(server, content=CONTENT, urls=("/a.bin",)):
    digest = hashlib.sha256(content).hexdigest()
    return {"set": [Published("a.bin", [server.address + url for url in urls], "sha256", digest)]}


def test_a_file_is_fetched_once(server, tmp_path):
    seen = []
    found = download(
        "set", tmp_path / "new", sets=one(server), progress=lambda name, size: seen.append((name, size))
    )
    assert found == tmp_path / "new" / "a.bin"
    assert found.read_bytes() == CONTENT
    assert seen[-1] == ("a.bin", len(CONTENT))
    download("set", tmp_path / "new", sets=one(server))
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_was_cut_goes_on(server, tmp_path, ranges):
    server.cut = 5000
    with pytest.raises(FileError, match=r"could not be fetched.*goes on from where it ended"):
        download("set", tmp_path, sets=one(server))
    assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:5000]
    server.cut, server.ranges = None, ranges
    assert download("set", tmp_path, sets=one(server)).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=5000-"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("left", [b"of another version", CONTENT + b"and more", CONTENT])
def test_what_another_call_left_is_checked(server, tmp_path, left):
    (tmp_path / "a.bin.part").write_bytes(left)
    assert download("set", tmp_path, sets=one(server)).read_bytes() == CONTENT


def test_a_file_that_was_changed_is_fetched_again(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1])
    assert download("set", tmp_path, sets=one(server)).read_bytes() == CONTENT


def test_another_file_than_the_published_one_is_not_kept(server, tmp_path):
    with pytest.raises(FileError, match=r"sha256 [0-9a-f]{64}; expected [0-9a-f]{64}"):
        download("set", tmp_path, sets=one(server, content=b"something else"))
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_tried(server, tmp_path):
    found = download("set", tmp_path, sets=one(server, urls=("/gone", "/a.bin")))
    assert found.read_bytes() == CONTENT
    with pytest.raises(FileError, match=r"a.bin could not be fetched: http.*/gone: HTTP Error 404"):
        download("set", tmp_path / "other", sets=one(server, urls=("/gone",)))


def test_a_set_of_several_files_is_its_folder(server, tmp_path):
    files = one(server)["set"]
    both = {"set": [*files, replace(files[0], name="b.bin")]}
    assert download("set", tmp_path, sets=both) == tmp_path
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_what_is_not_known_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"name='minst'.*Did you mean 'mnist'"):
        download("minst", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be made"):
        download("mnist", tmp_path / "file" / "folder")


def test_published_files_have_digests_of_their_length():
    for files in SETS.values():
        for file in files:
            assert len(bytes.fromhex(file.digest)) == hashlib.new(file.algorithm).digest_size
            assert all(url.startswith("https://") and url.endswith(file.name) for url in file.urls)
