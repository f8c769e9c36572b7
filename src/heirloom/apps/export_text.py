"""`heirloom export text`: a published sentence transformer as a folder that serving reads."""

from pathlib import Path

from heirloom.core.errors import ConfigError, InputError
from heirloom.encoders.sentence import SentenceEncoder, StaticTable


def export_text(
    weights: Path | None, out: Path, *, tokens: int, table: int | None = None
) -> SentenceEncoder | StaticTable:
    """Write a model, and load it again as serving will.

    Args:
        weights: folder of the model's files; None: of the package that carries one.
        out: new or empty.
        tokens: of a text that are read at most, its two ends included.
        table: distil it to a table of so many dimensions; None: the transformer itself.

    Raises:
        InputError: the folder is in use, or cannot be made.
        ConfigError: the model is of a kind that is not known, or an extra is not installed.
        BundleError: a file of the model is damaged.
    """
    try:
        from heirloom.encoders.training.sentence import distilled
        from heirloom.pipelines.export_sentence import export_sentence, packaged
    except ModuleNotFoundError as error:
        raise ConfigError(
            "export text", [f'{error}; pip install "heirloom[text,train]"']
        ) from error
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"export text: {out} is in use; give --out a new or empty folder")
    encoder = export_sentence(weights or packaged(), tokens)
    model = encoder if table is None else distilled(encoder, table)
    try:
        out.mkdir(parents=True, exist_ok=True)
        model.save(out)
        for file in out.iterdir():
            file.chmod(0o644)  # a server may run as another user
    except OSError as error:
        raise InputError(f"export text: {out} cannot be written: {error}") from error
    return model.load(out)
