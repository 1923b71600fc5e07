"""A model's card: its examples run and agree with the Predictor, its YAML is the hub's, and no data break out of it."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

import autosft
from autosft.base_models import BASE_MODELS, MINILM, NO_MODEL
from autosft.calibration import Calibration
from autosft.card.loading import loading
from autosft.card.markdown import code, escaped, table
from autosft.card.sections import Shipped, model_card
from autosft.data.finding import Finding, Severity
from autosft.ensemble import Ensemble
from autosft.intervals import Interval
from autosft.made_models import PIXELS
from autosft.planning.plan import Plan
from autosft.predictor import describe_model
from autosft.proof import Proof, Score
from autosft.refit import Refit
from autosft.search.trial import Trial
from autosft.search.work import train
from autosft.task import Output
from autosft.tasks import KINDS
from autosft.tasks import kind as task_kind
from autosft.testing.tiny_data import LABELS, tiny_texts
from autosft.testing.tiny_kinds import question
from autosft.tracking.base import Tracker
from autosft.trainers.base import Limits

#: Put in the place of the examples' own texts, so that models are given something that they know.
TEXTS = ["my card does not work abroad", "where is my loan"]
POOLED, WHOLE = {"head": "mean"}, {"head": "architecture"}
#: Every format that a folder is saved in, for every kind.
SAVED: list[tuple[str, str, dict[str, Any], str]] = [
    *((kind, "frozen_head", {}, "sentence-transformers") for kind in KINDS if kind.startswith(("text-c", "text-r"))),
    ("text-classification", "transformers", WHOLE, "transformers"),
    ("text-regression", "transformers", WHOLE, "transformers"),
    ("multi-label-classification", "frozen_head", {"normalize": False}, "sentence-transformers"),
    ("multi-label-classification", "transformers", WHOLE, "transformers"),
    ("text-pair-classification", "frozen_head", {}, "autosft"),
    ("text-pair-classification", "transformers", POOLED, "sentence-transformers"),
    ("text-pair-classification", "transformers", WHOLE, "transformers"),
    ("text-pair-regression", "transformers", WHOLE, "transformers"),
    ("token-classification", "transformers", WHOLE, "transformers"),
    ("image-classification", "frozen_head", {}, "transformers"),
    ("causal-lm", "trl", {}, "transformers"),
    ("chat", "trl", {}, "transformers"),
]


@dataclass
class Model:
    """A saved model with its card, and which library its card should name."""

    plan: Plan
    folder: Path
    card: str
    library: str

    @property
    def examples(self) -> list[str]:
        """The card's Python, in order."""
        return re.findall(r"^```python\n(.*?)^```$", self.card, re.DOTALL | re.MULTILINE)


def shipped(plan: Plan, folder: Path, *, trainer: str | None = None, **changed: Any) -> Shipped:
    """What a run of one trial with made-up scores would ship."""
    arm = next(arm for arm in plan.arms if trainer in (None, arm.trainer))
    trial = Trial(0, arm.name, dict(arm.default), 1.0, 0, 0, True, "complete", 0.75, (0.7, 0.8))
    score = Score(0.75, Interval(0.7, 0.8), 1500)
    scores = {plan.task.metric.name: 0.75, "log_loss": 0.5}
    proof = Proof("proof", False, score, score, 0.0, Interval(0.0, 0.0), scores, 0.25, 1500)
    found = Shipped(
        plan, plan.task, [trial], trial, trial, Refit(None, "no time"), Ensemble(),
        Calibration("not calibrated: too few rows"), proof, folder, {"autosft": "0.1.0"}, 60.0,
    )  # fmt: skip
    return replace(found, **changed)


def write(plan: Plan, trainer: str, config: dict[str, Any], library: str, folder: Path) -> Model:
    """Trains a little and saves, as a worker does, and writes the card as a run does at its end."""
    arm = next(arm for arm in plan.arms if arm.trainer == trainer)
    train(
        lambda *given, **more: None, trainer=trainer, base_model=arm.base_model, folder=arm.folder,
        config={**arm.default, **config}, task=plan.task, data=plan.data, fold=0,
        fidelity={"trl": 0.1, "transformers": 0.3}.get(trainer, 1.0), seed=0, scratch=folder, rungs=(1.0,),
        limits=Limits(num_threads=1, cache=folder.with_name("cache")),
    )  # fmt: skip
    card = model_card(shipped(plan, folder / "model", trainer=trainer))
    describe_model(folder / "model", plan.task, trainer, card=card, versions={})
    return Model(plan, folder / "model", card, library)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Plan]]:
    """Plans the small question of a kind, once."""
    plans: dict[str, Plan] = {}

    def of(kind: str) -> Plan:
        if kind not in plans:
            asked = question(kind, tmp_path_factory.mktemp(kind))
            plans[kind] = autosft.plan(
                asked.sentence, asked.data, models=str(asked.base), timing=False, tracker=Tracker()
            )
        return plans[kind]

    yield of


@pytest.fixture(scope="module", params=SAVED, ids=lambda saved: f"{saved[0]}-{saved[1]}-{saved[2].get('head', '')}")
def model(
    request: pytest.FixtureRequest, planned: Callable[[str], Plan], tmp_path_factory: pytest.TempPathFactory
) -> Model:
    kind, trainer, config, library = request.param
    return write(planned(kind), trainer, config, library, tmp_path_factory.mktemp("saved") / "trial")


def run(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(example, "card", "exec"), names)
    return names


def test_the_examples_run_and_agree(
    model: Model, planned: Callable[[str], Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.folder)
    task = model.plan.task
    if task.kind == "image-classification":
        image = model.plan.data.training(0)[0].column("image")[0]["path"]
        shutil.copy(image, "photo.png")
    own = model.examples[0]
    assert len(run(own)["predictions"]) == 1
    assert len(model.examples) == (1 if model.library == "autosft" else 2)
    if model.library == "autosft":
        assert "no other library" in model.card.lower()
        return
    assert f"from {model.library.replace('-', '_')} import" in model.examples[1]
    for text in TEXTS:
        ours, theirs = (run(_about(example, text)) for example in model.examples)
        _compare(task, ours, theirs)


def _about(example: str, text: str) -> str:
    """An example with other words in the place of its own."""
    for placeholder in ("a text", "a question"):
        example = example.replace(f'"{placeholder}', f'"{text}')
    return example.replace('["some", "words"]', str(text.split())).replace("some words", text)


def _compare(task: autosft.Task, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    output = task_kind(task.kind).output
    if output is Output.TOKEN_LABELS:
        tags = ours["predictions"][0]
        begun = [word[2:] for word in tags if word.startswith("B-")]
        assert [found["entity_group"] for found in theirs["entities"]] == begun
    elif output is Output.NUMBER:
        assert theirs["predictions"] == pytest.approx(ours["predictions"], abs=1e-4)
    else:
        assert theirs["predictions"] == ours["predictions"]
    if output in (Output.LABEL, Output.LABELS):
        probabilities = ours["model"].predict_proba(ours["rows"])[0]
        if "probabilities" in theirs:
            np.testing.assert_allclose(theirs["probabilities"][0].cpu().numpy(), probabilities, atol=1e-5)
        else:
            first = theirs["found"][0]
            given = {row["label"]: row["score"] for row in (first if isinstance(first, list) else [first])}
            wanted = dict(zip(task.labels, probabilities.tolist(), strict=True))
            assert given == pytest.approx({label: wanted[label] for label in given}, abs=1e-5)


def test_what_the_card_warns_of_is_so(model: Model) -> None:
    """Where it says that a pipeline gives random heads, Transformers says so too; else nothing is warned of."""
    warned = "random weights" in model.card
    text = task_kind(model.plan.task.kind).output in (Output.LABEL, Output.LABELS, Output.NUMBER)
    if not text or model.plan.task.kind.startswith("image"):
        assert not warned
        return
    from transformers import AutoModelForSequenceClassification

    _, info = AutoModelForSequenceClassification.from_pretrained(model.folder, output_loading_info=True)
    assert bool(info["missing_keys"]) == warned


def test_the_yaml_is_the_hubs(model: Model) -> None:
    data = ModelCard(model.card).data
    assert data.library_name == model.library
    assert data.tags == ["autosft"]
    assert data.base_model is None and data.license is None, "a folder of this machine is nothing that the hub knows"
    assert str(model.plan.arms[0].folder) not in model.card
    assert data.metrics[0] == model.plan.task.metric.name
    first = data.eval_results[0]
    assert (first.metric_name, first.metric_value) == (data.metrics[0], 0.75)
    assert data.pipeline_tag in {
        "text-classification", "token-classification", "image-classification", "text-generation"
    }  # fmt: skip


def test_a_model_that_can_think_is_asked_not_to(
    planned: Callable[[str], Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    plan = planned("chat")
    arm = plan.arms[0]
    base = shutil.copytree(arm.folder, tmp_path / "base")
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    shutil.copy(template, base / "chat_template.jinja")
    plan = replace(plan, arms=(replace(arm, folder=str(base)),))
    model = write(plan, "trl", {}, "transformers", tmp_path / "trial")
    monkeypatch.chdir(model.folder)
    assert '"enable_thinking": False' in model.examples[1]
    names = run(model.examples[1])
    # What the pipeline is given is what autosft generates after.
    pipeline, reader = names["write"], autosft.trainers.decoder.TextGenerator.load(model.folder).reader
    messages = [{"role": "user", "content": "a question"}]
    given = pipeline.tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)
    import pyarrow as pa

    asked = reader.prompts(pa.table({"messages": [messages]}), max_new_tokens=4)[0]
    assert given["input_ids"] == asked
    assert names["predictions"] == run(model.examples[0])["predictions"]


def test_several_columns_are_joined_as_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, targets = tiny_texts(90)
    rows = [
        {"the title": text, 'the "body"\n': texts[at - 1], "label": LABELS[targets[at]]}
        for at, text in enumerate(texts)
    ]
    base = question("text-classification", tmp_path / "question").base
    plan = autosft.plan("sort", rows, target="label", models=str(base), timing=False, tracker=Tracker(),
                        inputs=["the title", 'the "body"\n'], kind="text-classification")  # fmt: skip
    model = write(plan, "frozen_head", {}, "sentence-transformers", tmp_path / "trial")
    monkeypatch.chdir(model.folder)
    for text in TEXTS:
        ours, theirs = (run(_about(example, text)) for example in model.examples)
        assert list(ours["rows"][0]) == list(plan.task.input_columns)
        _compare(plan.task, ours, theirs)


# What follows reads cards of plans whose models were never trained.


@pytest.fixture
def plan(planned: Callable[[str], Plan]) -> Plan:
    return planned("text-classification")


HOSTILE = [
    "a|b", "`tick`", "``` \n# Heading", "<script>alert(1)</script>", "<!--", "line\nbreak", "[link](http://x)",
    "---", "key: value\n---\n", "**bold**", "_it_", "![i](http://x)", "&lt;", "$x$", "\\", "a\\|b", "\x00\x1b[31m",
    "\u202eturned", "{{ jinja }}", "'''\"\"\"", "", " ", "`", "~~~", "` <b>x</b> [l](http://x)", "1. one", "- item",
]  # fmt: skip


def shape(card: str) -> list[str]:
    """What a card consists of, words and how they are written left out."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body(card))
    found = []
    for token in tokens:
        found.append(token.type)
        found += [child.type for child in token.children or () if child.type not in ("text", "text_special")]
    return found


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_the_data_breaks_out(plan: Plan, tmp_path: Path, text: str) -> None:
    def card(value: str) -> str:
        task = replace(
            plan.task,
            description=f"sort {value} please, and more words than any title is allowed to have, up to the very end",
            metric=replace(plan.task.metric, positive=value),
            input_columns=(value,),
            target_column=value,
            labels=(value, "other"),
        )
        finding = Finding("check", Severity.WARNING, f"Rows with {value}: 2.", 2, (value,), f"dropped {value}", True)
        given = shipped(replace(plan, task=task, findings=(finding,)), tmp_path, task=task)
        winner = replace(given.winner, config={**given.winner.config, "note": value})
        refit = Refit(None, f"the refit failed ({value})")
        return model_card(replace(given, winner=winner, refit=refit))

    found = card(text)
    # An empty label is named in words, not in a code span.
    ordinary = [kind for kind in shape(card("plain")) if kind != "code_inline"]
    assert [kind for kind in shape(found) if kind != "code_inline"] == ordinary
    assert not {"html_inline", "html_block", "link_open", "image"} & set(shape(found))
    assert not re.search("[\x00\x1b\u202e]", found)
    data = ModelCard(found).data
    assert data.tags == ["autosft"] and data.pipeline_tag == "text-classification"
    for example in re.findall(r"^```python\n(.*?)^```$", body(found), re.DOTALL | re.MULTILINE):
        compile(example, "card", "exec")


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip() and text.isprintable()])
def test_escaped_words_read_as_they_were_written(text: str) -> None:
    rules = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = rules.parse("\n".join(table(["name", "again"], [[code(text), f"x {escaped(text)}"]])))
    cells = ["".join(child.content for child in token.children or ()) for token in tokens if token.type == "inline"]
    assert cells[2:] == [text, f"x {text}"]


def test_the_card_says_what_decided_and_on_which_rows(plan: Plan, tmp_path: Path) -> None:
    found = model_card(shipped(plan, tmp_path))
    assert "**accuracy 0.7500**, 95 % interval 0.7000 to 0.8000, on 1,500 rows set aside for proof" in found.replace(
        plan.task.metric.name, "accuracy"
    )
    assert "| log_loss | 0.5000 | smaller |" in found
    assert "whatever it reads, scores 0.2500" in found
    assert "none, as the default itself won" in found
    assert "* Probabilities: not calibrated: too few rows." in found
    assert "no other library" not in found.lower() and "optimistic" not in found
    assert "None" not in found


@pytest.mark.parametrize(
    ("kind", "column", "elsewhere"),
    [
        ("text-classification", "text", "other languages"),
        ("chat", "messages", "other languages"),
        ("image-classification", "image", "images of other things"),
    ],
)
def test_the_card_says_what_the_model_is_for_and_what_it_is_not_for(
    planned: Callable[[str], Plan], tmp_path: Path, kind: str, column: str, elsewhere: str
) -> None:
    asked = replace(planned(kind), task=replace(planned(kind).task, description="Do what I *need* done"))
    found = model_card(shipped(asked, tmp_path))
    use = found.split("\n## Intended use\n")[1].split("\n## ")[0]
    assert found.count("Do what I") == 1 and "What was asked for: Do what I \\*need\\* done" in use
    assert f"Kind of task: {kind}." in use
    assert f"`{column}`" in use and f"Predicts `{asked.task.target_column}`: " in use
    assert f"Not for {elsewhere}" in use and "Not for decisions that no person looks at" in use
    assert f"Made from the local model `{Path(asked.arms[0].base_model.id).name}` by autosft." in found
    silent = model_card(shipped(replace(asked, task=replace(asked.task, description="")), tmp_path))
    assert "What was asked for" not in silent


def test_a_score_of_the_rows_that_chose_is_called_so(plan: Plan, tmp_path: Path) -> None:
    given = shipped(plan, tmp_path)
    proof = replace(given.proof, rows="folds", selected_on=True)
    found = model_card(replace(given, proof=proof))
    assert "these rows also chose the model, so the score is optimistic" in found
    assert ModelCard(found).data.eval_results is None, "it is no test score"


def test_a_short_training_a_sample_and_a_gain_are_told(plan: Plan, tmp_path: Path) -> None:
    given = shipped(plan, tmp_path)
    proof = replace(given.proof, num_rows_given=9000, gain=0.05, gain_interval=Interval(0.01, 0.09))
    config = {**given.winner.config, "C": 0.125}
    winner = replace(given.winner, number=1, is_default=False, fidelity=0.25, config=config)
    found = model_card(replace(given, proof=proof, winner=winner))
    assert "1,500 (of 9,000, drawn at random)" in found
    assert "+0.0500, 95 % interval 0.0100 to 0.0900; proven" in found
    assert "trained for 25% of a full run. There was no time" in found
    assert "| `C` | `0.125` | tuned |" in found


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_undefined_score_is_not_in_the_yaml(plan: Plan, tmp_path: Path, value: float) -> None:
    given = shipped(plan, tmp_path)
    proof = replace(given.proof, shipped=Score(value, Interval(value, value), 9), scores={plan.task.metric.name: value})
    assert ModelCard(model_card(replace(given, proof=proof))).data.eval_results is None


def test_many_labels_are_counted(plan: Plan, tmp_path: Path) -> None:
    task = plan.task.with_labels([f"label {at}" for at in range(77)], "string")
    found = model_card(shipped(replace(plan, task=task), tmp_path, task=task))
    assert "Labels (77): `label 0`" in found and "`label 19`, and 57 more" in found and "label 20" not in found


@pytest.mark.parametrize(
    ("base", "folder", "known", "licence"),
    [
        (MINILM, "/cache/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/1", True, "apache-2.0"),
        ("models/mine", "/home/jane/models/mine", False, None),
        ("/home/jane/models/mine", "/home/jane/models/mine", False, None),
        ("jane/mine", "/cache/models--jane--mine/snapshots/1", True, None),
        (PIXELS, "/cache/made_models/pixels-1", False, None),
    ],
)
def test_only_what_the_hub_has_is_a_base_model_there(
    plan: Plan, tmp_path: Path, base: str, folder: str, known: bool, licence: str | None
) -> None:
    rows = {row.id: row for row in BASE_MODELS}
    unknown = replace(rows[MINILM], id=base, licence="unknown", languages=())
    arms = tuple(replace(arm, base_model=rows.get(base, unknown), folder=folder) for arm in plan.arms)
    found = model_card(shipped(replace(plan, arms=arms), tmp_path))
    data = ModelCard(found).data
    assert data.base_model == (base if known else None)
    assert data.license == licence
    assert "jane/models" not in found and "/cache" not in found
    assert data.language == ("en" if base == MINILM else None)


def test_a_model_that_began_with_nothing_names_no_base_model(plan: Plan, tmp_path: Path) -> None:
    arms = tuple(replace(arm, base_model=NO_MODEL) for arm in plan.arms)
    assert "Made without a base model by autosft." in model_card(shipped(replace(plan, arms=arms), tmp_path))


def test_data_of_the_hub_are_named_and_paths_are_not(plan: Plan, tmp_path: Path) -> None:
    def data(origin: str) -> Any:
        given = replace(plan, origin=replace(plan.origin, data=origin, test=None))
        found = model_card(shipped(given, tmp_path))
        assert "secret" not in found
        return ModelCard(found).data

    assert data("glue/cola:en").datasets == ["glue/cola"]
    assert data("/home/jane/secret.csv").datasets is None
    assert data("").datasets is None


def test_a_network_of_our_own_loads_nowhere_else(planned: Callable[[str], Plan], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "autosft-pixels"}')
    found = loading(tmp_path, planned("image-classification").task)
    assert found.library == "autosft" and not found.code


def test_a_folder_of_an_unknown_format_promises_nothing(plan: Plan, tmp_path: Path) -> None:
    found = model_card(shipped(plan, tmp_path))
    assert ModelCard(found).data.library_name is None
    assert found.count("```python") == 1


def test_the_card_says_what_names_of_classes_count_as_where_they_do(plan: Plan, tmp_path: Path) -> None:
    named = replace(plan, data=replace(plan.data, named=tmp_path / "named.arrow"))
    without = replace(plan, data=replace(plan.data, named=None))
    given = shipped(named, tmp_path, trainer="frozen_head")
    found = model_card(given)
    assert (
        "The name of each class counts as 1 more training row of it" in found and "| `class_name_rows` | `1` |" in found
    )
    more = replace(given.winner, config={**given.winner.config, "class_name_rows": 2})
    assert "counts as 2 more training rows of it" in model_card(replace(given, winner=more))
    none = replace(given.winner, config={**given.winner.config, "class_name_rows": 0})
    assert "counts as" not in model_card(replace(given, winner=none))
    found = model_card(replace(given, plan=without))
    assert "class_name_rows" not in found and "name of each class" not in found
