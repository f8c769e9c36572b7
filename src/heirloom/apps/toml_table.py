"""One table of a TOML file written by hand, replaced; all else stays as it is, comments too."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heirloom.core.errors import ConfigError


def table_text(name: str, values: Mapping[str, Any]) -> str:
    """A table with its header, one key a line.

    >>> print(table_text("training.ranker_settings", {"depth": 6, "loss": "YetiRank"}), end="")
    [training.ranker_settings]
    depth = 6
    loss = "YetiRank"
    """
    lines = [f"{key} = {_value(value)}\n" for key, value in values.items()]
    return "".join([f"[{name}]\n", *lines])


def replace_table(file: Path, name: str, values: Mapping[str, Any]) -> None:
    """Write the table into the file, in place of the one that has its name, or at the end.

    Raises:
        ConfigError: what would come out does not say so, or says more: the table stands there in
            another form. The file is left as it was.
    """
    before = file.read_text(encoding="utf-8")
    after = with_table(before, name, values)
    wanted = tomllib.loads(before)
    place = wanted
    *path, last = name.split(".")
    for part in path:
        place = place.setdefault(part, {})
    place[last] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }
    try:
        same = tomllib.loads(after) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigError(
            str(file), [f"[{name}] stands there in another form; write by hand:\n"
                        + table_text(name, values)]
        )  # fmt: skip
    unfinished = file.with_suffix(".toml.tmp")
    unfinished.write_text(after, encoding="utf-8")
    unfinished.replace(file)


def with_table(text: str, name: str, values: Mapping[str, Any]) -> str:
    r"""The text with the table in place of the one of its name, or after all else.

    >>> print(with_table("[a.b]\nc = 1\n\n[d]\n", "a.b", {"e": True}), end="")
    [a.b]
    e = true
    <BLANKLINE>
    [d]
    """
    lines, table = text.splitlines(keepends=True), table_text(name, values)
    heads = [i for i, line in enumerate(lines) if line.lstrip().startswith("[")]
    start = next((i for i in heads if lines[i].partition("#")[0].strip() == f"[{name}]"), None)
    if start is None:
        return text.rstrip("\n") + "\n\n" + table
    end = min((i for i in heads if i > start), default=len(lines))
    while end > start + 1 and lines[end - 1].strip()[:1] in ("", "#"):
        end -= 1  # what stands above the next table belongs to it
    return "".join([*lines[:start], table, *lines[end:]])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return repr(value)
