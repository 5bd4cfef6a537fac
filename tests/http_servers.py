"""HTTP servers on loopback, good and bad, and a tiny archive that looks like CIFAR-10.

The tiny archive is the same bytes in every process, so that a child process can expect
what its parent serves.
"""

import contextlib
import gzip
import hashlib
import io
import pickle
import re
import ssl
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

from cifar_helpers import download, mirrors
from cifar_helpers.data import CLASSES

IMAGES_PER_BATCH = 10


def tiny_batches() -> dict[str, bytes]:
    """Six batches and the list of classes, as the original archive names them."""
    random = np.random.default_rng(0)
    files = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        pixels = random.integers(0, 256, (IMAGES_PER_BATCH, 3072), dtype=np.uint8)
        labels = random.permutation(IMAGES_PER_BATCH).tolist()
        files[name] = pickle.dumps({"data": pixels, "labels": labels}, protocol=4)
    files["batches.meta"] = pickle.dumps({"label_names": list(CLASSES)}, 4)
    return files


def tiny_arrays() -> dict[str, np.ndarray]:
    """The four arrays of the tiny data set, worked out without the package."""
    batches = [pickle.loads(content) for content in tiny_batches().values()]
    parts = {"train": batches[:5], "test": batches[5:6]}
    arrays = {}
    for part, chosen in parts.items():
        pixels = np.concatenate([batch["data"] for batch in chosen])
        images = np.empty((len(pixels), 32, 32, 3), np.uint8)
        for channel in range(3):  # 1,024 bytes of red, then green, then blue
            plane = pixels[:, 1024 * channel : 1024 * (channel + 1)]
            images[..., channel] = plane.reshape(-1, 32, 32)
        arrays[f"{part}_images"] = images
        labels = [label for batch in chosen for label in batch["labels"]]
        arrays[f"{part}_labels"] = np.array(labels, np.uint8)
    return arrays


def tiny_archive() -> bytes:
    """The tiny data set as a .tar.gz (about 185 kB; random pixels do not shrink)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in tiny_batches().items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def only_tiny_cifar10(monkeypatch):
    """Expect the tiny data set, in one test; no mirror but those that it names."""
    expect_tiny_cifar10(monkeypatch.setattr)
    for name in ("CIFAR10_URL", "CIFAR10_ROOT", "CIFAR10_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return monkeypatch


def expect_tiny_cifar10(setattr=setattr) -> None:
    """Make the package and torchvision expect the tiny data set and short patience."""
    md5 = {
        name: hashlib.md5(content, usedforsecurity=False).hexdigest()
        for name, content in tiny_batches().items()
    }
    archive_md5 = hashlib.md5(tiny_archive(), usedforsecurity=False).hexdigest()
    names = [name for name in md5 if name.startswith("data_batch")]
    setattr(TorchvisionCIFAR10, "tgz_md5", archive_md5)
    setattr(TorchvisionCIFAR10, "train_list", [[name, md5[name]] for name in names])
    setattr(TorchvisionCIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {**TorchvisionCIFAR10.meta, "md5": md5["batches.meta"]}
    setattr(TorchvisionCIFAR10, "meta", meta)
    sha256 = {
        name: hashlib.sha256(array.tobytes()).hexdigest()
        for name, array in tiny_arrays().items()
    }
    setattr(download, "FULL_SHA256", sha256)
    setattr(mirrors, "MIRRORS", ())
    setattr(mirrors, "ARCHIVE_BYTES", len(tiny_archive()))
    setattr(mirrors, "TIMEOUT_SECONDS", 1.0)
    setattr(mirrors, "RETRY_PAUSES", (0.01, 0.02, 0.04))
    setattr(mirrors, "WINDOW_SECONDS", 0.5)
    setattr(mirrors, "SLOW_BYTES_PER_SECOND", 100_000)
    setattr(mirrors, "STALLED_BYTES_PER_SECOND", 5_000)
    setattr(mirrors, "CHUNK_BYTES", 1 << 14)


def write_batches(root: Path) -> None:
    """The tiny data set in torchvision's layout."""
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for name, content in tiny_batches().items():
        (root / "cifar-10-batches-py" / name).write_bytes(content)


def write_packed(root: Path, **changed) -> Path:
    """The tiny data set as a packed cache, with some arrays changed."""
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "cifar10.npz", **{**tiny_arrays(), **changed})
    return root / "cifar10.npz"


class Mirror:
    """What a server does and what it was asked.

    rate: bytes per second, None for as fast as it goes. stop_after: bytes of the body
    after which it hangs up; hang_up_every: bytes of each answer after which it does.
    status and ranges as in HTTP; first: the status of the first answers, instead.
    length: the Content-Length header, None for none. silent: it never answers. raw:
    what it sends instead of an answer, piece by piece, with pauses of `pause` seconds.
    """

    def __init__(
        self,
        body: bytes = b"",
        *,
        content_type="application/gzip",
        rate=None,
        stop_after=None,
        hang_up_every=None,
        status=200,
        first=(),
        ranges=True,
        length="right",
        silent=False,
        raw=None,
        pause=0.0,
    ):
        self.body, self.content_type = body, content_type
        self.status, self.first = status, list(first)
        self.rate, self.stop_after, self.ranges = rate, stop_after, ranges
        self.hang_up_every, self.length = hang_up_every, length
        self.silent, self.raw, self.pause = silent, raw, pause
        self.asked = []  # the Range header of every request, None where it had none
        self.sent_bytes = 0
        self.closing = threading.Event()
        self.url = None

    def pieces(self, start: int):
        """The body from `start` on, in pieces of a twentieth of a second."""
        body = self.body[start : self.stop_after][: self.hang_up_every]
        step = len(body) if self.rate is None else max(1, self.rate // 20)
        for i in range(0, len(body), step or 1):
            yield body[i : i + step]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        mirror = self.server.mirror
        mirror.asked.append(self.headers.get("Range"))
        self.close_connection = True
        if mirror.silent:
            mirror.closing.wait(30)
        elif mirror.raw:
            self._send(mirror.raw(), mirror.pause)
        else:
            start = self._start()
            if start is not None:
                self._send(mirror.pieces(start), 0.05 if mirror.rate else 0)

    def _send(self, pieces, pause: float) -> None:
        mirror, end = self.server.mirror, time.monotonic() + 20
        with contextlib.suppress(OSError):  # the client may hang up, and should
            for piece in pieces:
                self.wfile.write(piece)
                mirror.sent_bytes += len(piece)
                if mirror.closing.wait(pause) or time.monotonic() > end:
                    return

    def _start(self) -> int | None:
        """Send the headers; the position from which to send, None for no body."""
        mirror, total = self.server.mirror, len(self.server.mirror.body)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and mirror.ranges else 0
        refused = start >= total > 0 or bool(mirror.first)
        if mirror.first:
            self.send_response(mirror.first.pop(0))
        elif refused:
            self.send_response(416)
        elif start:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(mirror.status)
        self.send_header("Content-Type", mirror.content_type)
        length = (
            str(max(0, total - start)) if mirror.length == "right" else mirror.length
        )
        if length is not None:
            self.send_header("Content-Length", "0" if refused else length)
        self.end_headers()
        return None if refused else start

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(*mirrors: Mirror, port=0, certificate=None):
    """Serve every mirror on a port of its own; gives the list of addresses.

    With `certificate`, a PEM file of a key and its certificate, over HTTPS.
    """
    servers = []
    for mirror in mirrors:
        server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        server.daemon_threads, server.mirror = True, mirror
        mirror.closing.clear()
        scheme = "http"
        if certificate:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *arguments: None  # a client that hangs up
        address = f"{scheme}://127.0.0.1:{server.server_port}"
        mirror.url = f"{address}/cifar-10-python.tar.gz"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
    try:
        yield [mirror.url for mirror in mirrors]
    finally:
        for server in servers:
            server.mirror.closing.set()
            server.shutdown()
            server.server_close()


def wait_until(condition, seconds=30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.02)
