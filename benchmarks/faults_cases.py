"""Hostile requests, as bytes for a socket: bodies, then what is wrong with how they are sent."""

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import strategies as st

HOST = (b"host", b"localhost")
CLOSE = (b"connection", b"close")
JSON = (b"content-type", b"application/json")
MANY = b'["' + b'","'.join(b"l%07d" % i for i in range(1_000_000)) + b'"]'
BOMB = gzip.compress(b'{"events":[' + b" " * (96 << 20), compresslevel=9)

LEAVES = (
    b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e999", b"-1e999", b"1e-999", b"-0", b"-0.0",
    b"0." + b"1" * 5_000, b"9" * 5_000, b"-" + b"9" * 400, b"1e308", b"9007199254740993",
    b"18446744073709551616", b"-9223372036854775809", b"4294967296", b"0x10", b"01", b"+1", b".5",
    b"1_000", b"1.0", b"24.5", b"true", b"null", b"", b"[]", b"{}", b'""', b'" "', b"'x'",
    rb'"\ud800"', rb'"\udfff\ud800"', rb'"\ud83e"', rb'"\u0000"', b'"\x00"', b'"\xff\xfe"',
    b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"' + b"a" * 100_000 + b'"',
    b'"' + "🧥".encode() * 40_000 + b'"', b'"' + "a\u0301".encode() * 9_000 + b'"',
    b'"' + "\u202e".encode() * 200 + b'"', b"[" * 50_000, b"[" * 5_000 + b"]" * 5_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"[" + b"1," * 100_000 + b"1]", MANY, MANY[:1_000_000],
    MANY[:10_999] + b"]", b'["a","a","a"]', b'[""]', b'[null]', b'{"a":{"b":[1,{"c":null}]}}',
    b'"../../etc/passwd"', b'"%00%ff"', b"\"' OR 1=1; --\"", b'"<script>alert(1)</script>"',
    b'"2025-01-01"', b'"l0000001"', b'["l0000001","l0000002"]', b"1795323108969", b"-1", b"0",
)  # fmt: skip
"""What stands in a body in place of a value, as JSON or not."""

EVENT = {
    "kind": "click", "event_id": "e", "t": 1_795_323_108_969, "user": "u", "session": "s",
    "surface": "home", "text": "coat", "slate": "x", "listing": "l0000001",
    "listings": ["l0000001"], "positions": [0], "position": 3, "seller": "a", "price_minor": 100,
    "currency": "EUR", "attributes": {"device_token": "d", "sizes": ["m"], "n": 1.5, "b": True},
    "data": {"listing_id": "new", "seller": "a", "title": "coat", "price_minor": 1,
             "currency": "USD", "hashtags": ["x"], "photos": 2, "listed_at": 1,
             "category": "women/coats", "image": "../../etc/passwd", "country": "FR"},
}  # fmt: skip
KINDS = (
    "listed", "edited", "price_changed", "reserved", "released", "sold", "removed", "impression",
    "click", "save", "unsave", "message", "offer", "purchase", "hide", "block", "search", "follow",
    "unfollow", "prefer", "", "dance",
)  # fmt: skip
FILTERS = {
    "category": "women", "brands": ["prada"], "sizes": ["m"], "colours": ["red"],
    "price_min_minor": 1, "price_max_minor": 10_000, "listed_since": 0, "sellers": ["a"],
}  # fmt: skip
RECOMMEND = {
    "surface": "similar", "user": "u", "session": "s", "anchor": "l0000001", "filters": FILTERS,
    "attributes": {"sizes": ["m"], "x": 1}, "exclude": ["l0000002"], "k": 24, "explain": True,
}  # fmt: skip
SEARCH = {
    "text": "wool coat", "user": "u", "filters": FILTERS, "attributes": {}, "exclude": ["x"],
    "facets": ["brand", "price"], "k": 24, "next": None, "explain": True,
}  # fmt: skip
LATER = {"next": "2FfaHpOCDd_9GvWhlNkgMDI4NjlhOTY3", "k": 24}
INFER = {
    "id": "1", "parameters": {"binary_data_output": True},
    "inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP32", "data": [[1.0, None]],
                "parameters": {"binary_data_size": 8}}],
    "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
}  # fmt: skip
ROWS = {"instances": [[1.0, None, 2.0]]}
BODIES: Mapping[str, Sequence[Any]] = {
    "/v1/events": ([EVENT], {"events": [EVENT, EVENT]}),
    "/v1/recommend": (RECOMMEND, {"k": 5}, LATER),
    "/v1/search": (SEARCH, LATER),
    "/v2/models/ranker/infer": (INFER,),
    "/invocations": (RECOMMEND, SEARCH, INFER, ROWS),
    "/seen": ({"slate": "x", "surface": "home", "listings": ["l0000001"], "positions": [0]},),
}
PATHS = (
    "/", "/search?q=coat", "/item/", "/you", "/static/", "/v1/listings/", "/images/", "/healthz",
    "/readyz", "/metrics", "/openapi.json", "/v2", "/v2/models/", "/v2/health/ready", "/ping",
)  # fmt: skip
NAMES = (
    "%", "%zz", "%00", "%ff%fe", "%c0%af", "%ed%a0%80", "..%2f..%2fetc%2fpasswd", "../../x",
    "%2e%2e/", "l0000001", "l0000001.png", "a" * 20_000, "%F0%9F%A7%A5", "?size=large", "?size=%00",
    "?q=" + "%f0%9f%a7%a5" * 900, "?q=%ff&price_min=1e999&price_max=-1", "?next=%00", "?next=AAAA",
    "?price_min=9999999999999999999999999&sort=x", "?" + "&".join(f"brand={i}" for i in range(900)),
    "?position=NaN&slate=%ed%a0%80&surface=dance", "?a=1" + "&a=1" * 3_000, "//", "\\", ";x", "#x",
    "?price_min=NaN", "?price_min=Infinity", "?price_min=%D9%A3", "?category=/////&size=%00",
)  # fmt: skip
HEADERS = (
    (b"x-request-timeout-ms", b"NaN"), (b"x-request-timeout-ms", b"-1"),
    (b"x-request-timeout-ms", b"1"), (b"x-request-timeout-ms", b"9" * 400),
    (b"x-request-timeout-ms", b"\xb2"), (b"inference-header-content-length", b"9" * 18),
    (b"inference-header-content-length", b"-1"), (b"inference-header-content-length", b"12"),
    (b"cookie", b"person=%ff; stated=%00"), (b"cookie", b"stated=" + b"W3t9XQ" * 600),
    (b"cookie", b'person="\xff\xfe"; stated="\\377"'), (b"cookie", b"=;=;;;" * 200),
    (b"authorization", b"Basic ////"), (b"authorization", b"Bearer \xff"),
    (b"authorization", b"Bearer " + b"a.b." * 4_000), (b"if-none-match", b"\xff" * 900),
    (b"accept", b"text/html"), (b"accept", b"\xff/" * 900), (b"sec-fetch-site", b"same-origin"),
    (b"origin", b"http://[::"), (b"x-forwarded-for", b"::1, \xff, 169.254.169.254"),
    (b"x-forwarded-proto", b"gopher"), (b"x" * 30_000, b"1"), (b"x-long", b"a" * 60_000),
    (b"x-nul", b"a\x00b"), (b"x-split", b"a\r\nx-more: b"), (b"bad name", b"1"), (b"", b"1"),
    (b"expect", b"100-continue"), (b"upgrade", b"websocket"), (b"upgrade", b"h2c"),
    (b"host", b"[::"), (b"host", b"\xff"), (b"host", b"a" * 9_000), (b"te", b"trailers"),
    (b"range", b"bytes=0-,-1"),
    (b"content-type", b"multipart/form-data"), (b"content-type", b"\xff"),
    (b"content-type", b"application/json; charset=utf-16"), (b"content-type", b"text/csv"),
    (b"content-type", b"application/jsonlines"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b"application/vnd.sagemaker-triton.binary+json;json-header-size=9"),
)  # fmt: skip
METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT",
           b"get", b"PRI", b"A" * 900, b"\xff", b"")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent on one connection.

    Attributes:
        kind: what is wrong with it, for the count.
        sent: the bytes.
        whole: a server must answer it; else it may close the connection without a word.
        cut: a server must wait for more, which does not come.
    """

    kind: str
    sent: bytes
    whole: bool = True
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A request before it is bytes."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def request(sent: Sent, *, length: bytes | None = None) -> bytes:
    """Its bytes, with a content-length of its own or the body's."""
    declared = str(len(sent.body)).encode() if length is None else length
    headers = [HOST, CLOSE, *sent.headers]
    if sent.body or length is not None:
        headers.append((b"content-length", declared))
    lines = [sent.method + b" " + sent.target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + sent.body


def encoded(value: Any, at: int, other: bytes, *, twice: bool) -> bytes:
    """JSON in which the value number `at`, counted as it is walked, is other bytes.

    Args:
        value: of dictionaries, lists and scalars.
        at: 0 is the whole.
        other: stand there; beyond the last value, nowhere.
        twice: a field that holds them comes twice: once as it was.
    """
    seen = -1

    def walk(value: Any) -> bytes:
        nonlocal seen
        seen += 1
        if seen == at:
            return other
        if isinstance(value, dict):
            fields = []
            for name, inner in value.items():
                key, here = msgspec.json.encode(name), seen + 1 == at
                fields.append(key + b":" + walk(inner))
                if here and twice:
                    fields.append(key + b":" + msgspec.json.encode(inner))
            return b"{" + b",".join(fields) + b"}"
        if isinstance(value, list):
            return b"[" + b",".join(map(walk, value)) + b"]"
        return msgspec.json.encode(value)

    return walk(value)


def values_in(value: Any) -> int:
    """How many values `encoded` walks."""
    inner = value.values() if isinstance(value, dict) else value
    return 1 + sum(map(values_in, inner)) if isinstance(value, dict | list) else 1


def _gzip(sent: Sent, packed: bytes, packing: bytes = b"gzip") -> Sent:
    return replace(sent, headers=(*sent.headers, (b"content-encoding", packing)), body=packed)


def _chunked(sent: Sent, body: bytes, *more: tuple[bytes, bytes]) -> bytes:
    told = replace(sent, headers=(*sent.headers, (b"transfer-encoding", b"chunked"), *more))
    return request(replace(told, body=b"")) + body


Way = Callable[[Sent], Case]
_REST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
_HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def _as(kind: str, made: Callable[[Sent], bytes], *, whole: bool = False, cut: bool = False) -> Way:
    return lambda sent: Case(kind, made(sent), whole, cut)


def _more(sent: Sent, *headers: tuple[bytes, bytes]) -> bytes:
    return request(replace(sent, headers=(*sent.headers, *headers)))


def _body(sent: Sent, body: bytes) -> bytes:
    return request(replace(sent, body=body))


def _in_one_chunk(sent: Sent) -> bytes:
    part = b"%x\r\n%s\r\n" % (len(sent.body), sent.body) if sent.body else b""
    return _chunked(sent, part + b"0\r\n\r\n")


def _kept(sent: Sent, behind: bytes) -> bytes:
    return request(sent).replace(b"connection: close", b"connection: keep-alive", 1) + behind


WAYS: tuple[Way, ...] = (
    _as("gzip", lambda s: request(_gzip(s, gzip.compress(s.body, 1))), whole=True),
    _as("gzip bomb", lambda s: request(_gzip(s, BOMB))),
    _as("gzip cut off", lambda s: request(_gzip(s, gzip.compress(s.body, 1)[:-5])), whole=True),
    _as("gzip twice", lambda s: request(_gzip(s, gzip.compress(s.body, 1) * 2)), whole=True),
    _as("gzip of nothing", lambda s: request(_gzip(s, s.body))),
    _as("deflate", lambda s: request(_gzip(s, zlib.compress(s.body), b"deflate"))),
    _as("packing unknown", lambda s: request(_gzip(s, s.body, b"\xff, gzip"))),
    _as("bytes before", lambda s: _body(s, b"\xef\xbb\xbf" + s.body)),
    _as("utf-16", lambda s: _body(s, s.body.decode("latin-1").encode("utf-16"))),
    _as("bytes behind", lambda s: _body(s, s.body + b"\x00}]garbage")),
    _as("body cut off", lambda s: request(s)[: -1 - len(s.body) // 2], cut=True),
    _as("body too short", lambda s: request(s, length=b"%d" % (len(s.body) + 9)), cut=True),
    _as("length of garbage", lambda s: request(s, length=b"1 2")),
    _as("length below 0", lambda s: request(s, length=b"-1")),
    _as("length huge", lambda s: request(s, length=b"9" * 30)),
    _as("two lengths", lambda s: _more(s, (b"content-length", b"3"))),
    _as("pipelined", lambda s: _kept(s, _REST)),
    _as("pipelined garbage", lambda s: _kept(s, b"\x00\xffgarbage\r\n\r\n" * 9)),
    _as("half a request behind", lambda s: _kept(s, _REST[:30]), cut=True),
    _as("chunked", _in_one_chunk),
    _as("chunk of garbage", lambda s: _chunked(s, b"zz\r\n" + s.body)),
    _as("chunk without end", lambda s: _in_one_chunk(s)[:-9], cut=True),
    _as("chunk huge", lambda s: _chunked(s, b"f" * 30 + b"\r\n" + s.body)),
    _as("chunks and a length", lambda s: _chunked(s, b"0\r\n\r\n", (b"content-length", b"4"))),
    _as("headers many", lambda s: _more(s, *((b"x-%d" % i, b"1") for i in range(3_000)))),
    _as("head cut off", lambda s: request(s)[: 20 + len(s.target)], cut=True),
    _as("line ends of one kind", lambda s: request(s).replace(b"\r\n", b"\n")),
    _as("version of old", lambda s: request(s).replace(b" HTTP/1.1", b"", 1)),
    _as("version unknown", lambda s: request(s).replace(b"HTTP/1.1", b"HTTP/9.9", 1)),
    _as("http/2", lambda _: _HTTP_2),
    _as("tls", lambda s: _TLS + s.body[:300]),
    _as("no host", lambda s: request(s).replace(b"host: localhost\r\n", b"", 1)),
    _as("whole address", lambda s: request(replace(s, target=b"http://169.254.1.1" + s.target))),
)


def hostile(paths: Sequence[str]) -> st.SearchStrategy[Case]:
    """Requests of these paths' bodies, of any path, and of the ways in which they are sent."""
    bodies = [(path, body) for path in paths for body in BODIES.get(path, ())]
    of_body = st.sampled_from(bodies).flatmap(_bodied)
    headers = st.lists(st.sampled_from(HEADERS), max_size=3).map(tuple)
    plain = st.builds(_whole, of_body)
    told = st.builds(_told, of_body, headers)
    sent = st.builds(lambda way, request: way(request), st.sampled_from(WAYS), of_body)
    asked = st.builds(_asked, st.sampled_from(METHODS), _targets(), headers)
    kinds = [plain] * 4 + [sent] * 3 + [told, asked]
    return st.integers(0, len(kinds) - 1).flatmap(lambda kind: kinds[kind])


def _bodied(chosen: tuple[str, Any]) -> st.SearchStrategy[Sent]:
    path, body = chosen
    last = values_in(body)
    other = st.one_of(
        st.sampled_from(LEAVES),
        st.sampled_from(LEAVES),
        st.text(max_size=40).map(msgspec.json.encode),
        st.floats(allow_nan=False, allow_infinity=False).map(msgspec.json.encode),
        st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
        st.sampled_from(KINDS).map(msgspec.json.encode),
    )
    made = st.builds(
        lambda at, value, twice: encoded(body, at, value, twice=twice),
        st.integers(0, last), other, st.booleans(),
    )  # fmt: skip
    return made.map(lambda content: Sent(b"POST", path.encode(), (JSON,), content))


def _targets() -> st.SearchStrategy[bytes]:
    words = st.text(max_size=30).map(lambda word: quote(word, safe="?&=/"))
    raw = st.binary(max_size=20).filter(lambda word: not set(word) & set(b" \r\n"))
    tails = st.one_of(st.sampled_from(NAMES).map(str.encode), words.map(str.encode), raw)
    return st.builds(lambda path, tail: path.encode() + tail, st.sampled_from(PATHS), tails)


def _whole(sent: Sent) -> Case:
    # Where a body is refused before its end, the answer may be lost in the reset that follows.
    return Case("body", request(sent), len(sent.body) < 1 << 16)


def _told(sent: Sent, headers: tuple[tuple[bytes, bytes], ...]) -> Case:
    return Case("headers", request(replace(sent, headers=(*sent.headers, *headers))), whole=False)


def _asked(method: bytes, target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Case:
    return Case("target", request(Sent(method, target, headers, b"")), whole=False)
