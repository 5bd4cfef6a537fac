"""The download: how mirrors fail, and that nothing holds it up without end."""

import contextlib
import itertools

import pytest
from http_servers import Mirror, only_tiny_cifar10, serving, tiny_archive

from cifar_helpers import mirrors
from cifar_helpers.mirrors import MirrorsFailed, fetch_archive

ARCHIVE = tiny_archive()
HALF = len(ARCHIVE) // 2
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\n"


@pytest.fixture
def tiny(monkeypatch):
    return only_tiny_cifar10(monkeypatch)


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "download" / "cifar-10-python.tar.gz.part"


def fetch_from(monkeypatch, archive, *servers) -> None:
    with serving(*servers) as urls:
        monkeypatch.setattr(mirrors, "MIRRORS", tuple(urls))
        fetch_archive(archive)
    assert archive.read_bytes() == ARCHIVE


def reasons_of(monkeypatch, archive, *servers) -> list[str]:
    """Why none of the mirrors delivers."""
    with pytest.raises(MirrorsFailed) as raised:
        fetch_from(monkeypatch, archive, *servers)
    return [reason for _, reason in raised.value.tried]


def test_the_first_good_mirror_is_taken(tiny, archive):
    first, second = Mirror(ARCHIVE), Mirror(ARCHIVE)
    fetch_from(tiny, archive, first, second)
    assert (first.asked, second.asked) == ([None], [])
    fetch_from(tiny, archive, first)
    assert first.asked == [None]  # what is whole is not fetched again


def test_an_archive_in_chunks_is_put_together(tiny, archive):
    def chunks():
        yield HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
        for start in range(0, len(ARCHIVE), 5000):
            piece = ARCHIVE[start : start + 5000]
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\nX-Trailer: y\r\n\r\n"

    fetch_from(tiny, archive, Mirror(raw=chunks))


def test_a_mirror_may_send_on_to_another_address(tiny, archive):
    good = Mirror(ARCHIVE)
    with serving(good) as (url,):
        moved = f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"
        fetch_from(tiny, archive, Mirror(raw=lambda: [moved.encode()]))
    assert good.asked == [None]


def test_the_mirror_may_lie_behind_a_proxy(tiny, archive):
    proxy = Mirror(ARCHIVE)
    with serving(proxy) as (url,):
        tiny.delenv("no_proxy")
        tiny.setenv("http_proxy", url)
        tiny.setattr(mirrors, "MIRRORS", ("http://mirror.invalid/archive",))
        fetch_archive(archive)
    assert archive.read_bytes() == ARCHIVE and proxy.asked == [None]


# ---- mirrors that fail ---------------------------------------------------------------


def forever(*pieces: bytes):
    """A server's answer: these pieces, the last of them again and again."""
    return lambda: itertools.chain(pieces[:-1], itertools.repeat(pieces[-1]))


CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n2\r\n\x1f\x8b\r\n"
UNKNOWN_LENGTH = HEADERS + b"\r\n" + ARCHIVE[:99]
BAD_MIRRORS = {
    "an error": (Mirror(status=404), "HTTP 404"),
    "a page": (
        Mirror(b"<html>Please log in</html>", content_type="text/html"),
        "wrong content: not a gzip archive (text/html)",
    ),
    "nothing": (Mirror(), "wrong content: not a gzip archive"),
    "other bytes": (Mirror(ARCHIVE[:99] + bytes(99) + ARCHIVE[198:]), "MD5"),
    "a short file": (Mirror(ARCHIVE[:HALF]), "MD5 does not match"),
    "half of it": (
        Mirror(ARCHIVE, stop_after=HALF),
        f"stopped after {HALF:,} of {len(ARCHIVE):,} bytes",
    ),
    "a crawl": (Mirror(ARCHIVE, rate=20_000), "too slow"),
    "silence": (Mirror(silent=True), "too slow (0.0 kB/s)"),
    "a busy server": (Mirror(status=503), "HTTP 503"),
    "no HTTP": (Mirror(raw=lambda: [b"SSH-2.0\r\n"]), "BadStatusLine"),
    "headers byte by byte": (
        Mirror(raw=forever(HEADERS + b"X: ", b"x"), pause=0.05),
        "too slow",
    ),
    "endless continue, slow": (
        Mirror(raw=forever(b"HTTP/1.1 100 Continue\r\n\r\n"), pause=0.05),
        "too slow",
    ),
    "endless continue, quick": (
        Mirror(raw=forever(1000 * b"HTTP/1.1 100 Continue\r\n\r\n")),
        "sent more than 1,048,576 bytes beside the data",
    ),
    "an endless page on the way": (
        Mirror(raw=forever(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", bytes(9999))),
        "sent more than 1,048,576 bytes beside the data",
    ),
    "a chunk's size byte by byte": (
        Mirror(raw=forever(CHUNKED + b"5;", b"x"), pause=0.05),
        "too slow",
    ),
    "endless trailers": (
        Mirror(raw=forever(CHUNKED + b"0\r\n", 1000 * b"X: y\r\n")),
        "sent more than 1,048,576 bytes beside the data",
    ),
    "too large, and says so": (
        Mirror(ARCHIVE + b"x"),
        f"{len(ARCHIVE) + 1:,} bytes or more, the archive has {len(ARCHIVE):,}",
    ),
    "too large, and does not say so": (
        Mirror(raw=forever(UNKNOWN_LENGTH, bytes(9999))),
        f"bytes or more, the archive has {len(ARCHIVE):,}",
    ),
}


@pytest.mark.parametrize("name", BAD_MIRRORS)
def test_a_bad_mirror_gives_way_to_the_next(tiny, archive, name):
    bad, reason = BAD_MIRRORS[name]
    good = Mirror(ARCHIVE)
    fetch = mirrors._fetch
    reasons = {}

    def spy(url, *arguments):
        try:
            return fetch(url, *arguments)
        except mirrors._MirrorFailed as error:
            reasons[url] = str(error)
            raise

    tiny.setattr(mirrors, "_fetch", spy)
    fetch_from(tiny, archive, bad, good)
    assert reasons.keys() == {bad.url} and reason in reasons[bad.url]


def test_every_bad_mirror_is_named(tiny, archive):
    names = ("an error", "a page", "other bytes", "half of it")
    bad = [BAD_MIRRORS[name][0] for name in names]
    with pytest.raises(MirrorsFailed) as raised:
        fetch_from(tiny, archive, *bad)
    assert [url for url, _ in raised.value.tried] == [mirror.url for mirror in bad]
    for name, (_, reason) in zip(names, raised.value.tried, strict=True):
        assert BAD_MIRRORS[name][1] in reason


@pytest.mark.parametrize("length", ["²", "nonsense", "-5", "", "9" * 5000, None])
def test_a_length_that_is_no_number_counts_as_none(tiny, archive, length):
    fetch_from(tiny, archive, Mirror(ARCHIVE, length=length))


def test_a_length_that_is_too_large_is_refused_before_the_data(tiny, archive):
    with pytest.raises(MirrorsFailed, match="the archive has"):
        fetch_from(tiny, archive, Mirror(ARCHIVE, length=str(10**12)))
    assert not archive.exists()


def test_when_all_crawl_the_fastest_finishes(tiny, archive):
    slow, faster = Mirror(ARCHIVE, rate=20_000), Mirror(ARCHIVE, rate=70_000)
    fetch_from(tiny, archive, slow, faster)
    assert (len(slow.asked), len(faster.asked)) == (1, 2)
    assert faster.asked[1] is not None  # it went on from what was there


def test_the_own_address_comes_first_and_may_be_a_file(tiny, archive, tmp_path):
    (tmp_path / "copy.tar.gz").write_bytes(ARCHIVE)
    tiny.setenv("CIFAR10_URL", (tmp_path / "copy.tar.gz").as_uri())
    mirror = Mirror(ARCHIVE)
    fetch_from(tiny, archive, mirror)
    assert mirror.asked == []
    assert (tmp_path / "copy.tar.gz").read_bytes() == ARCHIVE


def test_a_larger_file_of_ones_own_is_refused(tiny, archive, tmp_path):
    (tmp_path / "copy.tar.gz").write_bytes(ARCHIVE + b"x")
    tiny.setenv("CIFAR10_URL", (tmp_path / "copy.tar.gz").as_uri())
    assert "the archive has" in reasons_of(tiny, archive)[0]


# ---- going on after an interruption --------------------------------------------------


def test_the_next_mirror_goes_on_where_the_last_one_stopped(tiny, archive):
    stops, good = Mirror(ARCHIVE, stop_after=HALF), Mirror(ARCHIVE)
    fetch_from(tiny, archive, stops, good)
    assert good.asked == [f"bytes={HALF}-"]
    assert good.sent_bytes == len(ARCHIVE) - HALF


def test_a_mirror_without_ranges_starts_cleanly(tiny, archive):
    stops, whole = Mirror(ARCHIVE, stop_after=HALF), Mirror(ARCHIVE, ranges=False)
    fetch_from(tiny, archive, stops, whole)
    assert whole.sent_bytes == len(ARCHIVE)


@pytest.mark.parametrize("length", [HALF, len(ARCHIVE), len(ARCHIVE) + 5])
def test_a_wrong_beginning_is_thrown_away(tiny, archive, length):
    archive.parent.mkdir()
    archive.write_bytes(bytes(length))
    good = Mirror(ARCHIVE)
    fetch_from(tiny, archive, good)
    assert good.asked == [f"bytes={length}-", None]


@pytest.fixture
def pauses(tiny):
    """The pauses, which take no time here."""
    taken = []
    tiny.setattr(mirrors, "RETRY_PAUSES", (1.0, 2.0, 4.0))
    tiny.setattr(mirrors.time, "sleep", taken.append)
    return taken


def test_a_busy_mirror_is_asked_again_after_growing_pauses(tiny, archive, pauses):
    busy, second = Mirror(ARCHIVE, first=(503, 429, 500)), Mirror(ARCHIVE)
    fetch_from(tiny, archive, busy, second)
    assert (len(busy.asked), second.asked) == (4, [])
    assert pauses == [1.0, 2.0, 4.0]


def test_a_mirror_that_stays_busy_gives_way(tiny, archive, pauses):
    busy, second = Mirror(ARCHIVE, first=5 * (503,)), Mirror(ARCHIVE)
    fetch_from(tiny, archive, busy, second)
    assert (len(busy.asked), second.asked) == (4, [None])


def test_a_refusal_is_final(tiny, archive, pauses):
    refusing, second = Mirror(status=403), Mirror(ARCHIVE)
    fetch_from(tiny, archive, refusing, second)
    assert (len(refusing.asked), pauses) == (1, [])


def test_a_mirror_that_breaks_off_again_and_again_delivers(tiny, archive, pauses):
    piece = len(ARCHIVE) // 10
    breaks, second = Mirror(ARCHIVE, hang_up_every=piece), Mirror(ARCHIVE)
    fetch_from(tiny, archive, breaks, second)
    starts = [f"bytes={start}-" for start in range(piece, len(ARCHIVE), piece)]
    assert breaks.asked == [None, *starts]
    assert second.asked == []
    assert set(pauses) == {1.0}  # because each try brought something


def test_a_host_that_cannot_be_reached_is_asked_once(tiny, archive, pauses):
    tiny.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"))
    with pytest.raises(MirrorsFailed, match="1/b: same host as above"):
        fetch_archive(archive)
    assert pauses == []
    assert not archive.parent.exists()


def test_a_host_that_delivered_is_waited_for(tiny, archive, pauses):
    """It breaks off, is gone for two tries, and is there for the third."""
    with contextlib.ExitStack() as first, contextlib.ExitStack() as again:
        (url,) = first.enter_context(serving(Mirror(ARCHIVE, hang_up_every=HALF)))
        port = int(url.split(":")[2].split("/")[0])

        def happen(seconds):
            pauses.append(seconds)
            if len(pauses) == 1:
                first.close()
            elif len(pauses) == 3:
                again.enter_context(serving(Mirror(ARCHIVE), port=port))

        tiny.setattr(mirrors.time, "sleep", happen)
        tiny.setattr(mirrors, "MIRRORS", (url,))
        fetch_archive(archive)
    assert archive.read_bytes() == ARCHIVE
    assert pauses == [1.0, 2.0, 4.0]
