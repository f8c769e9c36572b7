"""A SageMaker container: where its files lie, how it serves and how it trains.

    model/                               a package, as adapters/package_files.py says
    input/config/hyperparameters.json    keys of [training], as strings
    input/data/system/                   channel: a package with its log, or system.toml alone
    input/data/listings/, …/events/      channels: files to ingest, with system/mapping.toml
    output/failure                       why a training failed

Source: "Use your own training algorithms" and "Custom inference code with hosting services",
Amazon SageMaker developer guide.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from heirloom.adapters.package_files import LOG, SETTINGS, copy_package
from heirloom.apps.build import System
from heirloom.apps.settings import Settings, TrainingPart, load
from heirloom.core.errors import ConfigError, HeirloomError, InputError

ROOT = Path("/opt/ml")
PORT = 8080
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
MAPPING = "mapping.toml"
MAX_FAILURE = 1_024
"""Characters of the failure that SageMaker shows."""

log = logging.getLogger(__name__)


def port() -> int:
    """Where SageMaker asks the container to listen.

    Raises:
        ConfigError: the environment names no port.
    """
    told = os.environ.get(PORT_VARIABLE, str(PORT))
    if not (told.isascii() and told.isdecimal() and int(told) < 1 << 16):
        raise ConfigError(PORT_VARIABLE, [f"{told!r}; wanted a port, 0 to 65535"])
    return int(told)


@contextmanager
def unpacked(model: Path) -> Iterator[Settings]:
    """Settings of a copy of a package in a folder of its own, which goes in the end.

    The package may lie on a disk that cannot be written to, and another container may read it.

    Raises:
        ConfigError: there is no package, it holds links, or its settings ask for what a container
            has not.
    """
    check_links(model)
    toml = model / SETTINGS
    if not toml.is_file():
        raise ConfigError(
            str(model), [f"no {SETTINGS} lies there; make the archive by `heirloom package`"]
        )
    with tempfile.TemporaryDirectory(prefix="heirloom-") as work:
        folder = Path(work) / "system"
        shutil.copytree(model, folder, ignore=shutil.ignore_patterns(SETTINGS))
        settings = load(toml, folder=folder)
        if settings.http.auth.required:
            problem = "[http.auth] required: SageMaker sends no key to its containers, IAM decides"
            raise ConfigError(str(toml), [problem + " who may invoke; leave it out"])
        yield settings


def check_links(package: Path) -> None:
    """Refuse a package that names files outside itself.

    Raises:
        ConfigError: naming the links.
    """
    links = [path for path in sorted(package.rglob("*")) if path.is_symlink()]
    if links:
        came = ", ".join(path.relative_to(package).as_posix() for path in links[:5])
        raise ConfigError(str(package), [f"{came}: links; wanted plain files and folders alone"])


def train(root: Path = ROOT) -> int:
    """Train as a SageMaker training job asks; gives the exit status.

    What goes wrong is told in `output/failure`.
    """
    try:
        _train(root)
    except Exception as error:
        # The last door: SageMaker shows this file, and the log has the rest.
        if not isinstance(error, HeirloomError):
            log.exception("training failed")
        (root / "output").mkdir(parents=True, exist_ok=True)
        told = f"{type(error).__name__}: {error}"[:MAX_FAILURE]
        (root / "output" / "failure").write_text(told, encoding="utf-8")
        print(told, flush=True)
        return 1
    return 0


def _train(root: Path) -> None:
    data = root / "input" / "data"
    channel = data / "system"
    toml = channel / SETTINGS
    check_links(channel)
    if not toml.is_file():
        raise InputError(
            f"{channel}: channel `system` has no {SETTINGS}; give it what `heirloom package` made, "
            "or a TOML like systems/laptop.toml with channels `listings` and `events`"
        )
    with tempfile.TemporaryDirectory(prefix="heirloom-") as work:
        folder = Path(work) / "system"
        folder.mkdir()
        if (channel / LOG).is_file():
            copy_package(channel, toml, folder, log=True)
        settings = with_hyperparameters(load(toml, folder=folder), hyperparameters(root))
        system = System(settings, answering=False)
        try:
            _ingest(system, data)
            bundle, trained = system.train(progress=_told())
        finally:
            system.close()
        for name, value in trained.metrics.items():
            print(f"{name}={value:.6f};", flush=True)
        copy_package(folder, toml, root / "model", log=True)
        print(f"published bundle {bundle.bundle_id}", flush=True)


def _ingest(system: System, data: Path) -> None:
    """What stands in the channels of files; nothing where there are none."""
    from heirloom.apps.history import events_from
    from heirloom.apps.mapping import load_mapping

    found = {name: sorted(_files(data / name)) for name in ("listings", "events")}
    for name, files in found.items():
        if len(files) > 1:
            raise InputError(f"channel `{name}` has {len(files)} files; wanted one")
    listings, events = (next(iter(found[name]), None) for name in ("listings", "events"))
    if listings is None and events is None:
        return
    mapping = data / "system" / MAPPING
    if not mapping.is_file():
        raise InputError(
            f"channel `system` has no {MAPPING}, which says which column is which; see "
            "docs/mapping.md"
        )
    arrivals = events_from(
        listings, events, load_mapping(mapping, listings=listings, events=events)
    )
    print(system.ingest_history(arrivals, source="sagemaker"), flush=True)


def _files(channel: Path) -> Iterator[Path]:
    return (path for path in channel.glob("*") if path.is_file()) if channel.is_dir() else iter(())


def hyperparameters(root: Path) -> dict[str, str]:
    """As SageMaker wrote them: strings by name; none where there is no file.

    Raises:
        InputError: it is none of SageMaker's.
    """
    path = root / "input" / "config" / "hyperparameters.json"
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: wanted an object of strings: {error}") from error


def with_hyperparameters(settings: Settings, given: Mapping[str, str]) -> Settings:
    """The settings with keys of [training] replaced: `seed`, `ranker_settings.iterations`.

    A value is read as JSON where it is JSON, else as a word. What SageMaker's tools add for
    themselves (`sagemaker_…`) is passed by.

    Raises:
        ConfigError: [training] has no such key, or not of this value.
    """
    part: dict[str, Any] = settings.training.model_dump(exclude_unset=True)
    for name, text in given.items():
        if name.startswith("sagemaker_"):
            continue
        *tables, key = name.split(".")
        table = part
        for step in tables:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise ConfigError("hyperparameters", [f"{name}: {step} is no table of [training]"])
        try:
            table[key] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            table[key] = text
    try:
        training = TrainingPart.model_validate(part)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ConfigError("hyperparameters", problems) from None
    return settings.model_copy(update={"training": training})


def _told() -> Any:
    """Progress as lines, one each time a tenth more is done."""
    last: dict[str, int] = {}

    def progress(step: str, done: int, of: int) -> None:
        tenth = 10 * done // of if of else 0
        if last.get(step) != tenth:
            last[step] = tenth
            print(f"{step}: {done} of {of}", flush=True)

    return progress
