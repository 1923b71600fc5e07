"""Trainers on images: what they learn, what they save, and agreement with the library itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from autosft.arrays import largest_difference, to_matrix, to_numbers
from autosft.augment import augmentation_class
from autosft.base_models import candidates, describe, locate
from autosft.data.data import Rows
from autosft.errors import PlanError, TrialFailed
from autosft.inputs.batches import shuffled_by_length
from autosft.made_models import PIXELS, SCRATCH_RESNET
from autosft.planning.arms import draft_arms
from autosft.search.settings import Machine
from autosft.search.space_file import load_space
from autosft.task import Input, Output
from autosft.testing.tiny_images import IMAGE_LABELS, tiny_image_data
from autosft.testing.tiny_models import (
    tiny_base_model,
    write_tiny_convnext,
    write_tiny_mobilevit,
    write_tiny_resnet,
    write_tiny_vit,
)
from autosft.trainers import loop
from autosft.trainers.base import Limits
from autosft.trainers.frozen_head import FrozenHead, FrozenHeadConfig
from autosft.trainers.networks import ArchitectureClassifier, last_linear, load_with_head
from autosft.trainers.objectives import OneLabel
from autosft.trainers.optimization import freeze, parameter_groups
from autosft.trainers.with_transformers import TransformersConfig, TransformersTrainer

PLAIN = TransformersConfig(
    learning_rate=5e-3, num_train_epochs=2, batch_size=16, dropout=0.0, head="architecture", warmup_share=0.1
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_tiny_resnet(folder / "resnet")
    write_tiny_vit(folder / "vit")
    write_tiny_convnext(folder / "convnext")
    write_tiny_mobilevit(folder / "mobilevit")
    return folder


@pytest.fixture(scope="module")
def subject(place):
    return tiny_image_data(place / "data", num_rows=120)


def fit(place, subject, config, *, base="resnet", trainer=TransformersTrainer, rungs=(1.0,), **limits):
    """Returns the model, and what was reported: shares with probabilities of shape (rows, labels)."""
    given = base if base in (PIXELS, SCRATCH_RESNET) else str(place / base)
    reports = []
    model = trainer(describe(given), locate(given)).fit(
        config,
        *subject,
        fidelity=1.0,
        seed=0,
        folder=place,
        report=lambda share, outputs: reports.append((share, to_matrix(outputs))),
        rungs=rungs,
        limits=Limits(num_threads=1, cache=place / "cache", **limits),
    )
    return model, reports


def validation(subject):
    rows = Rows(subject[1].all.path, subject[1].validation)
    return rows.table(), to_numbers(rows.targets())


def accuracy(subject, probabilities):
    return (probabilities.argmax(axis=1) == validation(subject)[1]).mean()


@pytest.mark.parametrize("base", ["resnet", "vit", "convnext"])
def test_fine_tuning_learns_reports_and_saves_a_plain_folder(place, subject, tmp_path, base):
    config = replace(PLAIN, num_train_epochs=12)
    model, reports = fit(place, subject, config, base=base, rungs=(0.5, 1.0))
    assert [share for share, _ in reports] == [0.5, 1.0]
    assert accuracy(subject, reports[-1][1]) > 0.75
    _same_as_the_library(subject, model, tmp_path)


@pytest.mark.parametrize("base", ["resnet", "vit", "convnext", PIXELS])
def test_a_frozen_head_learns_and_saves_a_plain_folder(place, subject, tmp_path, base):
    model, reports = fit(place, subject, FrozenHeadConfig(C=0.1), base=base, trainer=FrozenHead)
    assert accuracy(subject, reports[-1][1]) > (0.9 if base == PIXELS else 0.5)
    np.testing.assert_allclose(to_matrix(model.predict(validation(subject)[0])), reports[-1][1], atol=1e-4)
    _same_as_the_library(subject, model, tmp_path)


def _same_as_the_library(subject, model, folder):
    """The saved folder gives the same probabilities through autosft and through Transformers alone."""
    rows, _ = validation(subject)
    model.save(folder)
    outputs = model.predict(rows)
    assert largest_difference(TransformersTrainer.load(folder).predict(rows), outputs) < 1e-6
    assert not [path for path in folder.rglob("*") if path.suffix not in (".json", ".safetensors")]
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    library = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert list(library.config.id2label.values()) == list(IMAGE_LABELS)
    from PIL import Image

    images = [Image.open(image["path"]) for image in rows["image"].to_pylist()]
    with torch.no_grad():
        wanted = library(**processor(images, return_tensors="pt")).logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(to_matrix(outputs), wanted, atol=1e-5)


@pytest.mark.parametrize("base", ["resnet", "vit", "convnext"])
def test_losses_are_those_of_a_plain_trainer(place, subject, monkeypatch, base, in_bf16):
    """At one configuration and seed, every loss is what `transformers.Trainer` computes from the same batches."""
    task, data = subject
    # The last batch of an epoch is left whole: there the library knows nothing of tiny ones.
    data = replace(data, train=data.train[:80])
    losses = []
    ours = loop._Trainer.compute_loss

    def noted(self, *args, **kwargs):
        loss = ours(self, *args, **kwargs)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(loop._Trainer, "compute_loss", noted)
    fit(place, (task, data), PLAIN, base=base)

    torch.manual_seed(0)
    model = load_with_head(place / base, Input.IMAGE, Output.LABEL, width=3)
    processor = AutoImageProcessor.from_pretrained(place / base, backend="pil")
    from PIL import Image

    paths = [image["path"] for image in data.all.table()["image"].to_pylist()]
    pixels = processor([Image.open(path) for path in paths], return_tensors="pt")["pixel_values"]
    targets = torch.tensor(to_numbers(data.all.targets()))
    orders = [shuffled_by_length(np.ones(80, int), 16, np.random.default_rng((0, epoch))) for epoch in (0, 1)]
    rows = [{"pixel_values": pixels[at], "labels": targets[at]} for order in orders for at in data.train[order]]

    plain = []

    class Plain(transformers.Trainer):
        def _get_train_sampler(self, train_dataset=None):
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            plain.append(loss.item())
            return loss

    arguments = transformers.TrainingArguments(
        output_dir=str(place / "plain"), max_steps=10, per_device_train_batch_size=16, max_grad_norm=1.0, seed=0,
        use_cpu=True, bf16=in_bf16, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    groups = parameter_groups(model, learning_rate=5e-3, weight_decay=0.01, layer_decay=1.0)
    optimizer = torch.optim.AdamW(groups)

    def factor(step):
        at = (step + 0.5) / 10
        return at / 0.1 if at < 0.1 else (1 - at) / 0.9

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    Plain(model=model, args=arguments, train_dataset=rows, optimizers=(optimizer, schedule)).train()
    assert len(losses) == len(plain) == 10
    np.testing.assert_allclose(losses, plain, atol=1e-4)


@pytest.mark.parametrize("name", ["flip-crop", "trivial-augment", "random-erasing", "mixup"])
def test_every_augmentation_trains(place, subject, name):
    _, reports = fit(place, subject, replace(PLAIN, augmentation=name))
    assert np.isfinite(reports[-1][1]).all()


def test_mixed_labels_count_once_a_row(place, subject, monkeypatch):
    """A loss over shares of labels is the mean over rows, as it is over labels."""
    losses = {}
    ours = loop._Trainer.compute_loss

    class Unmixed(augmentation_class("mixup")):
        def __call__(self, batch, rng):
            return {**batch, "labels": nn.functional.one_hot(batch["labels"], 3).float()}

    def noted(self, *args, **kwargs):
        loss = ours(self, *args, **kwargs)
        losses.setdefault(self.loop.settings.augmentation is None, []).append(loss.item())
        return loss

    monkeypatch.setattr(loop._Trainer, "compute_loss", noted)
    monkeypatch.setattr("autosft.trainers.with_transformers.augmentation", lambda *named: Unmixed().prepared(None, 3))
    monkeypatch.setattr(Unmixed, "prepared", lambda self, examples, width: self)
    for config in (PLAIN, replace(PLAIN, augmentation="mixup")):
        fit(place, subject, config)
    np.testing.assert_allclose(losses[True], losses[False], atol=1e-5)


def test_soft_labels_take_weights_and_smoothing():
    import pyarrow as pa

    targets = pa.array([0, 0, 0, 1, 2], pa.int64())
    objective = OneLabel(3).learn(targets, np.arange(5), balanced=True, smoothing=0.1)
    labels, logits = torch.tensor([0, 1, 2]), torch.randn(3, 3)
    soft = nn.functional.one_hot(labels, 3).float()
    assert objective.loss(logits, soft) == pytest.approx(float(objective.loss(logits, labels)), abs=1e-5)
    assert objective.countable(soft).shape == objective.countable(labels).shape


@pytest.mark.parametrize("base", ["resnet", "vit", "convnext"])
def test_dropout_drops_while_it_trains_and_never_afterwards(place, subject, base):
    """ViT's own fields are set; ResNet and ConvNeXt have none, so what enters their last layer is dropped."""
    task, data = subject
    trainer = TransformersTrainer(describe(str(place / base)), locate(str(place / base)))
    limits = Limits(num_threads=1, cache=place / "cache")
    network = trainer._network(replace(PLAIN, dropout=0.5), task, data, 0, limits)
    images = torch.rand(16, 3, 16, 16)
    with torch.no_grad():
        first, second = (network.train()(pixel_values=images) for _ in range(2))
        same, again = (network.eval()(pixel_values=images) for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(same, again)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_tiny_batch_does_not_break_batch_normalisation(place, rows):
    network = ArchitectureClassifier(load_with_head(place / "resnet", Input.IMAGE, Output.LABEL, width=3)).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    network(pixel_values=torch.rand(rows, 3, 4, 4)).sum().backward()
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    network(pixel_values=torch.rand(16, 3, 16, 16))
    assert not torch.equal(norms[0].running_mean, before[0])


@pytest.mark.parametrize("base", ["vit", "mobilevit", "convnext"])
def test_where_one_image_does_not_fit_activations_are_computed_twice(place, subject, monkeypatch, base):
    config = replace(PLAIN, num_train_epochs=1)
    _, [(_, kept)] = fit(place, subject, config, base=base, micro_batch_size=1)
    forward = ArchitectureClassifier.forward

    def limited(self, **batch):
        if self.training and not any(getattr(module, "gradient_checkpointing", False) for module in self.modules()):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, **batch)

    monkeypatch.setattr(ArchitectureClassifier, "forward", limited)
    if base == "convnext":
        # Its layers are not made for that.
        with pytest.raises(TrialFailed, match=r"one row of length .* does not fit in memory"):
            fit(place, subject, config, base=base)
        return
    model, [(_, again)] = fit(place, subject, config, base=base)
    assert model.micro_batch_size == 1
    np.testing.assert_allclose(again, kept, atol=1e-4)


def test_features_are_what_the_last_layer_is_given(place):
    for base in ("resnet", "vit"):
        network = ArchitectureClassifier(load_with_head(place / base, Input.IMAGE, Output.LABEL, width=3)).eval()
        images = torch.rand(5, 3, 16, 16)
        features, linear = network.features(pixel_values=images), last_linear(network)
        assert features.shape == (5, linear.in_features)
        assert torch.allclose(linear(features), network(pixel_values=images), atol=1e-6)


def test_rates_fall_from_the_head_to_the_first_stage(place):
    for base, parts in {
        "resnet": ("resnet.embedder", "encoder.stages.0", "encoder.stages.1", "classifier"),
        "vit": ("embeddings", "layer.0.", "layer.1.", "classifier"),
    }.items():
        network = ArchitectureClassifier(load_with_head(place / base, Input.IMAGE, Output.LABEL, width=3))
        groups = parameter_groups(network, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
        rate_of = {id(each): group["lr"] for group in groups for each in group["params"]}
        names = {name.replace("layers.", "layer."): rate_of[id(each)] for name, each in network.named_parameters()}
        found = [{rate for name, rate in names.items() if part in name} for part in parts]
        assert found == [{0.125}, {0.25}, {0.5}, {1.0}], base


@pytest.mark.parametrize(
    ("base", "parts"),
    [
        ("resnet", ("embedder.", "stages.0.")),
        ("vit", ("embeddings.", "layers.0.")),
        ("convnext", ("embeddings.", "stages.0.")),
    ],
)
def test_frozen_stages_stay_as_they_were_and_the_others_do_not(place, subject, base, parts):
    before = load_with_head(place / base, Input.IMAGE, Output.LABEL, width=3).state_dict()
    model, _ = fit(place, subject, replace(PLAIN, frozen_share=0.5), base=base)
    after = model.network.model.state_dict()
    # Running statistics are of the rows too, and what is above was trained on what they gave.
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    frozen = {name for name in after if any(part in name for part in parts)}
    assert same >= frozen
    # A key's bias is the same for all that a query looks at.
    assert {name for name in same - frozen if not name.endswith(("key.bias", "k_proj.bias"))} == set()


def test_a_small_share_keeps_the_stem_alone(place, subject):
    model, _ = fit(place, subject, replace(PLAIN, num_train_epochs=1, frozen_share=0.2))
    frozen = {name for name, value in model.network.named_parameters() if not value.requires_grad}
    assert frozen and all("embedder." in name for name in frozen)


def test_stems_and_stages_are_told_by_their_names(place):
    from transformers import PoolFormerConfig, PoolFormerForImageClassification

    # Each of its stages starts with patches of its own.
    pooling = PoolFormerForImageClassification(PoolFormerConfig(hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1]))
    for model, expected in {
        load_with_head(place / "mobilevit", Input.IMAGE, Output.LABEL, width=3): r"conv_stem\.|encoder\.layer\.[01]\.",
        pooling: r"encoder\.(patch_embeddings|block)\.[01]\.",
    }.items():
        network = ArchitectureClassifier(model)
        freeze(network, 0.5)
        frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
        assert frozen == {name for name, _ in network.named_parameters() if re.search(expected, name)}


def test_random_weights_are_never_frozen(place, subject):
    [arm], _ = draft_arms(
        Input.IMAGE, Output.LABEL, num_rows=200, models=[SCRATCH_RESNET], trainers=["transformers"], space=None,
        machine=Machine(2),
    )  # fmt: skip
    searched = [parameter.name for parameter in arm.space.parameters]
    assert "layer_decay" in searched and "frozen_share" not in searched
    config = replace(TransformersConfig(**arm.default), num_train_epochs=1, frozen_share=0.5)
    model, _ = fit(place, subject, config, base=SCRATCH_RESNET)
    assert all(value.requires_grad for value in model.network.parameters())
    before = load_with_head(locate(SCRATCH_RESNET), Input.IMAGE, Output.LABEL, width=3).state_dict()
    after = model.network.model.state_dict()
    assert not [name for name, value in after.items() if torch.equal(value, before[name])]


def test_the_depth_of_freezing_is_searched_where_there_is_something_to_keep(place):
    [arm], _ = draft_arms(
        Input.IMAGE, Output.LABEL, num_rows=200, models=[str(place / "resnet")], trainers=["transformers"], space=None,
        machine=Machine(2),
    )  # fmt: skip
    [depth] = [parameter for parameter in arm.space.parameters if parameter.name == "frozen_share"]
    assert arm.default["frozen_share"] == 0.0 and depth.values[0] == 0.0


def test_measuring_counts_the_side_as_its_length(place, subject):
    cost = TransformersTrainer(tiny_base_model(place / "vit"), place / "vit").measure(
        PLAIN, *subject, limits=Limits(num_threads=1, cache=place / "cache")
    )
    assert (cost.max_length, cost.share_cut) == (16, 0.0)
    assert cost.run_seconds > 0


def test_local_image_models_are_told_by_their_files(place, tmp_path):
    for base in ("resnet", "vit"):
        row = describe(str(place / base))
        assert (row.inputs, row.context_tokens, row.pretrained) == ((Input.IMAGE,), 16, True)
    config = json.loads((place / "vit" / "config.json").read_text())
    assert "image_size" in config


def test_models_that_are_made_here_come_last_and_are_always_there(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert [row.id for row in candidates(Input.IMAGE, offline=True)] == [SCRATCH_RESNET, PIXELS]
    online = candidates(Input.IMAGE, offline=False)
    assert [row.pretrained for row in online] == sorted((row.pretrained for row in online), reverse=True)
    assert {row.licence for row in online} == {"apache-2.0"}


def test_one_seed_makes_one_network(monkeypatch, tmp_path):
    contents = []
    for name in ("a", "b"):
        monkeypatch.setenv("AUTOSFT_CACHE", str(tmp_path / name))
        contents.append((locate(SCRATCH_RESNET) / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]


def test_without_weights_each_made_model_has_its_trainer_and_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    arms, reasons = draft_arms(
        Input.IMAGE, Output.LABEL, num_rows=200, models=None, trainers=None, space=None, machine=Machine(2)
    )
    assert {arm.name for arm in arms} == {f"transformers/{SCRATCH_RESNET}", f"frozen_head/{PIXELS}"}
    assert any("would do better" in reason for reason in reasons)
    scratch = next(arm for arm in arms if arm.trainer == "transformers")
    assert scratch.default["num_train_epochs"] == 40 and scratch.default["head"] == "architecture"


def test_a_made_model_is_not_given_to_a_trainer_it_is_not_for():
    with pytest.raises(PlanError, match="transformers cannot start from any of the models: pixels for frozen_head"):
        draft_arms(
            Input.IMAGE, Output.LABEL, num_rows=200, models=[PIXELS], trainers=["transformers"], space=None,
            machine=Machine(2),
        )  # fmt: skip


@pytest.mark.parametrize("trainer", [TransformersTrainer, FrozenHead])
def test_the_space_fits_the_trainer_and_its_default(trainer):
    space = load_space(trainer.name, Input.IMAGE, Output.LABEL)
    space.check(trainer.Config)


def test_a_network_from_scratch_learns(place, subject):
    base = describe(SCRATCH_RESNET)
    config = TransformersTrainer.default_config(base, 96, Input.IMAGE, Output.LABEL)
    _, reports = fit(place, subject, replace(config, num_train_epochs=8), base=SCRATCH_RESNET)
    assert accuracy(subject, reports[-1][1]) > 0.8
