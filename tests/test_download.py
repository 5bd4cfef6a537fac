"""CIFAR-10's files: where they are looked for, what is refused, how they are kept."""

import contextlib
import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from http_servers import (
    Mirror,
    only_tiny_cifar10,
    serving,
    tiny_archive,
    tiny_arrays,
    wait_until,
    write_batches,
    write_packed,
)
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

from cifar_helpers import download, mirrors
from cifar_helpers.download import (
    CacheFolderError,
    DataUnavailable,
    cache_folder,
    full_arrays,
    read_arrays,
)

ARCHIVE = tiny_archive()
CERTIFICATE = Path(__file__).parent / "loopback.pem"


@pytest.fixture
def tiny(monkeypatch):
    return only_tiny_cifar10(monkeypatch)


def assert_is_tiny(arrays) -> None:
    wanted = tiny_arrays()
    assert arrays.keys() == wanted.keys()
    for name, array in arrays.items():
        assert array.dtype == np.uint8 and np.array_equal(array, wanted[name])


def assert_only_the_cache(root: Path) -> None:
    names = {path.name for path in root.iterdir()} - {"cifar10.lock"}
    assert names == {"cifar10.npz"}


def download_from(monkeypatch, root, *servers):
    with serving(*servers) as urls:
        monkeypatch.setattr(mirrors, "MIRRORS", tuple(urls))
        return full_arrays(root)


def test_the_module_needs_no_torch():
    code = "import sys, cifar_helpers.download; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# ---- what lies in the folder ---------------------------------------------------------


def test_a_packed_cache_is_read_without_writing_anything(tiny, tmp_path, capsys):
    packed = write_packed(tmp_path)
    before = packed.stat()
    tiny.setenv("CIFAR10_ROOT", str(tmp_path))
    assert_is_tiny(full_arrays(cache_folder()))
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10.npz"]
    assert packed.stat() == before or packed.stat().st_mtime_ns == before.st_mtime_ns
    assert capsys.readouterr().out == ""


def test_torchvision_batches_are_read_and_packed_once(tiny, tmp_path):
    write_batches(tmp_path)
    assert_is_tiny(full_arrays(tmp_path))
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()  # not ours
    assert not (tmp_path / "cifar10-download").exists()
    tiny.setattr(download, "_read_batches", None)  # from now on the packed file must do
    assert_is_tiny(full_arrays(tmp_path))


def test_torchvision_batches_in_a_folder_that_cannot_be_written(tiny, tmp_path, capsys):
    write_batches(tmp_path)
    (tmp_path / "cifar10.lock").mkdir()  # no lock can be had, even by an administrator
    assert_is_tiny(full_arrays(tmp_path))
    assert str(tmp_path) in capsys.readouterr().out
    assert not (tmp_path / "cifar10.npz").exists()


def test_damaged_batches_are_not_used(tiny, tmp_path):
    write_batches(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"other")
    with pytest.raises(DataUnavailable, match="cifar-10-batches-py: is damaged"):
        full_arrays(tmp_path)
    assert_is_tiny(download_from(tiny, tmp_path, Mirror(ARCHIVE)))


def damage(root: Path, how: str) -> None:
    packed = write_packed(root)
    content = packed.read_bytes()
    arrays = tiny_arrays()
    if how == "cut off":
        packed.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        packed.write_bytes(b"")
    elif how == "a page":
        packed.write_bytes(b"<html>not found</html>")
    elif how == "one bit":
        packed.write_bytes(
            content[:90_000] + bytes([content[90_000] ^ 1]) + content[90_001:]
        )
    elif how == "other pixels":
        write_packed(root, train_images=255 - arrays["train_images"])
    elif how == "other dtype":
        write_packed(root, test_labels=arrays["test_labels"].astype(np.int64))
    elif how == "other shape":
        write_packed(root, test_images=arrays["test_images"].reshape(-1, 3072))
    elif how == "an array is missing":
        np.savez(packed, train_images=arrays["train_images"])
    elif how == "objects":
        write_packed(root, test_labels=np.array([{}], dtype=object))
    else:
        with open(packed, "wb") as file:
            np.save(file, arrays["train_labels"])


DAMAGES = (
    "cut off",
    "empty",
    "a page",
    "one bit",
    "other pixels",
    "other dtype",
    "other shape",
    "an array is missing",
    "objects",
    "one array alone",
)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_cache_is_named_and_never_used(tiny, tmp_path, how, capsys):
    damage(tmp_path, how)
    content = (tmp_path / "cifar10.npz").read_bytes()
    with pytest.raises(DataUnavailable, match=r"cifar10\.npz: is damaged") as raised:
        full_arrays(tmp_path)
    assert "CIFAR10_ROOT" in str(raised.value)
    assert "is damaged" in capsys.readouterr().out
    assert (tmp_path / "cifar10.npz").read_bytes() == content  # left for its owner


def npz(content: bytes, flags=0, method=0) -> bytes:
    """An .npz file of one array, as stored, with what its directory says about it."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as file:
        file.writestr("train_images.npy", content)
    changed = bytearray(stored.getvalue())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.index(signature) + flags_at
        changed[place] |= flags
        changed[place + 2] = method
    return bytes(changed)


def npz_with_header(header: str) -> bytes:
    """An .npz file whose array has that text as its header."""
    text = header.encode("latin1")
    size = len(text).to_bytes(2, "little")
    return npz(b"\x93NUMPY\x01\x00" + size + text + bytes(64))


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': %s}\n"
UNREADABLE = {
    "encrypted": npz(bytes(99), flags=1),
    "packed with deflate": npz(b"\xff" * 99, method=8),
    "packed with bzip2": npz(b"\xff" * 99, method=12),
    "packed with LZMA": npz(b"\x00\x00\x05\x00" + b"\xff" * 99, method=14),
    "packed in an unknown way": npz(bytes(99), method=99),
    "an open bracket": npz_with_header("{'descr': ("),
    "an open string": npz_with_header("{'descr': '''"),
    "a wrong indentation": npz_with_header("if 1:\n    2\n  3\n"),
    "many brackets": npz_with_header("(" * 9000),
    "no dictionary": npz_with_header("[]"),
    "a list as key": npz_with_header("{[]: 1}"),
    "an unknown dtype": npz_with_header(
        "{'descr': 'xx', 'shape': (), 'fortran_order': 0}"
    ),
    "no shape": npz_with_header(HEADER % "()"),
    "a negative shape": npz_with_header(HEADER % "(-1,)"),
    "a large shape": npz_with_header(HEADER % "(10000000000000000,)"),
    "a larger shape": npz_with_header(HEADER % ("(1" + 40 * "0" + ",)")),
    "a shape of words": npz_with_header(HEADER % "('a',)"),
}


@pytest.mark.parametrize("how", UNREADABLE)
def test_an_error_of_any_kind_means_damage(tmp_path, how):
    (tmp_path / "cifar10.npz").write_bytes(UNREADABLE[how])
    arrays, problem = read_arrays(tmp_path / "cifar10.npz", download.FULL_SHA256)
    assert arrays is None and problem.startswith(("is damaged", "cannot be read"))


def test_no_changed_byte_of_a_cache_goes_unnoticed(tiny, tmp_path):
    """Every sixth byte of what is not pixels: headers, names, the list of contents."""
    packed = write_packed(tmp_path)
    content = packed.read_bytes()
    pixels = tiny_arrays()["train_images"].tobytes()
    start = content.index(pixels)
    places = [*range(0, start, 6), *range(start + len(pixels), len(content), 600)]
    ends = range(content.index(b"PK\x01\x02"), len(content), 6)
    wanted = {name: array.tobytes() for name, array in tiny_arrays().items()}
    for place in [*places, *ends]:
        changed = bytearray(content)
        changed[place] ^= 32
        packed.write_bytes(changed)
        arrays, problem = read_arrays(packed, download.FULL_SHA256)
        if arrays is None:
            assert problem.startswith(("is damaged", "cannot be read"))
        else:  # for instance another date
            assert {n: array.tobytes() for n, array in arrays.items()} == wanted


def test_a_damaged_cache_is_replaced_and_kept_aside(tiny, tmp_path):
    damage(tmp_path, "one bit")
    content = (tmp_path / "cifar10.npz").read_bytes()
    assert_is_tiny(download_from(tiny, tmp_path, Mirror(ARCHIVE)))
    assert (tmp_path / "cifar10.damaged.npz").read_bytes() == content
    tiny.setattr(mirrors, "MIRRORS", ())
    assert_is_tiny(full_arrays(tmp_path))


def test_a_root_that_is_a_file_is_named(tiny, tmp_path):
    packed = write_packed(tmp_path)
    tiny.setenv("CIFAR10_ROOT", str(packed))
    with pytest.raises(CacheFolderError, match="must name the folder that") as raised:
        full_arrays(cache_folder())
    assert f"{packed} is a file. CIFAR10_ROOT" in str(raised.value)


@pytest.mark.parametrize("root", ["~nosuchuser/cifar", "~nosuchuser"])
def test_the_home_of_nobody_is_named(tiny, root):
    tiny.setenv("CIFAR10_ROOT", root)
    with pytest.raises(CacheFolderError, match=f"{root}: set CIFAR10_ROOT"):
        cache_folder()


def test_a_user_without_a_home_is_told(tiny):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    tiny.delenv("XDG_CACHE_HOME", raising=False)
    tiny.setattr(Path, "home", nobody)
    with pytest.raises(
        CacheFolderError, match="no home folder for ~: set CIFAR10_ROOT"
    ):
        cache_folder()


def test_a_name_that_is_too_long_gives_a_clear_error(tiny, tmp_path):
    with pytest.raises(CacheFolderError, match="name too long"):
        full_arrays(tmp_path / ("x" * 300))


def test_a_folder_below_a_file_gives_a_clear_error(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheFolderError, match="CIFAR10_ROOT") as raised:
        full_arrays(tmp_path / "file" / "root")
    assert str(tmp_path / "file" / "root") in str(raised.value)


def test_a_read_only_folder_gives_a_clear_error(tiny, tmp_path):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    tiny.setattr(Path, "mkdir", refuse)
    with pytest.raises(CacheFolderError, match="Read-only file system") as raised:
        full_arrays(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_during_the_download_gives_a_clear_error(tiny, tmp_path):
    (tmp_path / "cifar10-download").mkdir()
    part = tmp_path / "cifar10-download" / "cifar-10-python.tar.gz.part"
    part.symlink_to("/dev/full")  # every write fails: no space left on device
    second = Mirror(ARCHIVE)
    with pytest.raises(CacheFolderError, match="No space left") as raised:
        download_from(tiny, tmp_path, Mirror(ARCHIVE), second)
    assert str(tmp_path) in str(raised.value)
    assert second.asked == []  # another mirror would not help
    assert not (tmp_path / "cifar10.npz").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="it has other locks")
def test_a_folder_without_locks_gives_a_clear_error(tiny, tmp_path):
    """As in a network folder whose server offers no locks."""
    import fcntl

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    tiny.setattr(fcntl, "flock", refuse)
    with pytest.raises(CacheFolderError, match="No locks available.*lock files there"):
        full_arrays(tmp_path)


def test_a_full_disk_while_packing_loses_no_download(tiny, tmp_path):
    def fill(path, **arrays):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with tiny.context() as patch:
        patch.setattr(np, "savez", fill)
        with pytest.raises(CacheFolderError, match="No space left"):
            download_from(tiny, tmp_path, Mirror(ARCHIVE))
    left = [path.name for path in (tmp_path / "cifar10-download").iterdir()]
    assert left == ["cifar-10-python.tar.gz.part"]
    again = Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path, again))
    assert again.asked == []
    assert_only_the_cache(tmp_path)


# ---- downloaded ----------------------------------------------------------------------


def test_a_download_fills_the_cache(tiny, tmp_path, capsys):
    first, second = Mirror(ARCHIVE), Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path / "new", first, second))
    assert (first.asked, second.asked) == ([None], [])
    assert_only_the_cache(tmp_path / "new")
    out, err = capsys.readouterr()
    assert out == ""
    assert "CIFAR-10" in err and "100%" in err  # the progress bar


def test_offline_full_names_every_place_and_what_to_do(tiny, tmp_path):
    tiny.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"))
    tiny.setenv("CIFAR10_URL", "nonsense")
    with pytest.raises(DataUnavailable) as raised:
        full_arrays(tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[1].startswith(f"  - {tmp_path / 'cifar10.npz'}: is not there")
    assert lines[2].startswith(f"  - {tmp_path / 'cifar-10-batches-py'}: is not there")
    assert lines[3].startswith("  - nonsense: ValueError: unknown url type")
    assert lines[4].startswith("  - http://127.0.0.1:1/a: no connection")
    assert lines[5].startswith("  - http://127.0.0.1:1/b: same host")
    for word in ("CIFAR10_ROOT", "CIFAR10_URL", 'source="sample"'):
        assert word in lines[6]
    assert raised.value.reason.startswith("ValueError: unknown url type")
    assert "SSL_CERT_FILE" not in str(raised.value)


def test_an_archive_is_unpacked_by_an_old_python_too(tiny, tmp_path):
    def extractall(self, path=".", members=None, *, numeric_owner=False):
        raise AssertionError("before Python 3.11.4 it had no filter")

    tiny.setattr(tarfile.TarFile, "extractall", extractall)
    assert_is_tiny(download_from(tiny, tmp_path, Mirror(ARCHIVE)))


def test_no_file_of_an_archive_leaves_the_folder(tiny, tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name in ("../../outside", str(tmp_path / "absolute"), "cifar-10/inside"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
    content = raw.getvalue()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    tiny.setattr(TorchvisionCIFAR10, "tgz_md5", md5)  # as if it were the right one
    tiny.setattr(mirrors, "ARCHIVE_BYTES", len(content))
    with pytest.raises(DataUnavailable, match="unpacked, it is damaged or not whole"):
        download_from(tiny, tmp_path / "root", Mirror(content))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_an_unknown_certificate_is_explained(tiny, tmp_path):
    with serving(Mirror(ARCHIVE), certificate=CERTIFICATE) as urls:
        tiny.setattr(mirrors, "MIRRORS", tuple(urls))
        with pytest.raises(
            DataUnavailable, match="CERTIFICATE_VERIFY_FAILED"
        ) as raised:
            full_arrays(tmp_path)
    for text in (str(raised.value), raised.value.reason):
        assert "Install Certificates.command" in text and "SSL_CERT_FILE" in text
    assert "\n" not in raised.value.reason


def test_the_explained_remedy_for_a_certificate_helps(tiny, tmp_path):
    tiny.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with serving(Mirror(ARCHIVE), certificate=CERTIFICATE) as urls:
        tiny.setattr(mirrors, "MIRRORS", tuple(urls))
        assert_is_tiny(full_arrays(tmp_path))


# ---- several processes ---------------------------------------------------------------

NURSERY = """
import contextlib, hashlib, os, sys
from pathlib import Path
from http_servers import expect_tiny_cifar10
from cifar_helpers import download, mirrors
expect_tiny_cifar10()
root, mirrors.MIRRORS = Path(sys.argv[1]), (sys.argv[2],)
mirrors.SLOW_BYTES_PER_SECOND = 1000
print("ready", flush=True)
for line in sys.stdin:  # every line starts one more process, which writes to that file
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    with open(line.strip(), "w") as out, contextlib.redirect_stdout(out):
        images = download.full_arrays(root)["train_images"]
        print(hashlib.sha256(images).hexdigest())
    os._exit(0)
with contextlib.suppress(ChildProcessError):
    while True:
        os.wait()
"""


@contextlib.contextmanager
def nursery(root, url):
    """A process that starts others: torch needs to be imported only once for all."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(root), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )

    def start(output: Path) -> int:
        process.stdin.write(f"{output}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        assert process.stdout.readline() == "ready\n"
        yield start
        process.communicate(timeout=60)
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.slow
def test_processes_at_once_and_one_that_is_killed(tiny, tmp_path):
    """One is killed half-way, two start together; one of them finishes for both."""
    root, outputs = tmp_path / "root", [tmp_path / f"{i}.txt" for i in range(3)]
    slow = Mirror(ARCHIVE, rate=60_000)  # three seconds for the whole
    with serving(slow) as (url,), nursery(root, url) as start:
        victim = start(outputs[0])
        wait_until(lambda: slow.sent_bytes > 50_000)
        os.kill(victim, signal.SIGKILL)
        start(outputs[1])
        start(outputs[2])
    wanted = hashlib.sha256(tiny_arrays()["train_images"]).hexdigest()
    lines = [output.read_text().splitlines() for output in outputs]
    assert lines[0] == []
    assert sorted(map(len, lines[1:])) == [1, 2]  # one of the two had to wait
    assert sorted(lines[1:], key=len)[1][0].startswith("Another process")
    assert [lines[1][-1], lines[2][-1]] == [wanted, wanted]
    assert len(slow.asked) == 2  # the victim, and one that went on for both
    assert slow.asked[1].startswith("bytes=")
    assert_only_the_cache(root)
    assert_is_tiny(full_arrays(root))
