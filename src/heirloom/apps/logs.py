"""Logs: lines on stderr for people or for programs, with the request that each is about.

No secret gets in: nothing here logs a header or a body, and what a library's error may carry (a
key, a token, a cookie, the password of an address) is taken out of each line before it is written.
"""

import contextvars
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

REQUESTS: Final = logging.getLogger("heirloom.requests")
"""One line for each request, where the settings ask for it."""
_REQUEST_ID: Final = contextvars.ContextVar("request_id", default="")
_TOLD = ("method", "route", "status", "ms", "caller")
_REMOVED = "[removed]"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b((?:set-)?cookie2?['\"]?\s*[:=,]\s*)[^\r\n]+"), rf"\1{_REMOVED}"),
    (re.compile(r"(?i)\b(heirloom_console|person|stated)=[^\s;,\"']+"), rf"\1={_REMOVED}"),
    (re.compile(r"\b(hlm_[0-9a-f]{1,12})_[\w-]+"), rf"\1_{_REMOVED}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), _REMOVED),
    (
        re.compile(r"(?i)\b(bearer|basic|token)(\s+)(?!realm|hlm_)[\w.~+/=-]{6,}"),
        rf"\1\2{_REMOVED}",
    ),
    (re.compile(r"(://[^\s/:@]*):[^\s/@]+@"), rf"\1:{_REMOVED}@"),
    (
        re.compile(r"(?i)\b((?:x-)?api[-_]?key|password|passwd|secret|dsn)(['\"]?\s*[:=]\s*['\"]?)"
                   r"[^\s'\",;]+"),
        rf"\1\2{_REMOVED}",
    ),
)  # fmt: skip


class LogPart(BaseModel):
    """What is written to stderr, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["text", "json"] = "text"
    """For people, or a JSON object a line for programs."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least of our own lines; of libraries' lines, warnings are the least in any case."""
    requests: bool = False
    """One line for each request: method, route, status, ms, caller. Never what was asked."""


@contextmanager
def about(request_id: str) -> Iterator[None]:
    """What is logged within, in this thread or task, is about this request."""
    token = _REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)


def redacted(text: str) -> str:
    """A line without secrets; the id of a key stays, so that it can be revoked.

    >>> redacted("GET /v1/search: Bearer hlm_0123456789ab_c2VjcmV0 was refused")
    'GET /v1/search: Bearer hlm_0123456789ab_[removed] was refused'
    >>> redacted("hlm_0123456789ab_c2VjcmV0; postgresql://me:pass@host/db; cookie: a=b; c=d")
    'hlm_0123456789ab_[removed]; postgresql://me:[removed]@host/db; cookie: [removed]'
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def begin(part: LogPart, *, process: str = "") -> None:
    """Log so from now on, in this process and those forked from it.

    Args:
        part: how.
        process: what its lines are called by; empty for one that is alone.
    """
    shown: Callable[[logging.LogRecord, str], str] = _json if part.format == "json" else _text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(shown, process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, _Lines):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("heirloom").setLevel(part.level.upper())
    REQUESTS.setLevel(logging.INFO if part.requests else logging.WARNING)


class _Lines(logging.Formatter):
    def __init__(self, shown: Callable[[logging.LogRecord, str], str], process: str) -> None:
        super().__init__()
        self._shown = shown
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        return self._shown(record, self._process)


def _text(record: logging.LogRecord, process: str) -> str:
    request_id = _REQUEST_ID.get()
    parts = (_time(record), record.levelname, process, record.name,
             f"[{request_id}]" if request_id else "", redacted(record.getMessage()))  # fmt: skip
    line = " ".join(part for part in parts if part)
    # What came from outside begins no line of its own.
    line = line.replace("\r", "\\r").replace("\n", "\\n")
    stack = _stack(record)
    return f"{line}\n{stack}" if stack else line


def _json(record: logging.LogRecord, process: str) -> str:
    fields: dict[str, Any] = {
        "time": _time(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": redacted(record.getMessage()),
        "process": process,
        "pid": os.getpid(),
        "request_id": _REQUEST_ID.get(),
        "stack": _stack(record),
    }
    told = {name: getattr(record, name) for name in _TOLD if hasattr(record, name)}
    kept = {name: value for name, value in fields.items() if value != ""}
    return msgspec.json.encode(kept | told).decode()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stack(record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return redacted(logging.Formatter().formatException(record.exc_info))
