"""Against a server of our own on 127.0.0.1: no test reaches the network."""

import errno
import http.server
import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellweak_core import downloads, transfers
from cellweak_core.files import DataError, FullDiskError, sha256
from cellweak_core.parameter_cells import ParameterError


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; ``cut`` ends the connection after so many bytes, ``requests`` keeps the Range headers."""

    content: bytes = b""
    etag: str = '"one"'
    ranges: bool = True
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked, content, first = self.headers.get("Range"), self.server.content, 0
        self.server.requests.append(asked)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if asked and self.server.ranges and self.headers.get("If-Range") == self.server.etag:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(content[first : self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        one.content = bytes(range(256)) * 4000
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def archive(members: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            packed.writestr(info, content)
    return file.getvalue()


def test_download_is_whole_or_not_there(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = transfers.download(server.url("a.bin"), tmp_path / "new")
    assert path.read_bytes() == server.content
    assert [one.name for one in path.parent.iterdir()] == ["a.bin"]
    assert "1.02M" in capsys.readouterr().err  # the bar shows the size
    transfers.download(server.url("a.bin"), tmp_path / "new")
    assert len(server.requests) == 1


def test_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut = 300_000
    with pytest.raises(DataError, match=r"bytes are kept in .*the same command goes on"):
        transfers.download(server.url("a.bin"), tmp_path, progress=False)
    have = (tmp_path / "a.bin.part").stat().st_size
    assert 0 < have <= 300_000
    assert not (tmp_path / "a.bin").exists()
    server.cut = None
    path = transfers.download(server.url("a.bin"), tmp_path, progress=False)
    assert server.requests == [None, f"bytes={have}-"]
    assert path.read_bytes() == server.content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change", ["file", "no ranges", "shorter", "no mark"])
def test_download_starts_anew_when_it_cannot_go_on(server: Server, tmp_path: Path, change: str) -> None:
    if change == "no mark":
        server.etag = ""
    server.cut = 300_000
    with pytest.raises(DataError):
        transfers.download(server.url("a.bin"), tmp_path, progress=False)
    server.cut = None
    if change == "file":
        server.content, server.etag = server.content[::-1], '"two"'
    elif change == "no ranges":
        server.ranges = False
    elif change == "shorter":
        server.content = server.content[:1000]
    path = transfers.download(server.url("a.bin"), tmp_path, progress=False)
    assert path.read_bytes() == server.content


def test_download_keeps_its_bytes_on_ctrl_c(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tqdm

    monkeypatch.setattr(tqdm.tqdm, "update", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        transfers.download(server.url("a.bin"), tmp_path, progress=False)
    monkeypatch.undo()
    transfers.download(server.url("a.bin"), tmp_path, progress=False)
    assert server.requests[1] == f"bytes={transfers._BLOCK_BYTES}-"


def test_download_checks_the_sum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?i)hash"):
        transfers.download(server.url("a.bin"), tmp_path, progress=False, sha256="0" * 64)
    assert not (tmp_path / "a.bin").exists()
    (tmp_path / "b").write_bytes(server.content)
    good = sha256(tmp_path / "b")
    assert transfers.download(server.url("a.bin"), tmp_path, progress=False, sha256=good).exists()


def test_download_without_a_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        transfers.download(server.url("missing.zip"), tmp_path, progress=False)
    with pytest.raises(DataError, match=r"127\.0\.0\.1"):
        transfers.download("http://127.0.0.1:9/nothing.zip", tmp_path, progress=False)


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        ("top/../../evil.txt", stat.S_IFREG | 0o644, "a path with '..'"),
        ("/etc/evil.txt", stat.S_IFREG | 0o644, "an absolute or foreign path"),
        ("C:/evil.txt", stat.S_IFREG | 0o644, "an absolute or foreign path"),
        ("top\\..\\evil.txt", stat.S_IFREG | 0o644, "an absolute or foreign path"),
        ("top/link", stat.S_IFLNK | 0o777, "a link or device"),
        ("top/pipe", stat.S_IFIFO | 0o644, "a link or device"),
    ],
)
def test_extract_refuses_what_leads_out(tmp_path: Path, name: str, mode: int, why: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive({"top/good.txt": b"good", name: b"/etc/passwd"}, {name: mode}))
    with pytest.raises(DataError, match=rf"member .* is {why}; nothing was unpacked"):
        transfers.extract(path, tmp_path / "inner" / "out")
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["a.zip"]


def test_extract_drops_the_top_folder_and_keeps_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive({"Top-3b8/dataset/a.jpg": b"a", "Top-3b8/data/b.py": b"b", "Top-3b8/README": b"r"}))
    transfers.extract(path, tmp_path / "out", keep="dataset")
    assert [one.relative_to(tmp_path / "out").as_posix() for one in (tmp_path / "out").rglob("*.*")] == [
        "dataset/a.jpg"
    ]
    path.write_bytes(archive({"a.txt": b"a", "b/c.txt": b"c"}))
    transfers.extract(path, tmp_path / "flat")
    assert (tmp_path / "flat" / "b" / "c.txt").read_bytes() == b"c"


def test_extract_a_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    content = archive({"top/a.txt": bytes(range(256)) * 100})
    for damaged in (content[:-30], b"no archive", content[:60] + b"\0\0\0\0" + content[64:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.zip: not a whole ZIP archive"):
            transfers.extract(path, tmp_path / "out")


def make_set(server: Server, name: str = "mine", **given: object) -> downloads.DataSet:
    def check(folder: Path) -> None:
        if [one.name for one in folder.rglob("*.jpg")] != ["a.jpg"]:
            raise DataError(f"{folder}: expected a.jpg")

    fields = {
        "title": "t",
        "source": "s",
        "size": "1 MB",
        "licence": "l",
        "urls": (server.url("a.zip"),),
        "check": check,
    }
    return downloads.DataSet(name, **{**fields, **given})


def test_fetch(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(downloads.DATA_SETS, "mine", make_set(server, keep="dataset"))
    monkeypatch.setenv("CELLWEAK_DATA", str(tmp_path / "home"))
    server.content = archive({"Top/dataset/a.jpg": b"a", "Top/other.txt": b"b"})
    folder = downloads.fetch("mine", progress=False)
    assert folder == tmp_path / "home" / "mine"
    assert (folder / "dataset" / "a.jpg").read_bytes() == b"a"
    assert not list((tmp_path / "home").glob(".*/*"))
    assert downloads.fetch("mine", progress=False) == folder
    assert len(server.requests) == 1
    (folder / "dataset" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"expected a\.jpg\. Move .*mine away and fetch again"):
        downloads.fetch("mine", progress=False)


def test_fetch_of_something_else_leaves_nothing_and_can_be_repeated(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(downloads.DATA_SETS, "mine", make_set(server))
    for wrong in (archive({"Top/b.jpg": b"b"}), b"<html>an error page</html>", archive({"../a.jpg": b"a"})):
        server.content = wrong
        with pytest.raises(DataError):
            downloads.fetch("mine", tmp_path / "home", progress=False)
        assert not (tmp_path / "home" / "mine").exists()
        assert not (tmp_path / "home" / ".mine.part").exists()
    server.content = archive({"Top/a.jpg": b"a"})
    assert (downloads.fetch("mine", tmp_path / "home", progress=False) / "a.jpg").exists()


def test_fetch_on_a_full_disk_goes_on_later(
    server: Server, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(downloads.DATA_SETS, "mine", make_set(server))
    with pytest.raises(FullDiskError, match="small disk"):
        downloads.fetch("mine", small_disk, progress=False)
    assert not (small_disk / "mine").exists()


def test_unpacking_asks_for_room_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    path = tmp_path / "a.zip"
    path.write_bytes(archive({"top/a.txt": b"a" * 1000}))
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OSError, match="needs 1,000 bytes") as caught:
        transfers.extract(path, tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC


def test_unknown_set() -> None:
    with pytest.raises(ParameterError, match="there are: rosettes, bbbc021, gowt1"):
        downloads.fetch("rosete")


def test_the_rosettes_digest_is_that_of_the_real_images(real_data: Path) -> None:
    downloads.DATA_SETS["rosettes"].check(real_data / "rosettes")


def test_a_changed_image_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"expected 11250 files dataset/unsupervised/\*\.jpg, found 0"):
        downloads._check_rosettes(tmp_path)
    (tmp_path / "a.jpg").touch()
    monkeypatch.setattr(downloads, "_expect_count", lambda folder, *_: list(folder.glob("*.jpg")))
    with pytest.raises(DataError, match="images differ from commit 3b8b030"):
        downloads._check_rosettes(tmp_path)


def test_the_bbbc021_check_reads_the_real_tables(real_data: Path, tmp_path: Path) -> None:
    import gzip

    source = real_data / "screens" / "bbbc021_profiles"
    with gzip.open(source / "BBBC021_v1_image.csv.gz") as file:
        (tmp_path / "BBBC021_v1_image.csv").write_bytes(file.read())
    (tmp_path / "BBBC021_v1_moa.csv").write_bytes((source / "BBBC021_v1_moa.csv").read_bytes())
    downloads._check_bbbc021(tmp_path)
    lines = (tmp_path / "BBBC021_v1_moa.csv").read_text().splitlines()
    (tmp_path / "BBBC021_v1_moa.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match="expected 104 rows, found 103"):
        downloads._check_bbbc021(tmp_path)


def test_the_gowt1_check_counts_frames(tmp_path: Path) -> None:
    for sequence in ("01", "02"):
        (tmp_path / f"{sequence}_GT" / "TRA").mkdir(parents=True)
        (tmp_path / sequence).mkdir()
        for frame in range(92):
            (tmp_path / sequence / f"t{frame:03}.tif").touch()
            (tmp_path / f"{sequence}_GT" / "TRA" / f"man_track{frame:03}.tif").touch()
    downloads._check_gowt1(tmp_path)
    (tmp_path / "02" / "t091.tif").unlink()
    with pytest.raises(DataError, match="expected 92 files 02"):
        downloads._check_gowt1(tmp_path)
