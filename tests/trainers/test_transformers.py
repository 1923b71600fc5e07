"""What is particular to `transformers`: memory, losses, rungs, heads, and agreement with the library itself."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.models.bert.modeling_bert import BertEncoder, BertPreTrainedModel

from autosft.arrays import to_matrix, to_numbers
from autosft.data.data import Rows
from autosft.errors import TrialFailed
from autosft.inputs.batches import shuffled_by_length
from autosft.prepare import Question, check, understand
from autosft.task import Output
from autosft.tasks import kind
from autosft.testing import tiny_data
from autosft.testing.tiny_data import LABELS, WORDS, tiny_texts, tiny_training_data
from autosft.testing.tiny_kinds import question
from autosft.testing.tiny_models import tiny_base_model, write_tiny_encoder
from autosft.trainers import loop
from autosft.trainers.base import Limits, TrainingData
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.networks import ArchitectureClassifier, PooledClassifier, last_linear, load_encoder
from autosft.trainers.objectives import OBJECTIVES, softmax
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

PLAIN = TransformersConfig(learning_rate=2e-3, num_train_epochs=2, batch_size=16, dropout=0.0, head="mean")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers")
    write_tiny_encoder(folder / "base", words=WORDS)
    return folder


@pytest.fixture(scope="module")
def subject(place):
    task, data = tiny_training_data(place / "data", num_rows=117)
    return task, data


def bound(place, trainer=TransformersTrainer):
    return trainer(tiny_base_model(place / "base"), place / "base")


def fit(
    place,
    subject,
    config,
    *,
    trainer=TransformersTrainer,
    rungs=(1.0,),
    fidelity=1.0,
    seed=0,
    outputs=to_matrix,
    **limits,
):
    """Returns the model, and what was reported: shares with what `outputs` makes of those of rows.

    By default these are probabilities of shape (rows, labels).
    """
    reports = []
    model = bound(place, trainer).fit(
        config,
        *subject,
        fidelity=fidelity,
        seed=seed,
        folder=place,
        report=lambda share, found: reports.append((share, outputs(found))),
        rungs=rungs,
        limits=Limits(num_threads=1, cache=place / "cache", **limits),
    )
    return model, reports


def validation(subject):
    return Rows(subject[1].all.path, subject[1].validation).table()


@pytest.fixture
def little_memory(monkeypatch):
    """Makes memory run out above four rows in a training pass; returns the sizes of those that fitted."""
    forward, fitted = PooledClassifier.forward, []

    def limited(self, input_ids, **batch):
        if self.training and len(input_ids) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.training:
            fitted.append(len(input_ids))
        return forward(self, input_ids=input_ids, **batch)

    monkeypatch.setattr(PooledClassifier, "forward", limited)
    return fitted


@pytest.mark.parametrize(("batch_size", "micro"), [(16, 4), (12, 3), (10, 2)])
def test_running_out_of_memory_keeps_the_effective_batch(place, subject, request, batch_size, micro):
    config = replace(PLAIN, batch_size=batch_size, label_smoothing=0.1, class_weights="balanced")
    _, [(_, whole)] = fit(place, subject, config)
    fitted = request.getfixturevalue("little_memory")
    model, [(_, pieces)] = fit(place, subject, config)
    assert model.micro_batch_size == micro == max(fitted)
    np.testing.assert_allclose(pieces, whole, atol=1e-4)


def test_a_known_memory_limit_is_respected_from_the_start(place, subject, little_memory):
    model, _ = fit(place, subject, replace(PLAIN, batch_size=6), micro_batch_size=4)
    assert set(little_memory) == {3}, "two micro-batches of three are a batch of six, of four they are not"
    assert model.micro_batch_size == 4, "what fits is not what divides this batch"


def test_timing_finds_the_batch_that_fits(place, subject, little_memory):
    cost = bound(place).measure(PLAIN, *subject, limits=Limits(num_threads=1, cache=place / "cache"))
    assert cost.micro_batch_size == 4


@pytest.mark.parametrize("seed", range(3))
def test_what_is_timed_is_as_long_as_the_batches_of_an_epoch(place, tmp_path, monkeypatch, seed):
    texts, targets = tiny_texts(600, seed=seed)
    longer = [" ".join((1 if at % 8 else 20) * [text]) for at, text in enumerate(texts)]
    monkeypatch.setattr(tiny_data, "tiny_texts", lambda *_, **__: (longer, targets))
    subject = tiny_training_data(tmp_path)
    forward, tokens = PooledClassifier.forward, []

    def counted(self, input_ids, **batch):
        if self.training:
            tokens.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **batch)

    monkeypatch.setattr(PooledClassifier, "forward", counted)
    bound(place).measure(PLAIN, *subject, limits=Limits(num_threads=1, cache=place / "cache"))
    timed = tokens[2:]
    tokens.clear()
    fit(place, subject, replace(PLAIN, num_train_epochs=1))
    assert np.mean(timed) == pytest.approx(np.mean(tokens), rel=0.15)


def test_a_row_that_does_not_fit_fails_the_trial(place, subject, monkeypatch):
    def full(self, **batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PooledClassifier, "forward", full)
    with pytest.raises(TrialFailed, match="does not fit in memory"):
        fit(place, subject, PLAIN)


@pytest.fixture
def memory_for_checkpoints(monkeypatch):
    """Makes memory run out in training unless layers compute their activations again."""
    forward = BertEncoder.forward

    def limited(self, *arguments, **keywords):
        if self.training and not any(checkpointing(self)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *arguments, **keywords)

    monkeypatch.setattr(BertEncoder, "forward", limited)


def checkpointing(network):
    """Of each part that could checkpoint, whether it does now."""
    layers = [module for module in network.modules() if hasattr(module, "gradient_checkpointing")]
    assert layers
    return [layer.gradient_checkpointing and layer.training for layer in layers]


@pytest.fixture
def losses(monkeypatch):
    """Every loss of a training pass, in order."""
    found, compute = [], loop._Trainer.compute_loss

    def recorded(self, *arguments, **keywords):
        loss = compute(self, *arguments, **keywords)
        found.append(loss.item())
        return loss

    monkeypatch.setattr(loop._Trainer, "compute_loss", recorded)
    return found


@pytest.mark.parametrize("head", ["mean", "architecture"])
def test_where_one_row_does_not_fit_activations_are_computed_twice(place, subject, request, tmp_path, losses, head):
    config = replace(PLAIN, head=head, frozen_share=0.5)
    _, [(_, kept)] = fit(place, subject, config, micro_batch_size=1)
    expected = list(losses)
    losses.clear()
    request.getfixturevalue("memory_for_checkpoints")
    model, [(_, again)] = fit(place, subject, config)
    assert model.micro_batch_size == 1
    np.testing.assert_allclose(losses, expected, atol=1e-4)
    np.testing.assert_allclose(again, kept, atol=1e-4)
    assert not any(checkpointing(model.network.train())), "it is left as it was loaded"
    model.network.eval()
    model.save(tmp_path)
    loaded = TransformersTrainer.load(tmp_path)
    np.testing.assert_allclose(to_matrix(loaded.predict(rows_of(subject))), again, atol=1e-5)
    assert not any(checkpointing(loaded.network.train()))


def test_timing_says_where_activations_are_computed_twice(place, subject, memory_for_checkpoints):
    cost = bound(place).measure(PLAIN, *subject, limits=Limits(num_threads=1, cache=place / "cache"))
    assert cost.micro_batch_size == 1 and cost.checkpointing


def test_a_trial_does_not_find_out_again_what_its_timing_did(place, subject, monkeypatch, memory_for_checkpoints):
    make, made = TransformersTrainer._network, []

    def counted(self, *arguments):
        made.append(make(self, *arguments))
        return made[-1]

    monkeypatch.setattr(TransformersTrainer, "_network", counted)
    fit(place, subject, PLAIN, micro_batch_size=1, checkpointing=True)
    assert len(made) == 1


def test_a_model_that_cannot_compute_activations_twice_fails_the_trial(
    place, subject, monkeypatch, memory_for_checkpoints
):
    monkeypatch.setattr(BertPreTrainedModel, "supports_gradient_checkpointing", False)
    with pytest.raises(TrialFailed, match=r"one row of length .* does not fit in memory"):
        fit(place, subject, PLAIN)
    with pytest.raises(TrialFailed, match=r"one row of length .* does not fit in memory"):
        bound(place).measure(PLAIN, *subject, limits=Limits(num_threads=1, cache=place / "cache"))


def test_a_loss_that_is_not_a_number_fails_the_trial(place, subject):
    with pytest.raises(TrialFailed, match=r"NaN|nan|inf"):
        fit(place, subject, replace(PLAIN, learning_rate=1e38))


def test_rungs_are_reported_in_order_and_change_nothing(place, subject):
    _, reports = fit(place, subject, PLAIN, rungs=(1 / 9, 1 / 3, 1.0))
    assert [share for share, _ in reports] == [1 / 9, 1 / 3, 1.0]
    losses = [-np.log(outputs[range(len(outputs)), targets(subject)]).mean() for _, outputs in reports]
    assert losses[2] < losses[0]
    np.testing.assert_allclose(reports[-1][1], fit(place, subject, PLAIN)[1][0][1], atol=1e-6)


def targets(subject):
    return to_numbers(subject[1].all.targets())[subject[1].validation]


def test_class_weights_help_the_rare_label(place, subject):
    task, data = subject
    labels = to_numbers(data.all.targets())[data.train]
    rare = np.concatenate([data.train[labels != 0], data.train[labels == 0][:4]])
    skewed = task, replace(data, train=rare)
    plain, balanced = (
        fit(place, skewed, replace(PLAIN, class_weights=weights))[1][0][1][:, 0].mean()
        for weights in ("none", "balanced")
    )
    assert balanced > plain + 0.05


@pytest.mark.parametrize("output", [Output.LABEL, Output.LABELS, Output.TOKEN_LABELS])
def test_smoothing_and_weights_together_do_not_turn_an_answer_round(output):
    """The best answer to a row of the frequent label is that label, however rare the other is."""
    objective = OBJECTIVES[output](2)
    objective._smoothing, objective._weights = 0.1, torch.tensor([0.505, 50.0])
    logits = torch.zeros(1, 2) if output is not Output.TOKEN_LABELS else torch.zeros(1, 1, 2)
    logits.requires_grad_()
    labels = {Output.LABEL: torch.tensor([0]), Output.LABELS: torch.tensor([[1.0, 0.0]])}
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        objective.loss(logits, labels.get(output, torch.tensor([[0]]))).backward()
        optimizer.step()
    frequent, rare = logits.detach().flatten().tolist()
    assert frequent > rare + 1 and (output is not Output.LABELS or rare < 0)


@pytest.mark.parametrize("head", ["mean", "architecture"])
def test_in_either_precision_the_reported_outputs_are_those_of_the_saved_model(place, subject, tmp_path, head, in_bf16):
    # In bfloat16 Accelerate puts a forward around the network that computes in it.
    model, reports = fit(place, subject, replace(PLAIN, head=head), rungs=(0.5, 1.0))
    assert "forward" not in vars(model.network)
    model.save(tmp_path)
    read_back = to_matrix(TransformersTrainer.load(tmp_path).predict(rows_of(subject)))
    np.testing.assert_allclose(reports[-1][1], read_back, atol=1e-6)
    np.testing.assert_allclose(to_matrix(model.predict(rows_of(subject))), read_back, atol=1e-6)


def rows_of(subject):
    return Rows(subject[1].all.path, subject[1].validation).table()


def test_validation_rows_are_predicted_in_batches_that_fit(place, subject, monkeypatch):
    _, [(_, whole)] = fit(place, subject, PLAIN)
    forward = PooledClassifier.forward

    def limited(self, input_ids, **batch):
        if not self.training and len(input_ids) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **batch)

    monkeypatch.setattr(PooledClassifier, "forward", limited)
    model, [(_, pieces)] = fit(place, subject, PLAIN)
    assert model.micro_batch_size is None, "the training itself fits"
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


def test_label_smoothing_makes_the_model_less_sure(place, subject):
    long = replace(PLAIN, num_train_epochs=8, learning_rate=1e-2)
    sure, less = (
        fit(place, subject, replace(long, label_smoothing=smoothing))[1][0][1].max(axis=1).mean()
        for smoothing in (0.0, 0.3)
    )
    assert less < sure - 0.05


@pytest.mark.parametrize("head", ["mean", "architecture"])
def test_frozen_layers_stay_as_they_were_and_the_others_do_not(place, subject, head):
    before = dict(load_encoder(place / "base").named_parameters())
    model, _ = fit(place, subject, replace(PLAIN, head=head, frozen_share=0.5))
    inner = model.network.encoder if head == "mean" else model.network.model.base_model
    moved = {name for name, value in inner.named_parameters() if not torch.equal(value, before[name])}
    layers = {name for name in before if ".layer.0." in name}
    frozen = {name for name in before if "embed" in name} | layers
    assert not moved & frozen
    assert moved >= {name for name in before if ".layer.1." in name and "key.bias" not in name}


def test_layer_decay_slows_the_lower_layers(place, subject):
    base = dict(load_encoder(place / "base").named_parameters())

    def moved(decay):
        model, _ = fit(place, subject, replace(PLAIN, layer_decay=decay, weight_decay=0.0))
        now = dict(model.network.encoder.named_parameters())
        names = ("embeddings.word_embeddings.weight", "layer.0.output.dense.weight", "layer.1.output.dense.weight")
        found = [next(name for name in base if name.endswith(end)) for end in names]
        return [float((now[name] - base[name]).abs().max().detach()) for name in found]

    decayed, whole = moved(0.1), moved(1.0)
    assert decayed[0] < decayed[1] / 3 < decayed[2] / 9
    assert [small / large for small, large in zip(decayed, whole, strict=True)] == pytest.approx(
        [0.001, 0.01, 0.1], rel=0.5
    )


@pytest.mark.parametrize(
    ("trainer", "config"),
    [
        (TransformersTrainer, replace(PLAIN, learning_rate=1e-9, head="mean-from-probe")),
        (FrozenHead, FrozenHeadConfig(C=1000.0)),
    ],
)
def test_a_head_never_sees_the_labels_of_validation_rows(place, subject, trainer, config):
    task, data = subject
    # A fourth label that only validation rows carry: a head that had seen them would give it to most of those rows.
    rows = to_numbers(data.all.targets())
    data = replace(data, train=np.flatnonzero(rows != 2), validation=np.flatnonzero(rows == 2))
    model, [(_, outputs)] = fit(place, (task, data), config, trainer=trainer)
    assert outputs[:, 2].max() < 1e-3
    assert to_matrix(model.predict(data.all.table())).argmax(axis=1).max() == 1


def test_a_head_of_the_architectures_own_is_a_transformers_folder(place, subject, tmp_path):
    model, _ = fit(place, subject, replace(PLAIN, head="architecture"))
    model.save(tmp_path)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.config.id2label == dict(enumerate(LABELS))
    table = validation(subject)
    with torch.inference_mode():
        logits = loaded(**tokenizer(table["text"].to_pylist(), padding=True, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(softmax(logits), to_matrix(model.predict(table)), atol=1e-5)


@pytest.mark.parametrize(
    ("trainer", "config"),
    [
        (TransformersTrainer, PLAIN),
        (FrozenHead, FrozenHeadConfig()),
        (FrozenHead, FrozenHeadConfig(pooling="cls", normalize=False)),
    ],
)
def test_a_pooled_head_is_a_sentence_transformers_folder(place, subject, tmp_path, trainer, config):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model, _ = fit(place, subject, config, trainer=trainer)
    model.save(tmp_path)
    table = validation(subject)
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    logits = loaded.encode(table["text"].to_pylist(), show_progress_bar=False)
    np.testing.assert_allclose(softmax(logits), to_matrix(model.predict(table)), atol=1e-5)


class WithLoss(nn.Module):
    """A pooled classifier as `transformers.Trainer` expects one, which returns the library's loss for its problem."""

    def __init__(self, module, problem_type):
        super().__init__()
        self.module = module
        self.config = transformers.PretrainedConfig(num_labels=module.linear.out_features, problem_type=problem_type)

    def forward(self, labels, **batch):
        logits = self.module(**batch)
        return {"loss": ForSequenceClassificationLoss(labels, logits, self.config), "logits": logits}


@pytest.fixture
def asked(request, place, tmp_path, monkeypatch):
    """The small question of a kind: its task, and its rows as training data of which a fifth validates."""
    monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / "cache"))
    given = question(request.param, tmp_path)
    wanted = Question(given.sentence, given.data)
    prepared = check(wanted, *understand(wanted))
    found, rows = kind(prepared.task.kind), prepared.data.training(None)[0]
    assert found.name == request.param
    train, validation = (part.indices for part in prepared.data.training(0))
    data = TrainingData(found.input, found.output, rows, train, validation, prepared.data.fingerprint)
    return prepared.task, data


@pytest.mark.parametrize(
    ("asked", "head"),
    [
        *itertools.product(
            (
                "text-classification",
                "multi-label-classification",
                "text-regression",
                "text-pair-classification",
                "text-pair-regression",
            ),
            ("mean", "architecture"),
        ),
        ("token-classification", "architecture"),
    ],
    indirect=["asked"],
)
def test_losses_equal_those_of_a_bare_trainer(place, asked, monkeypatch, head, in_bf16):
    config = replace(PLAIN, learning_rate=5e-3, num_train_epochs=5, weight_decay=0.05, warmup_share=0.2, head=head)
    losses, step = [], loop._Trainer.training_step

    def recorded(self, *arguments, **keywords):
        loss = step(self, *arguments, **keywords)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(loop._Trainer, "training_step", recorded)
    model, _ = fit(place, asked, config, seed=3, outputs=list)
    bare, expected = bare_training(place, asked, config, seed=3, in_bf16=in_bf16)
    assert losses == pytest.approx(expected, abs=1e-4)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.05, "a run that learns nothing would prove nothing"
    # A number's model gives it in the user's unit, though it learns in that of the rows' deviation.
    _, data = asked
    unit = to_numbers(data.all.targets())[data.train].std() if data.output is Output.NUMBER else 1.0
    ours, theirs = (last_linear(network).weight.detach() for network in (model.network, bare))
    np.testing.assert_allclose(ours / unit, theirs, atol=1e-4)


def bare_training(place, subject, config, *, seed, in_bf16):
    """Trains the same network on the same batches and schedule by the library alone; returns it and its losses."""
    task, data = subject
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "base")
    rows = bare_rows(tokenizer, data)
    network = bare_network(place, task, data, config, seed=seed)
    lengths = np.array([len(rows[row]["input_ids"]) for row in data.train])
    if data.output is Output.TOKEN_LABELS:
        collate = transformers.DataCollatorForTokenClassification(tokenizer)
    else:
        collate = transformers.DataCollatorWithPadding(tokenizer)
    batches = []
    for epoch in range(config.num_train_epochs):
        order = data.train[shuffled_by_length(lengths, config.batch_size, np.random.default_rng((seed, epoch)))]
        for start in range(0, len(order), config.batch_size):
            batches.append(dict(collate([rows[row] for row in order[start : start + config.batch_size]])))
    total, warmup = len(batches), config.warmup_share
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        fused=True,
    )
    middle = [(step + 0.5) / total for step in range(total + 1)]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(middle[step] / warmup, max(0.0, 1 - middle[step]) / (1 - warmup))
    )
    trainer = transformers.Trainer(
        model=network,
        args=transformers.TrainingArguments(
            output_dir=str(place / "bare"), max_steps=total, logging_steps=1, use_cpu=True, bf16=in_bf16,
            seed=seed,
            save_strategy="no", report_to="none", disable_tqdm=True, max_grad_norm=1.0,
        ),
        train_dataset=batches,
        optimizers=(optimizer, schedule),
    )  # fmt: skip
    # The batches are made already, and in order.
    trainer.get_train_dataloader = lambda: torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.train()
    return network, [row["loss"] for row in trainer.state.log_history if "loss" in row]


def bare_rows(tokenizer, data):
    """Returns every row as the library's own recipes tokenise and label it."""
    table, targets = data.all.table(), data.all.targets()
    if data.output is Output.TOKEN_LABELS:
        rows = []
        for words, tags in zip(table["tokens"].to_pylist(), targets.to_pylist(), strict=True):
            found = tokenizer(words, is_split_into_words=True)
            owners = found.word_ids()
            firsts = [at for at, word in enumerate(owners) if word is not None and word != owners[at - 1]]
            labels = [tags[word] if at in firsts else -100 for at, word in enumerate(owners)]
            rows.append({**found, "labels": labels})
        return rows
    texts = [table[name].to_pylist() for name in ("text", "text_pair") if name in table.column_names]
    found = tokenizer(*texts)
    if data.output is Output.NUMBER:
        numbers = to_numbers(targets)
        labels = (numbers - numbers[data.train].mean()) / numbers[data.train].std()
    elif data.output is Output.LABELS:
        labels = to_matrix(targets).astype(float)
    else:
        labels = to_numbers(targets)
    names = ("input_ids", "attention_mask", *(["token_type_ids"] if len(texts) == 2 else []))
    return [{**{name: found[name][at] for name in names}, "labels": labels[at].tolist()} for at in range(len(table))]


def bare_network(place, task, data, config, *, seed):
    """Returns a network that gives its own loss: the library's own class, or an encoder under a pooled head."""
    width = 1 if data.output is Output.NUMBER else len(task.labels)
    problem_type = {
        Output.LABEL: "single_label_classification",
        Output.LABELS: "multi_label_classification",
        Output.NUMBER: "regression",
    }.get(data.output)
    without_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(seed)
    if config.head == "mean":
        return WithLoss(PooledClassifier(load_encoder(place / "base", **without_dropout), width), problem_type)
    model_class = {Output.TOKEN_LABELS: transformers.AutoModelForTokenClassification}.get(
        data.output, transformers.AutoModelForSequenceClassification
    )
    return model_class.from_pretrained(place / "base", num_labels=width, problem_type=problem_type, **without_dropout)


def test_a_base_model_that_is_a_classifier_of_other_labels_gets_a_new_head(tiny_model, subject, tmp_path):
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=7)
    classifier.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    trainer, limits = TransformersTrainer(tiny_base_model(tmp_path), tmp_path), Limits(1, tmp_path / "cache")
    network = trainer._network(replace(PLAIN, head="architecture"), *subject, 0, limits)
    assert isinstance(network, ArchitectureClassifier)
    assert network.model.num_labels == 3
    examples = trainer._read(subject[1], limits)[1]
    assert network(**examples.collate(np.arange(4))).shape == (4, 3)
