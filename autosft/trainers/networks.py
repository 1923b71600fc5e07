"""The networks that classify or measure one row: an encoder under a linear head, or an architecture with its own.

How they are trained lives in the trainers, how they are written and read in `autosft.trainers.encoder`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autosft.accounting import phase
from autosft.inputs.base import Examples
from autosft.inputs.batches import batches_by_length, typical
from autosft.inputs.overlap import NUM_OVERLAPS
from autosft.inputs.text import load_tokenizer
from autosft.task import Input, Output
from autosft.trainers.memory import in_batches_that_fit
from autosft.trainers.precision import inference

#: Rows predicted at once. Larger gains nothing on a CPU and risks memory at long lengths.
PREDICT_BATCH_SIZE = 64

#: Transformers' classes for an architecture's own head, by what is read and given back.
_HEADS = {
    (Input.TEXT, Output.LABEL): "AutoModelForSequenceClassification",
    (Input.TEXT, Output.LABELS): "AutoModelForSequenceClassification",
    (Input.TEXT, Output.NUMBER): "AutoModelForSequenceClassification",
    (Input.TEXT_PAIR, Output.LABEL): "AutoModelForSequenceClassification",
    (Input.TEXT_PAIR, Output.NUMBER): "AutoModelForSequenceClassification",
    (Input.TOKENS, Output.TOKEN_LABELS): "AutoModelForTokenClassification",
    (Input.IMAGE, Output.LABEL): "AutoModelForImageClassification",
}


#: A batch smaller than this, mostly the last of an epoch, is normalised by running statistics: its own are noise, and
#: of one row there may be none.
_FEW_ROWS = 8

#: Rows by whose lengths a prediction's speed is known, batches that are timed for it, and rows of the first of these;
#: the others are larger, where there is time for that.
_KNOWN_ROWS, _TIMED_BATCHES, _FIRST_ROWS = 2048, 5, 16

#: Goes up with any change to what `autosft.inputs` or `autosft.data.pixels` make of the same rows, or to what is kept
#: of it in a cache.
_READING = 1


class PooledClassifier(nn.Module):
    """Encoder, pooling over tokens, optional L2 normalisation, dropout, linear layer to one value an output."""

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
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
        self.linear = nn.Linear(cast(Any, encoder).config.hidden_size, width)

    def features(self, attention_mask: torch.Tensor, **batch: torch.Tensor) -> torch.Tensor:
        """Returns one vector a row, shape (rows, hidden size)."""
        hidden = self.encoder(attention_mask=attention_mask, **batch).last_hidden_state
        return pool(hidden, attention_mask, self.pooling, self.normalize)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (rows, width)."""
        features = self.dropout(self.features(**batch))
        # The head in float32: in bf16 a saved model's probabilities would not be those that were measured.
        with torch.autocast(features.device.type, enabled=False):
            return cast(torch.Tensor, self.linear(features.float()))


class ArchitectureClassifier(nn.Module):
    """An architecture with a head of its own behind the same call as `PooledClassifier`.

    Args:
        dropout: Before the layer that gives the logits, beside what the architecture drops by itself.
    """

    def __init__(self, model: nn.Module, *, dropout: float = 0.0):
        super().__init__()
        self.model = model
        if dropout:
            last_linear(model).register_forward_pre_hook(
                lambda layer, given: nn.functional.dropout(given[0], dropout, layer.training)
            )

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (rows, width); of a classifier of tokens (rows, tokens, width)."""
        if self.training:
            # They stay so for the backward pass, which may compute activations again.
            enough = len(next(iter(batch.values()))) >= _FEW_ROWS
            for norm in self._batch_norms():
                norm.train(enough and not _is_frozen(norm))
        return cast(torch.Tensor, self.model(**batch).logits)

    def features(self, **batch: torch.Tensor) -> torch.Tensor:
        """Returns what the layer that gives the logits is given, shape (rows, its size)."""
        with features_of(self) as given:
            self.model(**batch)
        return given[-1]

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def _is_frozen(norm: nn.Module) -> bool:
    """Whether the part of a network that a normalisation is in stays as it is: then so must its running statistics."""
    own = list(norm.parameters())
    return bool(own) and not any(parameter.requires_grad for parameter in own)


class PairClassifier(nn.Module):
    """Encoder of two texts apart, linear layer on how they compare (SentenceBERT, arXiv 1908.10084)."""

    def __init__(self, encoder: nn.Module, width: int, *, pooling: str = "mean"):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.linear = nn.Linear(4 * cast(Any, encoder).config.hidden_size + NUM_OVERLAPS, width)

    def features(self, **batch: torch.Tensor) -> torch.Tensor:
        """Returns each text's vector u and v, |u - v|, u * v and the overlap, shape (rows, 4 * hidden size + overlaps).

        Args:
            batch: The tensors of either text, their names after "first_" and "second_", and "overlap": an encoder that
                was not made for a language still sees which texts are nearly the same.
        """
        first, second = (self._vector(batch, side) for side in ("first_", "second_"))
        return torch.cat([first, second, (first - second).abs(), first * second, batch["overlap"]], dim=-1)

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (rows, width)."""
        features = self.features(**batch)
        with torch.autocast(features.device.type, enabled=False):
            return cast(torch.Tensor, self.linear(features.float()))

    def _vector(self, batch: dict[str, torch.Tensor], side: str) -> torch.Tensor:
        own = {name.removeprefix(side): values for name, values in batch.items() if name.startswith(side)}
        hidden = self.encoder(**own).last_hidden_state
        return pool(hidden, own["attention_mask"], self.pooling, normalize=False)


Network = PooledClassifier | PairClassifier | ArchitectureClassifier


def wrapped(network: Network) -> Any:
    """Returns the Transformers model inside of a network."""
    return network.model if isinstance(network, ArchitectureClassifier) else network.encoder


def can_checkpoint(network: Network) -> bool:
    """Whether a network can compute activations again in the backward pass instead of keeping them."""
    return bool(wrapped(network).supports_gradient_checkpointing)


@contextlib.contextmanager
def checkpointed(network: Network, wanted: bool) -> Iterator[None]:
    """Lets a network compute activations again where that is wanted, and puts it back."""
    if not wanted:
        yield
        return
    model = wrapped(network)
    with quiet_transformers():
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        with quiet_transformers():
            model.gradient_checkpointing_disable()


def last_linear(network: nn.Module) -> nn.Linear:
    """Returns the layer that gives the logits."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


@contextlib.contextmanager
def features_of(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collects the features that the head of a network is given, while this is open; of a pooled head, all of them."""
    given: list[torch.Tensor] = []
    head = network.dropout if isinstance(network, PooledClassifier) else last_linear(network)
    hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        yield given
    finally:
        hook.remove()


def with_scaled_logits(network: Network, temperature: float, *, width: int) -> Network | None:
    """Returns a network with the logits divided by a temperature, which shares all weights but those of its last layer.

    Args:
        width: Of the logits.

    Returns:
        None where the last layer does not give the logits.
    """
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linears or linears[-1].out_features != width:
        return None
    own = {id(value) for value in linears[-1].parameters()}
    shared = {id(value): value for value in (*network.parameters(), *network.buffers()) if id(value) not in own}
    scaled = copy.deepcopy(network, shared)
    with torch.no_grad():
        for value in last_linear(scaled).parameters():
            value.div_(temperature)
    return scaled


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: str, normalize: bool) -> torch.Tensor:
    """Pools token vectors (rows, tokens, size) to (rows, size): "mean" over real tokens, or "cls" for the first."""
    if pooling == "cls":
        pooled = hidden[:, 0]
    else:
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return nn.functional.normalize(pooled, dim=-1) if normalize else pooled


def set_linear(linear: nn.Linear, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Copies weights (width, size) and bias (width,) into a layer."""
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights))
        linear.bias.copy_(torch.from_numpy(bias))


def device() -> torch.device:
    """Returns the device this process trains on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps Transformers' progress bars off the screen, and remarks about new heads and names that it gave up."""
    from transformers.utils import logging

    had_bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            # TRL and PEFT, and all releases of Transformers 5, still use these.
            warnings.filterwarnings("ignore", r".*gradient_checkpointing\w*` is deprecated", FutureWarning)
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


def load_with_head(folder: Path, input: Input, output: Output, *, width: int | None, **overrides: Any) -> nn.Module:
    """Loads an architecture with its own head in float32.

    Args:
        width: Values it gives a row or token; a head for another number is made anew. None takes it as it is saved.
    """
    import transformers

    if input is Input.IMAGE:
        import autosft.trainers.pixels  # noqa: F401 - makes its model type known to Transformers

    if width is not None:
        # A base that is a classifier already has a head for other labels.
        overrides |= {"num_labels": width, "ignore_mismatched_sizes": True}
    with phase("load"), quiet_transformers():
        model = getattr(transformers, _HEADS[input, output]).from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, **overrides
        )
        config = model.config.get_text_config()
        if input in (Input.TEXT, Input.TEXT_PAIR) and config.pad_token_id is None:
            # A decoder's head reads a row's last token, which it tells from padding by the model's own setting.
            config.pad_token_id = load_tokenizer(folder).pad_token_id
    return cast(nn.Module, model)


def weights_key(folder: Path) -> str:
    """Returns what tells a model's files, and what reads rows for it, from others.

    Of files these are sizes and times, which change where the same folder holds another model; of what reads them the
    versions: a model that was trained on what an older one read would be given something else to predict.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    readers = [_READING, *map(_version, ("transformers", "tokenizers", "pillow"))]
    return hashlib.sha256(f"{folder.resolve()}{stats}{readers}".encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def as_loaded(network: nn.Module) -> None:
    """Takes away the forward that Accelerate or TRL put on this one object: the class's own is what a loaded one has.

    Theirs computes in bfloat16 on a GPU.
    """
    network.__dict__.pop("forward", None)
    network.__dict__.pop("_original_forward", None)


def rows_per_second(
    run: Callable[[NDArray[np.int64]], object], examples: Examples, rows: NDArray[np.int64], *, seconds: float
) -> float:
    """Returns the speed of a prediction on a sample of `rows`, which takes about so many seconds.

    Many rows are predicted in batches that are each of one length. A few rows of all lengths together would be padded
    more, and be slower by half; so batches of one length are timed: a middling, shorter and longer ones.
    """
    known = np.random.default_rng(0).permutation(rows)[:_KNOWN_ROWS]
    lengths = np.array([examples.lengths[examples.of_rows(known[at : at + 1])].sum() for at in range(len(known))])
    batches = [*batches_by_length(lengths, PREDICT_BATCH_SIZE)]
    chosen = [batches[at] for at in dict.fromkeys(typical(np.arange(len(batches)), _TIMED_BATCHES).tolist())]
    size, seconds_per_row = _FIRST_ROWS, list[float]()
    run(known[chosen[0][:size]])  # The first pass also pays for allocation.
    started = time.perf_counter()
    for batch in chosen:
        begun = time.perf_counter()
        run(known[batch[:size]])
        now = time.perf_counter()
        seconds_per_row.append((now - begun) / len(batch[:size]))
        if now - started >= seconds:
            break
        size *= 2
    return 1 / float(np.mean(seconds_per_row))


def logits_of(
    network: nn.Module, examples: Examples, rows: NDArray[np.int64], *, batch_size: int = PREDICT_BATCH_SIZE
) -> list[NDArray[np.float32]]:
    """Runs a network over some rows' examples, the longest first; returns each example's logits, in their order.

    Logits of an example have the shape (width,), or (tokens, width) with the padding of its batch left on. They are
    computed in float32 on a GPU too, in the midst of a training as well, so that a model predicts elsewhere what it
    was measured to.

    Raises:
        TrialFailed: Not even one row fits in memory.
    """
    positions = examples.of_rows(rows)
    where = next(network.parameters()).device
    was_training = network.training
    network.eval()

    def run(batch_size: int) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(positions)
        with inference():
            for batch in batches_by_length(examples.lengths[positions], batch_size):
                tensors = {name: value.to(where) for name, value in examples.collate(positions[batch]).items()}
                # The class's own forward: see `as_loaded`.
                logits = type(network).forward(network, **tensors)
                for at, values in zip(batch, logits.float().cpu().numpy(), strict=True):
                    found[at] = values
        return found

    try:
        return in_batches_that_fit(run, batch_size, max_length=examples.max_length)[0]
    finally:
        network.train(was_training)
