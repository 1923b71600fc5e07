"""Base models of the Hugging Face hub: its cache on this machine, and downloading into it.

Only files that can run no code are fetched. Which models to try is decided in `autosft.base_models`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from autosft.errors import BaseModelError, explain, nearest

# Configuration, tokenizer and safetensors, at any depth; never a pickle, remote code or another framework's export.
_FETCHED = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
_NOT_FETCHED = ["onnx/*", "openvino/*", "original/*", "*.py", "*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack"]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids asking the hub."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.strip().upper() in {"1", "ON", "YES", "TRUE"} for value in values)


def cache_folder() -> Path:
    """Returns the hub's cache, read from the environment at each call (huggingface_hub reads it once, at import)."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    base = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(base).expanduser() / "hub"


def is_hub_id(model_id: str, folder: str) -> bool:
    """Whether the id of a model, whose files are in this folder, is one of the hub and not a folder's path."""
    path = Path(model_id)
    if path.is_absolute() or model_id.startswith((".", "~")) or model_id.count("/") > 1:
        return False
    # A path may look like an id ("models/mine"), but then the files were found just there.
    return Path(folder).parts[-len(path.parts) :] != path.parts


def cached_ids() -> list[str]:
    """Returns the ids of the models whose safetensors are in the cache, in alphabetical order."""
    found = cache_folder().glob("models--*/snapshots/*/*.safetensors")
    return sorted({path.parents[2].name.removeprefix("models--").replace("--", "/") for path in found})


def cached_folder(model_id: str) -> Path | None:
    """Returns the folder of a model's main revision in the cache, or None when it is not there with its safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if not cache_folder().is_dir():
        return None
    try:
        folder = Path(snapshot_download(model_id, cache_dir=cache_folder(), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")) else None


def download(model_id: str, known_ids: Iterable[str]) -> Path:
    """Fetches a model's main revision into the cache and returns its folder.

    Args:
        known_ids: Ids that a misspelt one may have meant.

    Raises:
        BaseModelError: The model does not exist, is gated, or the hub cannot be reached.
    """
    import httpx2
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(model_id, cache_dir=cache_folder(), allow_patterns=_FETCHED, ignore_patterns=_NOT_FETCHED)
        )
    # A gated repository is also a RepositoryNotFoundError, so it is looked at first.
    except hub_errors.GatedRepoError as error:
        raise _gated(model_id) from error
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError) as error:
        raise _not_found(model_id, known_ids) from error
    except (hub_errors.HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise _unreachable(model_id, error) from error


def _gated(model_id: str) -> BaseModelError:
    return BaseModelError(
        explain(
            wrong=f"the base model '{model_id}' is gated and this machine has no access to it",
            expected="a model whose licence you have accepted, or an open one",
            fix=f"accept its terms at https://huggingface.co/{model_id}, then run `hf auth login` or set HF_TOKEN; "
            "or leave it out of models=",
        )
    )


def _not_found(model_id: str, known_ids: Iterable[str]) -> BaseModelError:
    match = nearest(model_id, known_ids)
    return BaseModelError(
        explain(
            wrong=f"there is no base model '{model_id}', neither as a folder here nor on the hub",
            expected="a local folder, or a hub id that exists; a private one needs HF_TOKEN",
            fix=f"did you mean '{match}'? Then name that one"
            if match
            else "look it up at https://huggingface.co/models",
        )
    )


def _unreachable(model_id: str, error: Exception) -> BaseModelError:
    return BaseModelError(
        explain(
            wrong=f"the base model '{model_id}' cannot be downloaded ({_first_line(error)})",
            expected="a connection to https://huggingface.co and free disk space, or the model in the local cache",
            fix="try again later, check the disk and the proxy (HTTPS_PROXY), or name a model folder of this machine",
        )
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"


def offline(model_id: str, known_ids: Iterable[str], at_hand: Iterable[str]) -> BaseModelError:
    """Words the error for a model that would have to be downloaded where that is not allowed."""
    at_hand = list(at_hand)
    match = nearest(model_id, [*known_ids, *at_hand])
    meant = f"did you mean '{match}'? " if match and match != model_id else ""
    here = f"use one that is here: {', '.join(at_hand[:10])}" if at_hand else "copy a model folder here and name it"
    return BaseModelError(
        explain(
            wrong=f"the base model '{model_id}' is not on this machine, and downloading is switched off",
            expected=f"a model folder, or a model in the hub cache {cache_folder()}",
            fix=f"{meant}{here}, or run `hf download {model_id}` where there is a network and unset HF_HUB_OFFLINE",
        )
    )
