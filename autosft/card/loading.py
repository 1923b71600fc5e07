"""How a model's folder is loaded, as code that runs in it: with autosft, and with the library whose format it has.

Which library reads which folder was found by running it, see `tests/test_card.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from autosft.card.markdown import literal
from autosft.errors import DataError
from autosft.inputs.terms import TERMS_FILE
from autosft.made_models import PIXELS_MODEL_TYPE
from autosft.task import Input, Output, Task
from autosft.tasks import kind as task_kind
from autosft.trainers.ensemble import ENSEMBLE_FILE

#: Transformers' pipelines by what a model is given and gives back. A number is a classification without classes there.
_PIPELINES = {
    **{
        (input, output): "text-classification"
        for input in (Input.TEXT, Input.TEXT_PAIR)
        for output in (Output.LABEL, Output.LABELS, Output.NUMBER)
    },
    (Input.TOKENS, Output.TOKEN_LABELS): "token-classification",
    (Input.IMAGE, Output.LABEL): "image-classification",
    (Input.TEXT, Output.TEXT): "text-generation",
    (Input.MESSAGES, Output.TEXT): "text-generation",
}

_PHOTO = "photo.png"
_TEXTS = ("a text", "another text", "one more text")
_FOLDER = 'folder = "."  # the path of this folder'
#: Labels, and the thresholds of several, stand nowhere else in their order.
_READ_TASK = 'task = json.loads(Path(folder, "autosft.json").read_text(encoding="utf-8"))["task"]'
_JSON_IMPORTS = ["import json", "from pathlib import Path", ""]


@dataclass(frozen=True)
class Loading:
    """How another library loads a folder.

    Attributes:
        library: Its name on the hub; "autosft" where no other library loads the folder, None where that is not known.
        code: An example that runs in the folder; empty where there is none.
        remarks: What to know, and what not to load it with, a sentence or two each.
    """

    library: str | None
    code: str = ""
    remarks: tuple[str, ...] = ()


def pipeline_tag(task: Task) -> str | None:
    """Returns what the hub calls what a model does, or None where it has no word for it."""
    kind = task_kind(task.kind)
    return _PIPELINES.get((kind.input, kind.output))


def own_example(task: Task, *, words_are_texts: bool = False) -> str:
    """Returns the example with autosft: rows with the task's own columns.

    Args:
        words_are_texts: Whether the rows whose words are labelled came as texts, and not as lists of words.
    """
    rows = literal(_example_rows(task, words_are_texts))
    exists = "  # the path of a file that exists" if task_kind(task.kind).input is Input.IMAGE else ""
    lines = ["import autosft", "", _FOLDER, "model = autosft.load(folder)", f"rows = {rows}{exists}"]
    return "\n".join([*lines, "predictions = model.predict(rows)", "print(predictions)"])


def loading(folder: Path, task: Task) -> Loading:
    """Returns how a library other than autosft loads a model's folder, by the files in it."""
    try:
        return _loading(folder, task)
    except DataError:
        # A kind from a package outside may read its columns otherwise than the example has them.
        return Loading(None)


def _loading(folder: Path, task: Task) -> Loading:
    kind = task_kind(task.kind)
    name = pipeline_tag(task)
    if (folder / ENSEMBLE_FILE).exists():
        has_terms = any(folder.rglob(TERMS_FILE))
        return Loading("autosft", remarks=(_NO_ENSEMBLE, _TERMS) if has_terms else (_NO_ENSEMBLE,))
    if (folder / "pair_head.safetensors").exists():
        return Loading("autosft", remarks=(_NO_PAIR_HEAD,))
    if (folder / TERMS_FILE).exists():
        return Loading("autosft", remarks=(_NO_TERMS, _TERMS))
    if _read_json(folder / "config.json").get("model_type") == PIXELS_MODEL_TYPE:
        return Loading("autosft", remarks=(_NO_PIXELS,))
    if (folder / "modules.json").exists():
        return Loading("sentence-transformers", _sentence_code(task), (_NO_POOLED_HEAD,))
    if not (folder / "config.json").exists() or name is None:
        return Loading(None)
    if kind.output is Output.TEXT:
        return _generation(folder, task)
    if kind.input is Input.IMAGE:
        return Loading("transformers", _image_code(), (_IMAGE_FILES,))
    if kind.input is Input.TOKENS:
        return Loading("transformers", _token_code(), (_WORDS, _WINDOWS))
    return Loading("transformers", _text_code(folder, task))


_NO_ENSEMBLE = (
    "No other library loads this ensemble. Its first member lies in this folder, and the others in members/: what "
    "other libraries load is one of them alone, whose answers are not those of all together."
)
_NO_PAIR_HEAD = (
    "No other library loads this model. The head in pair_head.safetensors compares two texts, for which none has a "
    'format: transformers.pipeline("text-classification") and CrossEncoder of sentence-transformers put a head of '
    "random weights in its place, and their answers mean nothing."
)
_NO_PIXELS = "No other library loads this model: its network is autosft's own."
_NO_TERMS = "No other library loads this model."
_TERMS = (
    f"Words, and pieces of words, come from the training rows and stand in {TERMS_FILE}: who gets the folder can read "
    "them."
)
_NO_POOLED_HEAD = (
    'Do not load it with transformers.pipeline("text-classification"), with AutoModelForSequenceClassification, or as '
    "a CrossEncoder: they do not read the head of this folder, put one of random weights in its place, and their "
    "answers mean nothing."
)
_IMAGE_FILES = (
    "autosft scales images with Pillow. A processor that works with torchvision may scale them a little otherwise."
)
_WORDS = (
    "The model was trained on words joined by single spaces, and a word's tag is read off its first token: pass text "
    'of that form, and aggregation_strategy="first".'
)
_WINDOWS = "autosft reads a text that is longer than the model takes in several windows; the pipeline does not."


def _example_rows(task: Task, words_are_texts: bool) -> list[Any]:
    input, columns = task_kind(task.kind).input, task.input_columns
    if input is Input.IMAGE:
        return [{columns[0]: _PHOTO}]
    if input is Input.MESSAGES:
        return [{columns[0]: [{"role": "user", "content": "a question"}]}]
    if input is Input.TOKENS and not words_are_texts:
        return [{columns[0]: ["some", "words"]}]
    if len(columns) == 1:
        return [_TEXTS[0]]
    return [{name: _TEXTS[min(at, len(_TEXTS) - 1)] for at, name in enumerate(columns)}]


def _canonical(task: Task) -> Mapping[str, Any]:
    """Returns the example's row as a model is given it."""
    rows = _example_rows(task, words_are_texts=False)
    rows = [row if isinstance(row, dict) else {task.input_columns[0]: row} for row in rows]
    row: dict[str, Any] = task_kind(task.kind).encode_inputs(task, pa.Table.from_pylist(rows)).to_pylist()[0]
    return row


def _joined(task: Task) -> list[str]:
    """Returns a comment where several columns make one text."""
    columns = task.input_columns[1:] if task_kind(task.kind).input is Input.TEXT_PAIR else task.input_columns
    return [f"# Columns {literal(list(columns))} are joined as here."] if len(columns) > 1 else []


def _sentence_code(task: Task) -> str:
    row, output = _canonical(task), task_kind(task.kind).output
    pair = "text_pair" in row
    text = f"({literal(row['text'])}, {literal(row['text_pair'])})" if pair else literal(row["text"])
    numbers = output is Output.NUMBER
    lines = [] if numbers else _JSON_IMPORTS
    lines = [*lines, "from sentence_transformers import SentenceTransformer", "", _FOLDER]
    lines += [] if numbers else [_READ_TASK]
    lines += ["model = SentenceTransformer(folder)", *_joined(task)]
    lines.append(f"logits = model.encode([{text}], convert_to_tensor=True)")
    lines += {
        Output.LABEL: [
            "probabilities = logits.softmax(dim=1)",
            'predictions = [task["labels"][at] for at in probabilities.argmax(dim=1).tolist()]',
        ],
        Output.LABELS: [
            "probabilities = logits.sigmoid()",
            'thresholds = task["thresholds"] or [0.5] * len(task["labels"])',
            "predictions = [",
            '    [label for label, value, least in zip(task["labels"], row, thresholds) if value >= least]',
            "    for row in probabilities.tolist()",
            "]",
        ],
        Output.NUMBER: ["predictions = logits[:, 0].tolist()"],
    }[output]
    return "\n".join([*lines, "print(predictions)"])


def _text_code(folder: Path, task: Task) -> str:
    row, output = _canonical(task), task_kind(task.kind).output
    several = output is Output.LABELS
    given = literal({"text": row["text"], "text_pair": row["text_pair"]} if "text_pair" in row else row["text"])
    length = _read_json(folder / "autosft_reader.json").get("max_length")
    cut = "truncation=True" + (f", max_length={int(length)}" if length else "")
    lines = [*(_JSON_IMPORTS if several else []), "from transformers import pipeline", "", _FOLDER]
    lines += [_READ_TASK] if several else []
    lines.append(f'classify = pipeline("text-classification", model=folder{", top_k=None" if several else ""})')
    lines += [*_joined(task), f"found = classify([{given}], {cut})"]
    if several:
        lines += [
            'thresholds = task["thresholds"] or [0.5] * len(task["labels"])',
            "predictions = []",
            "for row in found:",
            '    values = {item["label"]: item["score"] for item in row}',
            '    predictions.append([label for label, least in zip(task["labels"], thresholds) '
            "if values[label] >= least])",
        ]
    else:
        lines.append(f'predictions = [row["{"score" if output is Output.NUMBER else "label"}"] for row in found]')
    return "\n".join([*lines, "print(predictions)"])


def _token_code() -> str:
    return "\n".join(
        [
            "from transformers import pipeline",
            "",
            _FOLDER,
            'tag = pipeline("token-classification", model=folder, aggregation_strategy="first")',
            'entities = tag("some words")',
            "print(entities)",
        ]
    )


def _image_code() -> str:
    return "\n".join(
        [
            "from transformers import pipeline",
            "",
            _FOLDER,
            'classify = pipeline("image-classification", model=folder)',
            f'found = classify(["{_PHOTO}"])  # the path of a file that exists',
            'predictions = [row[0]["label"] for row in found]',
            "print(predictions)",
        ]
    )


def _generation(folder: Path, task: Task) -> Loading:
    row, template = _canonical(task), _chat_template(folder)
    messages = row.get("messages") or [{"role": "user", "content": row.get("text", "")}]
    # As `autosft.inputs.prompts` renders a row: in the model's template, or else before a line break.
    given = literal(messages if template else f"{row['text']}\n")
    # autosft starts every answer after the empty thinking of a model that can think.
    thinks = ', tokenizer_encode_kwargs={"enable_thinking": False}' if "enable_thinking" in template else ""
    lines = [
        "from transformers import pipeline",
        "",
        _FOLDER,
        'write = pipeline("text-generation", model=folder)',
        *_joined(task),
        f"found = write({given}, return_full_text=False{thinks})",
        'predictions = [row["generated_text"] for row in found]',
        "print(predictions)",
    ]
    remarks = ("Prompts keep the form of the example: it is the one that the model was trained on.",)
    return Loading("transformers", "\n".join(lines), remarks)


def _chat_template(folder: Path) -> str:
    """Returns the chat template that a tokenizer was saved with, or ""."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    return str(_read_json(folder / "tokenizer_config.json").get("chat_template") or "")


def _read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON object, an empty one where there is no such file."""
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
