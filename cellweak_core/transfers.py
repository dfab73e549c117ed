"""One file over the network, resumed where it stopped; one archive unpacked, nothing outside its folder."""

import errno
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from .files import DataError

_BLOCK_BYTES = 1 << 18


class ResumingDownloader:
    """A downloader for pooch that goes on with what an earlier attempt left in ``part``.

    Goes on only when the server confirms (If-Range) that the file is still the same one; else starts anew.

    Args:
        part: where bytes gather; stays when the connection, the disk or the patience gives out.
        progress: show a bar on the terminal.
    """

    def __init__(self, part: Path, progress: bool = True) -> None:
        self.part, self.progress = part, progress
        self.mark = part.with_name(part.name + ".etag")

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download ``url`` to ``output_file``; pooch calls this with a temporary name."""
        import requests

        try:
            self._get(url)
        except requests.RequestException as error:
            have = self.part.stat().st_size if self.part.exists() else 0
            raise DataError(
                f"{url}: {error}. {have:,} bytes are kept in {self.part}; the same command goes on from there"
            ) from error
        self.mark.unlink(missing_ok=True)
        os.replace(self.part, output_file)

    def _get(self, url: str) -> None:
        import requests
        from tqdm import tqdm

        have = self.part.stat().st_size if self.part.exists() and self.mark.exists() else 0
        # identity: a range of compressed bytes is no range of the file
        headers = {"Accept-Encoding": "identity", "User-Agent": "cellweak"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.mark.read_text()}
        with requests.get(url, headers=headers, stream=True, timeout=(20, 60)) as reply:
            if reply.status_code == requests.codes.requested_range_not_satisfiable:
                self.mark.unlink()  # more bytes here than there: not the same file
                return self._get(url)
            reply.raise_for_status()
            if reply.status_code != requests.codes.partial_content:
                have = 0
            total = have + int(reply.headers["Content-Length"]) if "Content-Length" in reply.headers else None
            etag = reply.headers.get("ETag", "W/")
            if mark := reply.headers.get("Last-Modified", "") if etag.startswith("W/") else etag:
                self.mark.write_text(mark)
            else:
                self.mark.unlink(missing_ok=True)
            bar = tqdm(
                total=total, initial=have, unit="B", unit_scale=True, desc=self.part.stem, disable=not self.progress
            )
            with bar, self.part.open("ab" if have else "wb") as file:
                for block in reply.iter_content(_BLOCK_BYTES):
                    file.write(block)
                    bar.update(len(block))
        size = self.part.stat().st_size
        if total is not None and size != total:
            raise requests.ConnectionError(f"connection ended at {size:,} of {total:,} bytes")
        return None


def download(url: str, folder: Path, progress: bool = True, sha256: str | None = None) -> Path:
    """Bring one file into ``folder``, going on with an earlier attempt; a file already there is kept.

    Raises:
        DataError: no connection, an error from the server, or another checksum than ``sha256``.
    """
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    name = url.rsplit("/", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True)
    downloader = ResumingDownloader(folder / f"{name}.part", progress)
    try:
        found = pooch.retrieve(url, known_hash=sha256, fname=name, path=folder, downloader=downloader)
    except DataError:
        raise
    except ValueError as error:  # pooch's word for another checksum
        raise DataError(f"{url}: {error}") from error
    return Path(found)


def _refuse(member: zipfile.ZipInfo) -> str | None:
    """Why a member may not be unpacked: its path leads elsewhere, or it is no plain file."""
    name, mode = member.filename, member.external_attr >> 16
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\\" in member.orig_filename:
        return "an absolute or foreign path"
    if ".." in PurePosixPath(name).parts:
        return "a path with '..'"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    return None


def extract(archive: Path, folder: Path, keep: str = "") -> None:
    """Unpack a ZIP archive, without its single top folder if it has one.

    Args:
        archive: the archive; looked through before the first byte is written.
        folder: where to.
        keep: only what lies under this folder of the archive, below the top folder.

    Raises:
        DataError: not a whole ZIP archive, or a member that would land outside ``folder``, or a link.
        OSError: the disk has too little room.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if why := _refuse(member):
                    raise DataError(f"{archive}: member {member.filename!r} is {why}; nothing was unpacked")
            files = [member for member in packed.infolist() if not member.is_dir()]
            tops = {PurePosixPath(member.filename).parts[0] for member in files}
            nested = all(len(PurePosixPath(member.filename).parts) > 1 for member in files)
            drop = 1 if len(tops) == 1 and nested else 0
            targets = {member: PurePosixPath(*PurePosixPath(member.filename).parts[drop:]) for member in files}
            wanted = {m: path for m, path in targets.items() if path.is_relative_to(keep)}
            folder.mkdir(parents=True, exist_ok=True)
            needed, free = sum(member.file_size for member in wanted), shutil.disk_usage(folder).free
            if needed > free:
                raise OSError(errno.ENOSPC, f"unpacking {archive} needs {needed:,} bytes, {folder} has {free:,} free")
            for member, path in wanted.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, (folder / path).open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK_BYTES)
    # RuntimeError: a compression that zipfile cannot read, or a password that nobody was asked for
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive}: not a whole ZIP archive: {error}") from error
