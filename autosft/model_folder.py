"""Reading a model folder without loading it: its configuration, and the headers of its safetensors files.

Finding a folder by a model's id lives in `autosft.base_models`; no weight is read here.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autosft.errors import BaseModelError, explain

# Positions of these architectures start after the padding index, so two rows of the table are never used.
_OFFSET_POSITIONS = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"})
# What architectures call the longest input, MPT and Bloom among them, and what is taken where nothing says it.
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
_UNKNOWN_CONTEXT = 512
# Model types that read images and may not say an image's size.
_IMAGE_TYPES = frozenset({
    "autosft-pixels", "beit", "bit", "convnext", "convnextv2", "deit", "dinov2", "dinov2_with_registers", "focalnet",
    "efficientnet", "levit", "mobilenet_v1", "mobilenet_v2", "mobilevit", "poolformer", "pvt", "regnet", "resnet",
    "swin", "swinv2", "vit",
})  # fmt: skip
_PROCESSOR_FILE = "preprocessor_config.json"
_MAX_HEADER_BYTES = 100_000_000


def check_model_folder(folder: Path) -> Path:
    """Returns `folder` once it is known to hold a configuration and whole safetensors files.

    Raises:
        BaseModelError: There is no config.json, there are no safetensors, or one of these files is damaged.
    """
    read_config(folder)
    for file in _weight_files(folder):
        _read_header(file)
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the folder's config.json.

    Raises:
        BaseModelError: It is missing, or is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise BaseModelError(
            explain(
                wrong=f"the model folder {folder} has no config.json",
                expected="a folder in the format of Transformers, as save_pretrained writes it",
                fix="name the folder that holds config.json and model.safetensors themselves, or a hub id",
            )
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise _damaged(path, f"it holds a {type(config).__name__} where an object belongs")
    return config


def reads_images(folder: Path, config: Mapping[str, Any]) -> bool:
    """Tells an image model by its architectures, or else by what its configuration and its processor speak of."""
    architectures = config.get("architectures") or []
    if any("ForImageClassification" in name for name in architectures):
        return True
    if config.get("vocab_size") or config.get("text_config"):
        return False
    return "image_size" in config or config.get("model_type") in _IMAGE_TYPES or (folder / _PROCESSOR_FILE).is_file()


def image_side(folder: Path, config: Mapping[str, Any]) -> int:
    """Returns the pixels of a side that an image model is given, by its processor or else its configuration."""
    path = folder / _PROCESSOR_FILE
    try:
        row = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    cut = row.get("crop_size") if row.get("do_center_crop") else None
    for size in (cut, row.get("size"), config.get("image_size")):
        found = size.get("height") or size.get("shortest_edge") if isinstance(size, dict) else size
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, int):
            return found
    return 224


def context_tokens(config: Mapping[str, Any]) -> int:
    """Returns the longest input in tokens that a configuration allows, special tokens included.

    What reads text has a part of its own in the configuration of a model that reads images too.
    """
    text = {**config, **(config.get("text_config") or {})}
    positions = next((int(text[name]) for name in _CONTEXT_NAMES if text.get(name)), None)
    if positions is None:
        positions = _usual_context(str(text.get("model_type")))
    return positions - 2 if text.get("model_type") in _OFFSET_POSITIONS else positions


def _usual_context(model_type: str) -> int:
    """Returns what Transformers takes where a configuration is silent, as Gemma 3's are."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.for_model(model_type)
    except ValueError:
        return _UNKNOWN_CONTEXT
    return next((int(value) for name in _CONTEXT_NAMES if (value := getattr(config, name, None))), _UNKNOWN_CONTEXT)


def num_parameters(folder: Path) -> int:
    """Returns the number of weights in the folder, counted in the headers of its safetensors files.

    Raises:
        BaseModelError: There are no safetensors, or one is damaged.
    """
    headers = [_read_header(file) for file in _weight_files(folder)]
    return sum(
        math.prod(tensor["shape"])
        for header in headers
        for tensor in header.values()
        # Older checkpoints carry their position ids along, which are not weights.
        if not tensor["dtype"].startswith(("I", "U", "BOOL"))
    )


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
        for file in files:
            if not file.is_file():
                raise _damaged(file, "a part of the model is missing")
        return files
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".h5"})
    raise BaseModelError(
        explain(
            wrong=f"the model folder {folder} has no model.safetensors"
            + (f" (it holds {', '.join(others)}, which are not read: a pickle can run code)" if others else ""),
            expected="weights in the safetensors format",
            fix="convert them where you trust their origin: "
            "AutoModel.from_pretrained(folder, use_safetensors=False).save_pretrained(new_folder)",
        )
    )


def _read_header(file: Path) -> dict[str, Any]:
    """Returns a safetensors file's tensors by name (https://huggingface.co/docs/safetensors: Format)."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        num_header_bytes = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= num_header_bytes <= min(size - 8, _MAX_HEADER_BYTES):
            raise _damaged(file, f"its {size} bytes are not a safetensors file")
        text = stream.read(num_header_bytes)
    try:
        header: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise _damaged(file, "its header is not JSON") from error
    header.pop("__metadata__", None)
    end = 8 + num_header_bytes + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if end != size:
        raise _damaged(file, f"it has {size} bytes where its header promises {end}")
    return header


def _damaged(file: Path, what: str) -> BaseModelError:
    return BaseModelError(
        explain(
            wrong=f"{file} is damaged: {what}",
            expected="the file as it was published",
            fix="fetch the model again; a file of a few hundred bytes may be a Git LFS pointer (git lfs pull)",
        )
    )
