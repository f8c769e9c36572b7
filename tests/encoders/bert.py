"""A tiny BERT model with random weights, as its files are published, and torch's own layers as its
twin.
"""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

from heirloom.encoders import safetensors

LAYERS, HEADS, DIM, WIDE, PLACES = 2, 2, 16, 24, 64
CONFIG = {
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "model_type": "bert", "vocab_size": 0,
}  # fmt: skip
PIECES = (
    "[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", ".", "red", "silk", "dress", "##es", "boot",
    "##s", "wool", "coat", "a", "b",
)  # fmt: skip


def tokenizer() -> bytes:
    made = Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 3), ("[SEP]", 4)]
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.enable_padding(length=40)
    made.enable_truncation(9)
    return made.to_str().encode()


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": drawn(len(PIECES), DIM),
        "embeddings.position_embeddings.weight": drawn(PLACES, DIM),
        "embeddings.token_type_embeddings.weight": drawn(2, DIM),
        "embeddings.LayerNorm.weight": 1 + drawn(DIM),
        "embeddings.LayerNorm.bias": drawn(DIM),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part, rows, columns in (
            ("attention.self.query", DIM, DIM), ("attention.self.key", DIM, DIM),
            ("attention.self.value", DIM, DIM), ("attention.output.dense", DIM, DIM),
            ("intermediate.dense", WIDE, DIM), ("output.dense", DIM, WIDE),
        ):  # fmt: skip
            made[f"{name}.{part}.weight"] = drawn(rows, columns)
            made[f"{name}.{part}.bias"] = drawn(rows)
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            made[f"{name}.{part}.weight"] = 1 + drawn(DIM)
            made[f"{name}.{part}.bias"] = drawn(DIM)
    return made


def write(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_bytes(tokenizer())
    safetensors.write(folder / "model.safetensors", weights(), {})
    return folder


def twin(tokens: list[int]) -> np.ndarray:
    """[dim], by torch's TransformerEncoderLayer, of one text."""
    known = {name: torch.from_numpy(array) for name, array in weights().items()}

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(
            x, (DIM,), known[f"{name}.weight"], known[f"{name}.bias"], 1e-12
        )

    stream = known["embeddings.word_embeddings.weight"][tokens]
    stream = stream + known["embeddings.position_embeddings.weight"][: len(tokens)]
    stream = stream + known["embeddings.token_type_embeddings.weight"][0]
    stream = norm("embeddings.LayerNorm", stream)[None]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        module = nn.TransformerEncoderLayer(
            DIM, HEADS, WIDE, 0.0, "gelu", 1e-12, batch_first=True, norm_first=False
        ).eval()
        self = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        module.load_state_dict(
            {
                "self_attn.in_proj_weight": torch.cat([known[f"{part}.weight"] for part in self]),
                "self_attn.in_proj_bias": torch.cat([known[f"{part}.bias"] for part in self]),
                **{
                    f"{theirs}.{what}": known[f"{name}.{ours}.{what}"]
                    for theirs, ours in (
                        ("self_attn.out_proj", "attention.output.dense"),
                        ("linear1", "intermediate.dense"), ("linear2", "output.dense"),
                        ("norm1", "attention.output.LayerNorm"), ("norm2", "output.LayerNorm"),
                    )
                    for what in ("weight", "bias")
                },
            }
        )  # fmt: skip
        with torch.no_grad():
            stream = module(stream)
    return nn.functional.normalize(stream[0].mean(0), dim=0).numpy()
