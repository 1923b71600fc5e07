"""A text encoder under a linear head: the module, the fitted model, and the two folder formats it is saved in.

A head of the architecture's own is saved as a Transformers folder, a pooled head as a sentence-transformers folder.
How either is trained lives in the trainers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from autosft.accounting import phase
from autosft.inputs.text import batches_by_length, encode, pad
from autosft.trainers.base import FittedModel

#: Rows predicted at once. Larger gains nothing on a CPU and risks memory at long lengths.
PREDICT_BATCH_SIZE = 64

_ST_MODULES = "sentence_transformers.models"


class PooledClassifier(nn.Module):
    """Encoder, pooling over tokens, optional L2 normalisation, dropout, linear layer to logits."""

    def __init__(
        self,
        encoder: nn.Module,
        num_labels: int,
        *,
        pooling: str = "mean",
        normalize: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.normalize = normalize
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(cast(Any, encoder).config.hidden_size, num_labels)

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Returns one vector a row, shape (rows, hidden size)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool(hidden, attention_mask, self.pooling, self.normalize)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (rows, labels)."""
        features = self.dropout(self.features(input_ids, attention_mask))
        # The head in float32: in bf16 a saved model's probabilities would not be those that were measured.
        with torch.autocast(features.device.type, enabled=False):
            return cast(torch.Tensor, self.linear(features.float()))


class ArchitectureClassifier(nn.Module):
    """The architecture's own sequence classifier behind the same call as `PooledClassifier`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (rows, labels)."""
        return cast(torch.Tensor, self.model(input_ids=input_ids, attention_mask=attention_mask).logits)


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: str, normalize: bool) -> torch.Tensor:
    """Pools token vectors (rows, tokens, size) to (rows, size): "mean" over real tokens, or "cls" for the first."""
    if pooling == "cls":
        pooled = hidden[:, 0]
    else:
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return nn.functional.normalize(pooled, dim=-1) if normalize else pooled


def device() -> torch.device:
    """Returns the device this process trains on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps Transformers' progress bars and remarks about new heads off the screen."""
    from transformers.utils import logging

    had_bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()


def load_encoder(folder: Path, **overrides: Any) -> nn.Module:
    """Loads a bare encoder in float32 from a folder with safetensors; `overrides` change its config (dropout)."""
    from transformers import AutoModel

    with phase("load"), quiet_transformers():
        model = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, **overrides
        )
    return cast(nn.Module, model)


def weights_key(folder: Path) -> str:
    """Returns what tells a model's files from others, and from what the same folder held before: sizes and times."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(f"{folder.resolve()}{stats}".encode()).hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """Loads the tokenizer of a model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def logits_of(
    module: nn.Module, ids: list[NDArray[np.int32]], pad_token_id: int, *, batch_size: int = PREDICT_BATCH_SIZE
) -> NDArray[np.float32]:
    """Runs a classifier over token ids, longest rows first; returns logits in the rows' own order, (rows, labels)."""
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    where = next(module.parameters()).device
    was_training = module.training
    module.eval()
    outputs: list[NDArray[np.float32]] = []
    order: list[NDArray[np.int64]] = []
    with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
        for rows in batches_by_length(lengths, batch_size):
            batch = {key: value.to(where) for key, value in pad([ids[row] for row in rows], pad_token_id).items()}
            outputs.append(module(**batch).float().cpu().numpy())
            order.append(rows)
    module.train(was_training)
    if not outputs:
        return np.zeros((0, 0), np.float32)
    stacked = np.concatenate(outputs)
    result = np.empty_like(stacked)
    result[np.concatenate(order)] = stacked
    return result


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns probabilities, rows summing to one."""
    if not logits.size:
        return logits
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


@dataclass
class EncoderModel(FittedModel):
    """A trained classifier over one text.

    Attributes:
        module: The classifier, in evaluation mode.
        tokenizer: Its Transformers tokenizer.
        max_length: Tokens a row is cut at.
        labels: Label names in output order, for the saved config.
        frozen_folder: Where the encoder's weights are unchanged from a base model, that base model's folder, so that
            saving links the file instead of writing it again.
    """

    module: PooledClassifier | ArchitectureClassifier
    tokenizer: Any
    max_length: int
    labels: tuple[str, ...]
    frozen_folder: Path | None = None

    def predict(self, inputs: pa.Table) -> NDArray[np.float32]:
        texts = inputs.column("text").to_pylist()
        ids = encode(texts, self.tokenizer, max_length=self.max_length)
        logits = logits_of(self.module, [np.asarray(row, np.int32) for row in ids], pad_token_id(self.tokenizer))
        return softmax(logits) if texts else np.zeros((0, len(self.labels)), np.float32)

    def save(self, folder: Path) -> None:
        with phase("checkpoint"), quiet_transformers():
            self.tokenizer.save_pretrained(folder)
            if isinstance(self.module, ArchitectureClassifier):
                self._save_architecture(folder)
            else:
                self._save_pooled(folder, self.module)

    def _save_architecture(self, folder: Path) -> None:
        model = cast(Any, cast(ArchitectureClassifier, self.module).model)
        model.config.id2label = dict(enumerate(self.labels))
        model.config.label2id = {label: at for at, label in enumerate(self.labels)}
        model.save_pretrained(folder)
        _write_json(folder / "autosft_encoder.json", {"max_length": self.max_length})

    def _save_pooled(self, folder: Path, module: PooledClassifier) -> None:
        """Writes the folder that sentence-transformers loads: Transformer, Pooling, (Normalize,) Dense to logits."""
        from safetensors.torch import save_file

        encoder = cast(Any, module.encoder)
        encoder.config.id2label = dict(enumerate(self.labels))
        encoder.config.label2id = {label: at for at, label in enumerate(self.labels)}
        if self.frozen_folder and (self.frozen_folder / "model.safetensors").exists():
            encoder.config.save_pretrained(folder)
            _link(self.frozen_folder / "model.safetensors", folder / "model.safetensors")
        else:
            encoder.save_pretrained(folder)
        size, num_labels = module.linear.in_features, module.linear.out_features
        modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
        modules += [("2_Normalize", "Normalize")] if module.normalize else []
        modules += [(f"{len(modules)}_Dense", "Dense")]
        rows = [
            {"idx": at, "name": str(at), "path": path, "type": f"{_ST_MODULES}.{name}"}
            for at, (path, name) in enumerate(modules)
        ]
        for path, _ in modules[1:]:
            (folder / path).mkdir()
        _write_json(folder / "modules.json", rows)
        _write_json(folder / "sentence_bert_config.json", {"max_seq_length": self.max_length, "do_lower_case": False})
        pooling = {
            "word_embedding_dimension": size,
            "pooling_mode_cls_token": module.pooling == "cls",
            "pooling_mode_mean_tokens": module.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        }
        _write_json(folder / "1_Pooling" / "config.json", pooling)
        dense = folder / modules[-1][0]
        activation = "torch.nn.modules.linear.Identity"
        config = {"in_features": size, "out_features": num_labels, "bias": True, "activation_function": activation}
        _write_json(dense / "config.json", config)
        weights = {
            f"linear.{key}": value.detach().cpu().contiguous() for key, value in module.linear.state_dict().items()
        }
        save_file(weights, dense / "model.safetensors", metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path) -> EncoderModel:
        """Loads either format from a folder that `save` wrote."""
        with phase("load"), quiet_transformers():
            tokenizer = load_tokenizer(folder)
            load = _load_pooled if (folder / "modules.json").exists() else _load_architecture
            module, max_length = load(folder)
            inner = cast(Any, module.encoder if isinstance(module, PooledClassifier) else module.model)
            id2label = inner.config.id2label
            labels = tuple(str(id2label[at]) for at in range(len(id2label)))
            return cls(module.to(device()).eval(), tokenizer, max_length, labels)


def pad_token_id(tokenizer: Any) -> int:
    """Returns the padding token's id; 0 where a tokenizer has none, which the attention mask hides."""
    return int(tokenizer.pad_token_id) if tokenizer.pad_token_id is not None else 0


def _load_pooled(folder: Path) -> tuple[PooledClassifier | ArchitectureClassifier, int]:
    from safetensors.torch import load_file

    modules = {row["type"].rpartition(".")[2]: row["path"] for row in _read_json(folder / "modules.json")}
    dense = _read_json(folder / modules["Dense"] / "config.json")
    pooling = "cls" if _read_json(folder / modules["Pooling"] / "config.json")["pooling_mode_cls_token"] else "mean"
    module = PooledClassifier(
        load_encoder(folder), dense["out_features"], pooling=pooling, normalize="Normalize" in modules
    )
    weights = load_file(folder / modules["Dense"] / "model.safetensors")
    module.linear.load_state_dict({key.removeprefix("linear."): value for key, value in weights.items()})
    return module, int(_read_json(folder / "sentence_bert_config.json")["max_seq_length"])


def _load_architecture(folder: Path) -> tuple[PooledClassifier | ArchitectureClassifier, int]:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return ArchitectureClassifier(model), int(_read_json(folder / "autosft_encoder.json")["max_length"])


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # Another file system, or one without hard links.
        shutil.copyfile(source, target)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
