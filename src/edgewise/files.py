"""Files that are either wholly written or not there.

`atomic_write` writes a temporary file in the target's own folder, syncs it, renames it over the
target and syncs the folder: a reader, or a machine that lost power, sees the old or the new file.
`append` adds a line or leaves the file as it was. A full disk is a `DiskError`; `require_space`
asks before hours of work rather than after.
"""

import errno
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from edgewise.errors import DiskError, RunError

# What to do about a corrupt file of a run's folder.
SEARCH_AGAIN = "if it is a run's, delete it and type the run's `edgewise discover` command again"
EVALUATE_AGAIN = "delete it and evaluate the run again"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def atomic_write(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Replaces `path` by `content` (text as UTF-8) in one step, making its folder if need be.

    A failed write leaves the old file as it was and no temporary file behind.
    Raises DiskError when the disk or quota is full; other OSErrors (permissions, ...) pass through.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # 0o666 less the umask, as open() would: mkstemp's 0o600 would hide results from colleagues
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _disk_full(path, len(data)) from error
        raise
    finally:
        with suppress(OSError):  # gone by now if all went well; never hide the first error
            temporary.unlink()
    return path


def append(path: str | os.PathLike[str], text: str) -> None:
    """Adds `text` to the end of the file `path`: all of it, or none and a DiskError."""
    path = Path(path)
    data = text.encode()
    try:
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            if file.write(data) == len(data):
                return
            file.truncate(size)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _disk_full(path, len(data)) from error
        raise
    raise _disk_full(path, len(data))  # a disk that had room for a part of it


class Lock:
    """Holds the file `path` for this process, until it is closed or forgotten or the process ends.

    Raises RunError if another process holds it. Where files can't be locked, nothing is held.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor: int | None = None
        if os.name != "posix":
            return
        import fcntl  # Windows has none

        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise RunError(
                    f"another process is writing to {Path(path).parent}: wait for it or end it, or "
                    "choose another folder"
                ) from error  # any other: a network disk without locks

    def close(self) -> None:
        """Lets go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    __del__ = close


def require_writable(path: str | os.PathLike[str]) -> None:
    """RunError if `path`, which may not exist yet, can't be written."""
    path = Path(path)
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not os.access(place, os.W_OK | os.X_OK if place.is_dir() else os.W_OK):
        raise RunError(f"{path} can't be written: you may not write to {place}")


def require_space(folder: str | os.PathLike[str], n_bytes: int) -> None:
    """DiskError unless `n_bytes` are free on the disk of `folder`, which need not exist yet."""
    folder = Path(folder).absolute()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < n_bytes:
        raise DiskError(
            f"{folder} needs {readable(n_bytes)} and its disk has {readable(free)} free: "
            f"free {readable(n_bytes - free)}, or choose an output folder on another disk"
        )


def file_in(path: str | os.PathLike[str], name: str) -> Path:
    """`path` itself if it is a file or has the suffix of `name`, else the file `name` in it."""
    path = Path(path)
    return path if path.is_file() or path.suffix == Path(name).suffix else path / name


def sha256(content: bytes | str) -> str:
    """The SHA-256 of bytes, or of text as UTF-8, in hex."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_file(*paths: str | os.PathLike[str]) -> str:
    """The SHA-256 of files, one after another, in hex, read in pieces."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def readable(n_bytes: int) -> str:
    """`n_bytes` for people, in powers of 1000: "512 B", "1.5 GB"."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _disk_full(path: Path, n_bytes: int) -> DiskError:
    return DiskError(
        f"no space left while writing {path} ({readable(n_bytes)}): "
        f"free some, or choose an output folder on another disk"
    )


def _sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` outlive a power cut; Windows has no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
