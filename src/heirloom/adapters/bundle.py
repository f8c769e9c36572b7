"""A ModelBundle as a folder: written at once, loaded whole or not at all.

No pickle. Every file stands in the manifest with its hash, and no other file may lie there. The
manifest's own hash is the bundle's id, by which a system names the folder.
"""

import hashlib
import pickletools
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.bundle import FORMAT, MANIFEST_FILE, DataWindow, Manifest, ModelBundle
from heirloom.core.errors import BundleError, ConfigError, HeirloomError
from heirloom.core.slate import FeatureBatch
from heirloom.encoders.modalities import Modality
from heirloom.encoders.pair import HASHED, Encoders
from heirloom.ranking.ranker import Ranker

Arrays = Mapping[str, NDArray[Any]]
WEIGHTS_FOLDER = "weights"
ENCODERS_FOLDER = "encoders"
RETRIEVERS_FOLDER = "retrievers"
GOLDEN_VALUES = "golden_values.npy"
GOLDEN_SCORES = "golden_scores.npy"
GOLDEN_RTOL = 1e-6
GOLDEN_ATOL = 1e-7
"""A bundle may be loaded on another machine kind: its last bits may differ, its order may not."""
MAX_MANIFEST_BYTES = 4 << 20
MAX_GOLDEN_ROWS = 256
FORMATS = (".cbm", ".json", ".npy", ".onnx", ".parquet", ".safetensors", ".txt")
"""What files of a bundle may be: formats that carry no code."""
_ID = re.compile("[0-9a-f]{32}")
_PICKLE = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")
"""How pickles of protocols 2 to 5 begin, and archives, in which torch and joblib pack theirs."""
_ARRAY = b"\x93NUMPY"


def write(
    folder: Path,
    ranker: Ranker,
    *,
    name: str,
    kind: str,
    data_window: DataWindow,
    metrics: Mapping[str, float],
    slices: Mapping[str, Mapping[str, float]],
    negatives: str,
    seed: int,
    code_version: str,
    golden: FeatureBatch,
    encoders: Encoders = HASHED,
    beside: Callable[[Path], None] = lambda _: None,
    settings: Mapping[str, str | int | float | bool] | None = None,
    retrievers: Mapping[str, Arrays] | None = None,
    documents: Mapping[str, bytes] | None = None,
) -> ModelBundle[Ranker]:
    """Write a bundle into a folder that does not exist yet; it appears whole.

    The golden scores are what the ranker gives for up to 256 rows of `golden`; `retrievers` what
    each retriever that learns has learned, by its name. Where encoders were trained, `beside`
    writes into their folder what else `encoders_of` is to find there. `documents` are files for
    people, by name.

    Raises:
        BundleError: if the folder exists, the golden rows are none, or a file is of a format that
            may carry code.
    """
    if folder.exists():
        raise BundleError(f"bundle {folder.name}: the folder exists; a bundle is never overwritten")
    if not len(golden.values):
        raise BundleError(f"bundle {name}: no golden rows; give at least one row of features")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        weights = draft / WEIGHTS_FOLDER
        weights.mkdir()
        ranker.save(weights)
        if encoders.model_id != HASHED.model_id:
            (draft / ENCODERS_FOLDER).mkdir()
            encoders.save(draft / ENCODERS_FOLDER)
            beside(draft / ENCODERS_FOLDER)
        for learner, arrays in sorted((retrievers or {}).items()):
            _write_arrays(draft / RETRIEVERS_FOLDER / learner, arrays)
        for document, content in sorted((documents or {}).items()):
            (draft / document).write_bytes(content)
        _check_formats(draft, _files(draft), f"bundle {name}")
        batch = FeatureBatch(golden.values[:MAX_GOLDEN_ROWS], golden.columns, golden.n)
        np.save(draft / GOLDEN_VALUES, batch.values, allow_pickle=False)
        np.save(draft / GOLDEN_SCORES, ranker.score(batch), allow_pickle=False)
        manifest = Manifest(
            name=name,
            kind=kind,
            columns=ranker.columns,
            actions=ranker.actions,
            data_window=data_window,
            metrics=dict(sorted(metrics.items())),
            slices={key: dict(sorted(slices[key].items())) for key in sorted(slices)},
            negatives=negatives,
            encoders=encoders.model_id,
            seed=seed,
            settings=dict(sorted((settings or {}).items())),
            code_version=code_version,
            files={path: _sha256(draft / path) for path in _files(draft)},
        )
        encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (draft / MANIFEST_FILE).write_bytes(encoded)
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return ModelBundle(_id(encoded), manifest, ranker)


def named(bundles: Path, bundle_id: str) -> Path:
    """The folder of a bundle among others, by its id; it may be missing.

    Raises:
        BundleError: it is no id, so that it might lead elsewhere; or what lies there is another.
    """
    if not _ID.fullmatch(bundle_id):
        raise BundleError(
            f"bundle {bundle_id[:80]!r}: this is no bundle's id; wanted 32 digits of 0-9 and a-f, "
            "as `heirloom train` names the folder"
        )
    folder = bundles / bundle_id
    if folder.is_symlink() or folder.exists():
        came = _manifest(folder, f"bundle {bundle_id}")[1]
        if came != bundle_id:
            raise BundleError(
                f"bundle {bundle_id}: {MANIFEST_FILE} is that of {came}: it was changed or "
                "damaged; fetch the bundle again"
            )
    return folder


def load(folder: Path, loaders: Mapping[str, type[Ranker]]) -> ModelBundle[Ranker]:
    """Read a bundle, if every file is as it was written and the golden scores come out.

    Args:
        folder: as `write` made it.
        loaders: the class that reads the weights, by the manifest's `kind`.

    Raises:
        BundleError: saying what is wrong with it.
    """
    where = f"bundle {folder.name}"
    manifest, bundle_id = _manifest(folder, where)
    _check_files(folder, manifest, where)
    loader = loaders.get(manifest.kind)
    if loader is None:
        known = ", ".join(sorted(loaders))
        raise BundleError(f"{where}: its kind is {manifest.kind!r}; known are {known}")
    try:
        ranker = loader.load(folder / WEIGHTS_FOLDER)
        if (ranker.columns, ranker.actions) != (manifest.columns, manifest.actions):
            raise BundleError(
                f"{where}: the weights are of other columns or actions than the manifest"
            )
        _check_golden(folder, manifest, ranker, where)
    except HeirloomError:
        raise
    except Exception as error:  # rankers come from any package, and files from anybody
        raise BundleError(f"{where}: its weights cannot be used: {error!r}") from error
    return ModelBundle(bundle_id, manifest, ranker)


def manifest_of(folder: Path) -> Manifest:
    """What stands in a bundle's manifest; nothing else is looked at.

    Raises:
        BundleError: if it cannot be read.
    """
    return _manifest(folder, f"bundle {folder.name}")[0]


def encoders_of(
    folder: Path, modalities: Callable[[Path], Sequence[Modality]] = lambda _: ()
) -> Encoders:
    """The encoders that a bundle's ranker was trained with.

    Args:
        folder: as `write` made it.
        modalities: given the encoders' folder, the models of photos or text that they were trained
            with.

    Raises:
        BundleError: if a file is not as it was written, the golden vectors do not come out, or a
            modality is missing or another.
    """
    where = f"bundle {folder.name}"
    manifest, _ = _manifest(folder, where)
    if manifest.encoders in ("", HASHED.model_id):
        return HASHED
    _check_files(folder, manifest, where)
    try:
        encoders = Encoders.load(folder / ENCODERS_FOLDER, modalities(folder / ENCODERS_FOLDER))
    except (BundleError, ConfigError) as error:
        raise BundleError(f"{where}: {error}") from error
    except Exception as error:  # as of weights
        raise BundleError(f"{where}: its encoders cannot be used: {error!r}") from error
    if encoders.model_id != manifest.encoders:
        raise BundleError(
            f"{where}: its encoders are {encoders.model_id}; the manifest says {manifest.encoders}"
        )
    return encoders


def retrievers_of(folder: Path) -> dict[str, Arrays]:
    """What each retriever that learns has learned, by its name; none in older bundles.

    Raises:
        BundleError: if a file is not as it was written.
    """
    where = f"bundle {folder.name}"
    manifest, _ = _manifest(folder, where)
    _check_files(folder, manifest, where)
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for path in sorted((folder / RETRIEVERS_FOLDER).glob("*/*.npy")):
        found.setdefault(path.parent.name, {})[path.stem] = _array(path, where)
    return dict(found)


def document_of(folder: Path, document: str) -> bytes | None:
    """A document that was written into a bundle; None if it has none of this name.

    Raises:
        BundleError: if it is not as it was written.
    """
    where = f"bundle {folder.name}"
    manifest, _ = _manifest(folder, where)
    if document not in manifest.files:
        return None
    _check_files(folder, manifest, where)
    return (folder / document).read_bytes()


def _write_arrays(folder: Path, arrays: Arrays) -> None:
    """One file each: an archive would carry the time of writing, and no hash would come twice."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _manifest(folder: Path, where: str) -> tuple[Manifest, str]:
    path = folder / MANIFEST_FILE
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{where}: no such folder, or a link; wanted a folder with a bundle")
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{where}: {MANIFEST_FILE} is missing or no plain file")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{where}: {MANIFEST_FILE} is over {MAX_MANIFEST_BYTES} bytes")
    encoded = path.read_bytes()
    try:
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: {MANIFEST_FILE} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BundleError(f"{where}: format {manifest.format}; this version reads {FORMAT}")
    return manifest, _id(encoded)


def _check_files(folder: Path, manifest: Manifest, where: str) -> None:
    for name in manifest.files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or {"..", "."} & set(parts):
            raise BundleError(f"{where}: the manifest names {name!r}, which leaves the folder")
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(f"{where}: {path.name!r} is a link or no plain file")
    present = set(_files(folder)) - {MANIFEST_FILE}
    if missing := sorted(set(manifest.files) - present):
        raise BundleError(f"{where}: files are missing: {', '.join(missing)}")
    if strange := sorted(present - set(manifest.files)):
        raise BundleError(f"{where}: files that are not in the manifest: {', '.join(strange)}")
    for name, digest in manifest.files.items():
        if _sha256(folder / name) != digest:
            raise BundleError(f"{where}: {name} was changed or damaged; fetch the bundle again")
    _check_formats(folder, list(manifest.files), where)


def _check_formats(folder: Path, files: Sequence[str], where: str) -> None:
    for name in files:
        if PurePosixPath(name).suffix not in FORMATS:
            raise BundleError(
                f"{where}: {name} is of a format that may carry code; wanted {', '.join(FORMATS)}"
            )
        if _is_pickle(folder / name):
            raise BundleError(f"{where}: {name} is a pickle or an archive, which may hold code")


def _is_pickle(path: Path) -> bool:
    """Whether it is a pickle, of whatever protocol and name, or holds some."""
    with path.open("rb") as file:
        begin = file.read(len(_ARRAY))
        file.seek(0)
        if _PICKLE.match(begin):
            return True
        try:
            if begin == _ARRAY:
                return _holds_objects(file)
            for _ in pickletools.genops(file):  # reads the steps, and takes none
                pass
        except Exception:  # noqa: BLE001 - what is neither raises errors of many kinds
            return False
        return not file.read(1).strip()


def _holds_objects(file: BinaryIO) -> bool:
    """Whether numpy would have to unpickle this array."""
    read = np.lib.format.read_array_header_1_0
    if np.lib.format.read_magic(file) != (1, 0):
        read = np.lib.format.read_array_header_2_0
    return bool(read(file)[2].hasobject)


def _check_golden(folder: Path, manifest: Manifest, ranker: Ranker, where: str) -> None:
    values = _array(folder / GOLDEN_VALUES, where, np.float32)
    wanted = _array(folder / GOLDEN_SCORES, where, np.float32)
    if values.ndim != 2 or values.shape[1] != len(manifest.columns):
        raise BundleError(
            f"{where}: golden values have shape {list(values.shape)}; "
            f"wanted [rows, features={len(manifest.columns)}]"
        )
    scores = ranker.score(FeatureBatch(values, manifest.columns, n=0))
    if scores.shape != wanted.shape:
        raise BundleError(f"{where}: golden scores {list(wanted.shape)}, came {list(scores.shape)}")
    if not np.allclose(scores, wanted, rtol=GOLDEN_RTOL, atol=GOLDEN_ATOL):
        worst = float(np.abs(scores - wanted).max())
        raise BundleError(
            f"{where}: golden scores differ by up to {worst:.3g}; "
            "the library that reads the weights is not the one that wrote them"
        )


def _array(path: Path, where: str, dtype: type | None = None) -> NDArray[Any]:
    """An array of a file; of any dtype of numbers, or of this one."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise BundleError(f"{where}: {path.name} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray) or (dtype is not None and array.dtype != dtype):
        wanted = "numbers" if dtype is None else np.dtype(dtype).name
        raise BundleError(f"{where}: {path.name} is not an array of {wanted}")
    return array


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _id(manifest: bytes) -> str:
    return hashlib.blake2b(manifest, digest_size=16).hexdigest()
