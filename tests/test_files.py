import errno
import hashlib
import io
import os
import shutil
import stat
from pathlib import Path

import pytest

from edgewise.errors import DiskError
from edgewise.files import (
    Lock,
    append,
    atomic_write,
    file_in,
    readable,
    require_space,
    sha256,
    sha256_file,
)


def fail_with(number):
    def call(*_):
        raise OSError(number, os.strerror(number))

    return call


def test_writes_bytes_and_text_into_new_folders(tmp_path):
    assert atomic_write(tmp_path / "a" / "b" / "text.txt", "π").read_bytes() == b"\xcf\x80"
    assert atomic_write(tmp_path / "data", b"\x00\xff").read_bytes() == b"\x00\xff"


def test_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    atomic_write(tmp_path / "file", "old")
    atomic_write(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "new")]


def test_others_may_read_the_file_as_far_as_the_umask_lets_them(tmp_path):
    umask = os.umask(0o022)
    try:
        mode = atomic_write(tmp_path / "file", "").stat().st_mode
    finally:
        os.umask(umask)
    assert stat.S_IMODE(mode) == 0o644


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_disk_error_and_keeps_the_old_file(tmp_path, monkeypatch, call, number):
    file = atomic_write(tmp_path / "file", "old")
    monkeypatch.setattr(os, call, fail_with(number))
    with pytest.raises(DiskError, match=r"no space left while writing .*file \(3 B\)"):
        atomic_write(file, "new")
    monkeypatch.undo()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_disk_that_fills_up_while_writing_is_a_disk_error(tmp_path, monkeypatch):
    real_open = os.open
    full = lambda path, *rest: real_open("/dev/full", os.O_WRONLY)  # noqa: E731
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DiskError):
        atomic_write(tmp_path / "file", "new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_other_failures_pass_through_and_keep_the_old_file(tmp_path, monkeypatch):
    file = atomic_write(tmp_path / "file", "old")
    monkeypatch.setattr(os, "replace", fail_with(errno.EACCES))
    with pytest.raises(PermissionError):
        atomic_write(file, "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.parametrize("written", [0, 2])
def test_a_line_is_appended_whole_or_not_at_all(tmp_path, monkeypatch, written):
    file = tmp_path / "lines"
    append(file, "one\n")
    append(file, "zwölf\n")

    class Full(io.FileIO):
        def write(self, data):
            return super().write(data[:written])

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode, buffering: Full(path, mode))
        with pytest.raises(DiskError, match=r"no space left while writing .*lines \(6 B\)"):
            append(file, "three\n")
    assert file.read_text(encoding="utf-8") == "one\nzwölf\n"


def test_a_lock_is_one_per_process(tmp_path):
    held = Lock(tmp_path / ".lock")
    Lock(tmp_path / ".lock").close()
    held.close()
    held.close()
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "nowhere" / ".lock")


def test_a_file_in_the_folders_place_is_named(tmp_path):
    atomic_write(tmp_path / "file", "")
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / "file" / "below", "")


def test_require_space_asks_the_disk_of_a_folder_that_is_yet_to_be(tmp_path, monkeypatch):
    require_space(tmp_path / "new" / "run", 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 7, 3))
    require_space(tmp_path, 3)
    with pytest.raises(DiskError, match=r"needs 2\.5 MB and its disk has 3 B free: free 2\.5 MB"):
        require_space(tmp_path / "new" / "run", 2_500_000)


def test_hashes_agree_with_hashlib(tmp_path):
    expected = hashlib.sha256(b"abc").hexdigest()
    assert sha256(b"abc") == sha256("abc") == expected
    assert sha256_file(atomic_write(tmp_path / "file", "abc")) == expected


def test_file_in_takes_files_and_folders(tmp_path):
    assert file_in(tmp_path, "circuit.json") == tmp_path / "circuit.json"
    assert file_in(tmp_path / "mine.json", "circuit.json") == tmp_path / "mine.json"
    no_suffix = atomic_write(tmp_path / "mine", "")
    assert file_in(no_suffix, "circuit.json") == no_suffix


def test_readable_sizes():
    sizes = [0, 999, 1_500, 2_000_000, 1_070_000_000, 5_000_000_000_000]
    assert [readable(n) for n in sizes] == ["0 B", "999 B", "1.5 kB", "2 MB", "1.07 GB", "5 TB"]
