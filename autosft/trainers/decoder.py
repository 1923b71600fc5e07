"""The fitted decoder: what it generates, how likely it takes a text to be, and the folder that it is saved in.

A plain Transformers folder, for which neither TRL nor PEFT is needed. How it is trained lives in the trainers.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from autosft.accounting import phase
from autosft.arrays import one_array
from autosft.inputs.prompt_tokens import NOT_LEARNED, PromptTokens
from autosft.inputs.prompts import MessagesReader, PromptReader
from autosft.inputs.text import pad_token_id
from autosft.task import Input, Task
from autosft.trainers.base import FittedModel
from autosft.trainers.memory import in_batches_that_fit
from autosft.trainers.networks import device, quiet_transformers
from autosft.trainers.precision import inference

#: Logits of one pass in prediction may take this much, on a CPU and on a GPU.
_LOGIT_BYTES, _GPU_LOGIT_BYTES = 2**28, 2**31
#: Rows in a pass, and generated at once, where memory is enough.
_ROWS_AT_ONCE, _GENERATED_AT_ONCE = 64, 32
#: Tokens generated after at once, room for the answers included: each keeps its keys and values of every layer.
_PROMPT_TOKENS = 32_768

#: What a folder says that the ecosystem's own files do not.
_FILE = "autosft_generator.json"

#: Who reads rows for a decoder.
PROMPT_READERS = {Input.TEXT: PromptReader, Input.MESSAGES: MessagesReader}


def generates(task: Task) -> bool:
    """Whether scoring needs generated texts, which cost many times what likelihoods do."""
    return task.answer is not None or task.metric.function is not None or task.metric.name == "exact_match"


@dataclass
class TextGenerator(FittedModel):
    """A trained decoder with what reads its rows.

    Attributes:
        network: In evaluation mode; its generation config ends answers and bounds their length.
        reader: Reads rows as they were read in training.
        input: What it is given.
    """

    network: Any
    reader: PromptReader
    input: Input

    def predict(self, inputs: pa.Table) -> pa.Array:
        """Returns the text that follows each row, generated greedily."""
        with phase("evaluate"):
            prompts = self.reader.prompts(inputs, max_new_tokens=self._max_new_tokens)
            texts = self._generate(prompts)
        return _outputs(pa.nulls(len(texts), pa.float64()), texts)

    def judge(self, task: Task, inputs: pa.Table, targets: pa.Array) -> pa.Array:
        """Returns the likelihood of the targets and, where scoring asks for it, what is generated in their place.

        In a conversation each answer is generated after the true ones before it. Where a target was cut to fit the
        model, its likelihood is taken to go on as it began, so that a short context gives no better score.
        """
        table = _with_targets(inputs, targets)
        with phase("evaluate"):
            examples = self.reader.examples(table)
            nats = nats_of(self.network, examples, np.arange(len(examples)))
            texts: list[str | None] = [None] * len(examples)
            if generates(task):
                prompts, owners = self.reader.answer_prompts(table, max_new_tokens=self._max_new_tokens)
                for owner, text in zip(owners, self._generate(prompts), strict=True):
                    before = texts[owner]
                    texts[owner] = text if before is None else f"{before}\n{text}"
        # Null is a row without a target; NaN stays what it is, a model that diverged.
        unknown = one_array(targets).is_null().to_numpy(zero_copy_only=False)
        return _outputs(pa.array(nats, pa.float64(), mask=unknown), texts)

    def save(self, folder: Path) -> None:
        with phase("checkpoint"), quiet_transformers():
            self.reader.save(folder)
            self.network.save_pretrained(folder)
            row = {"input": self.input, "max_new_tokens": self._max_new_tokens}
            (folder / _FILE).write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TextGenerator:
        """Loads a folder that `save` wrote; needs neither TRL nor PEFT."""
        with phase("load"):
            network = load_decoder(folder, "auto")
            input = Input(json.loads((folder / _FILE).read_text(encoding="utf-8"))["input"])
            return cls(network.to(device()).eval(), PROMPT_READERS[input].load(folder), input)

    @property
    def _max_new_tokens(self) -> int:
        return int(self.network.generation_config.max_new_tokens)

    def _generate(self, prompts: list[list[int]]) -> list[str]:
        """Generates after each prompt, the longest first, padded on the left.

        Raises:
            TrialFailed: Not even one prompt fits in memory.
        """
        found: dict[int, str] = {}
        lengths = np.array([len(prompt) for prompt in prompts], np.int64) + self._max_new_tokens

        def run(batch_size: int) -> None:
            tokens = _PROMPT_TOKENS * batch_size // _GENERATED_AT_ONCE
            # Generating is slow, so what was found before memory ran out is kept.
            rows = np.array([row for row in range(len(prompts)) if row not in found], np.int64)
            for batch in _batches_of_tokens(lengths[rows], tokens, batch_size):
                chosen = rows[batch].tolist()
                found.update(zip(chosen, self._generated([prompts[row] for row in chosen]), strict=True))

        in_batches_that_fit(run, _GENERATED_AT_ONCE, max_length=int(lengths.max(initial=1)))
        return [found[row] for row in range(len(prompts))]

    def _generated(self, prompts: list[list[int]]) -> list[str]:
        """Generates after the prompts of one batch."""
        pad, where = pad_token_id(self.reader.tokenizer), next(self.network.parameters()).device
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for at, prompt in enumerate(prompts):
            ids[at, longest - len(prompt) :] = torch.tensor(prompt)
            mask[at, longest - len(prompt) :] = 1
        with inference(), quiet_transformers():
            made = self.network.generate(input_ids=ids.to(where), attention_mask=mask.to(where))
        stops = set(self.reader.stop_ids)
        ends = (
            (new, next((at for at, token in enumerate(new) if token in stops), len(new)))
            for new in made[:, longest:].tolist()
        )
        return [self.reader.text_of(new[:end]) for new, end in ends]


def nats_of(network: Any, examples: PromptTokens, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the negative log-likelihood of the learned tokens of each row, in nats, shape (rows,).

    Only their logits are computed, in float32: a vocabulary is many times as wide as a hidden state. Tokens that were
    cut off are counted at the mean of those that stayed.

    Raises:
        TrialFailed: Not even one row fits in memory.
    """
    where = next(network.parameters()).device
    budget = _GPU_LOGIT_BYTES if where.type == "cuda" else _LOGIT_BYTES
    tokens_at_once = max(1, budget // (8 * network.config.get_text_config().vocab_size))

    def run(batch_size: int) -> NDArray[np.float64]:
        found = np.zeros(len(rows), np.float64)
        tokens = tokens_at_once * batch_size // _ROWS_AT_ONCE
        for batch in _batches_of_tokens(examples.lengths[rows], tokens, batch_size):
            found[batch] = _nats(network, examples.collate(rows[batch]), where)
        return found

    found, _ = in_batches_that_fit(run, _ROWS_AT_ONCE, max_length=int(examples.lengths[rows].max(initial=1)))
    kept_share = examples.num_learned[rows] / np.maximum(examples.full_learned[rows], 1)
    return found / np.where(kept_share > 0, kept_share, 1.0)


@inference()
def _nats(network: Any, batch: dict[str, torch.Tensor], where: torch.device) -> NDArray[np.float64]:
    tensors = {name: value.to(where) for name, value in batch.items()}
    wanted = tensors.pop("labels")[:, 1:]
    # The logits at a position are about the next one.
    kept = torch.nonzero((wanted != NOT_LEARNED).any(dim=0)).flatten()
    if not len(kept):
        return np.zeros(len(wanted), np.float64)
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    keeps = "logits_to_keep" in inspect.signature(type(inner).forward).parameters
    extra = {"logits_to_keep": kept} if keeps else {}
    logits = network(**tensors, use_cache=False, **extra).logits
    logits = (logits if keeps else logits[:, kept]).float()
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1), wanted[:, kept].flatten(), ignore_index=NOT_LEARNED, reduction="none"
    )
    summed: NDArray[np.float64] = losses.view(len(wanted), -1).double().sum(dim=1).cpu().numpy()
    return summed


def _batches_of_tokens(lengths: NDArray[np.integer[Any]], tokens: int, most_rows: int) -> list[NDArray[np.int64]]:
    """Returns row positions, longest first, in batches of at most so many tokens and rows, or of one row."""
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        rows = int(np.clip(tokens // max(1, int(lengths[order[start]])), 1, most_rows))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def _outputs(nats: pa.Array, texts: list[str | None] | list[str]) -> pa.Array:
    return pa.StructArray.from_arrays([nats, pa.array(texts, pa.string())], names=["nats", "text"])


def _with_targets(inputs: pa.Table, targets: pa.Array) -> pa.Table:
    others = inputs.drop_columns(["target"]) if "target" in inputs.column_names else inputs
    return others.append_column("target", one_array(targets))


def load_decoder(folder: Path, dtype: Any) -> Any:
    """Loads a decoder from a folder with safetensors."""
    from transformers import AutoModelForCausalLM

    with phase("load"), quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
