"""The fitted model over an encoder, and the folders that it is saved in.

A head of the architecture's own is saved as a Transformers folder, a pooled head as a sentence-transformers folder, a
head over two texts as a file beside their encoder's.
The networks live in `autosft.trainers.networks`; how they are trained, in the trainers.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from autosft.accounting import phase
from autosft.base_models import BaseModel
from autosft.inputs import reader_class
from autosft.inputs.base import Examples, Reader
from autosft.inputs.text import ApartReader
from autosft.task import Input, Output
from autosft.trainers.base import FittedModel, Limits, TrainingData
from autosft.trainers.networks import (
    ArchitectureClassifier,
    Network,
    PairClassifier,
    PooledClassifier,
    device,
    load_encoder,
    load_with_head,
    logits_of,
    quiet_transformers,
    weights_key,
    with_scaled_logits,
    wrapped,
)
from autosft.trainers.objectives import OBJECTIVES, Objective, width_of

#: What a folder says of its network that the ecosystem's own files do not.
_NETWORK_FILE = "autosft_network.json"
_PAIR_HEAD_FILE = "pair_head.safetensors"
_ST_MODULES = "sentence_transformers.models"


def read_rows(
    reading: type[Reader], base_model: BaseModel, folder: Path, data: TrainingData, limits: Limits
) -> tuple[Reader, Examples, str]:
    """Returns what reads rows for a base model in `folder`, every row as it reads it, and the key that these have."""
    with phase("load"):
        reader = reading.of_base(folder, max_length=limits.max_length, context_tokens=base_model.context_tokens)
        key = f"{data.fingerprint}|{weights_key(folder)}"
        return reader, reader.cached(data.all, key, limits.cache), key


@dataclass
class EncoderModel(FittedModel):
    """A trained network with what reads its rows.

    Attributes:
        network: In evaluation mode.
        reader: Reads rows as they were read in training.
        input: What it is given.
        output: What it gives back.
        labels: Label names in output order, for the saved config; empty for a number.
        frozen_folder: Where a folder holds the encoder's very weights (the base model's where they are frozen, a
            loaded model's own), that folder, so that saving links the file instead of writing it again.
    """

    network: Network
    reader: Reader
    input: Input
    output: Output
    labels: tuple[str, ...]
    frozen_folder: Path | None = None

    @property
    def objective(self) -> Objective:
        """What its logits mean."""
        return OBJECTIVES[self.output](width_of(self.output, self.labels))

    def predict(self, inputs: pa.Table) -> pa.Array:
        examples, rows = self.reader.examples(inputs), np.arange(inputs.num_rows)
        return self.objective.outputs(examples, rows, logits_of(self.network, examples, rows))

    def scaled(self, temperature: float) -> EncoderModel | None:
        if self.output is not Output.LABEL:
            return None
        network = with_scaled_logits(self.network, temperature, width=self.objective.width)
        return None if network is None else replace(self, network=network)

    def averaged(self, others: Sequence[FittedModel]) -> EncoderModel | None:
        states = [one.network.state_dict() for one in (self, *others) if isinstance(one, EncoderModel)]
        shapes = [{name: value.shape for name, value in state.items()} for state in states]
        if len(states) <= len(others) or any(found != shapes[0] for found in shapes):
            return None
        network = copy.deepcopy(self.network)
        network.load_state_dict(
            {
                # Counters and masks are the same in all.
                name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
                for name, value in states[0].items()
            }
        )
        return replace(self, network=network, frozen_folder=None)

    def save(self, folder: Path) -> None:
        with phase("checkpoint"), quiet_transformers():
            self.reader.save(folder)
            inner = wrapped(self.network)
            inner.config.problem_type = self.objective.problem_type
            if self.labels:
                inner.config.id2label = dict(enumerate(self.labels))
                inner.config.label2id = {label: at for at, label in enumerate(self.labels)}
            if isinstance(self.network, ArchitectureClassifier):
                inner.save_pretrained(folder)
            elif isinstance(self.network, PairClassifier):
                self._save_pair(folder, self.network)
            else:
                self._save_pooled(folder, self.network)
            _write_json(folder / _NETWORK_FILE, {"input": self.input, "output": self.output, "labels": self.labels})

    def _save_pooled(self, folder: Path, module: PooledClassifier) -> None:
        """Writes the folder that sentence-transformers loads: Transformer, Pooling, (Normalize,) Dense to logits."""
        from safetensors.torch import save_file

        self._save_encoder(folder, cast(Any, module.encoder))
        size, width = module.linear.in_features, module.linear.out_features
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
        _write_json(
            folder / "sentence_bert_config.json",
            {"max_seq_length": cast(Any, self.reader).max_length, "do_lower_case": False},
        )
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
        config = {"in_features": size, "out_features": width, "bias": True, "activation_function": activation}
        _write_json(dense / "config.json", config)
        weights = {
            f"linear.{key}": value.detach().cpu().contiguous() for key, value in module.linear.state_dict().items()
        }
        save_file(weights, dense / "model.safetensors", metadata={"format": "pt"})

    def _save_pair(self, folder: Path, module: PairClassifier) -> None:
        """Writes the encoder as a Transformers folder, with the head beside it: no library has a format for both."""
        from safetensors.torch import save_file

        self._save_encoder(folder, cast(Any, module.encoder))
        head = {key: value.detach().cpu().contiguous() for key, value in module.linear.state_dict().items()}
        metadata = {
            "format": "pt",
            "pooling": module.pooling,
            "features": "u, v, |u - v|, u * v, overlap of 1-, 2- and 3-grams of characters, ratio of lengths",
        }
        save_file(head, folder / _PAIR_HEAD_FILE, metadata=metadata)

    def _save_encoder(self, folder: Path, encoder: Any) -> None:
        if self.frozen_folder and (self.frozen_folder / "model.safetensors").exists():
            encoder.config.save_pretrained(folder)
            _link(self.frozen_folder / "model.safetensors", folder / "model.safetensors")
        else:
            encoder.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> EncoderModel:
        """Loads any format from a folder that `save` wrote."""
        with phase("load"), quiet_transformers():
            row = _read_json(folder / _NETWORK_FILE)
            input, output = Input(row["input"]), Output(row["output"])
            network: Network
            reader: Reader
            if (folder / _PAIR_HEAD_FILE).exists():
                network, reader = _load_pair(folder), ApartReader.load(folder)
            else:
                pooled = (folder / "modules.json").exists()
                network = _load_pooled(folder) if pooled else _load_whole(folder, input, output)
                reader = reader_class(input).load(folder)
            network = network.to(device()).eval()
            return cls(network, reader, input, output, tuple(row["labels"]), frozen_folder=folder)


def _load_whole(folder: Path, input: Input, output: Output) -> ArchitectureClassifier:
    return ArchitectureClassifier(load_with_head(folder, input, output, width=None))


def _load_pair(folder: Path) -> PairClassifier:
    from safetensors import safe_open

    with safe_open(folder / _PAIR_HEAD_FILE, framework="pt") as file:
        head = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        pooling = file.metadata()["pooling"]
    network = PairClassifier(load_encoder(folder), len(head["bias"]), pooling=pooling)
    network.linear.load_state_dict(head)
    return network


def _load_pooled(folder: Path) -> PooledClassifier:
    from safetensors.torch import load_file

    modules = {row["type"].rpartition(".")[2]: row["path"] for row in _read_json(folder / "modules.json")}
    dense = _read_json(folder / modules["Dense"] / "config.json")
    pooling = "cls" if _read_json(folder / modules["Pooling"] / "config.json")["pooling_mode_cls_token"] else "mean"
    network = PooledClassifier(
        load_encoder(folder), dense["out_features"], pooling=pooling, normalize="Normalize" in modules
    )
    weights = load_file(folder / modules["Dense"] / "model.safetensors")
    network.linear.load_state_dict({key.removeprefix("linear."): value for key, value in weights.items()})
    return network


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # Another file system, or one without hard links.
        shutil.copyfile(source, target)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
