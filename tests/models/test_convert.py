"""GGUF conversion: faithful, once, and never half-made."""

import os
import time
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import tiny_files
from edgewise.errors import ModelError
from edgewise.models.convert import PARTIAL, STALE, cache_folder, converted

pytest.importorskip("gguf", reason="the [gguf] extra is not installed")
pytest.importorskip("accelerate", reason="the [gguf] extra is not installed")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_files.gguf_file(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def cache(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    converted((gguf,), "tiny", cache)
    return cache


def test_converted_is_what_transformers_reads_directly(gguf: Path, cache: Path) -> None:
    folder = converted((gguf,), "tiny", cache)
    direct = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    ours = AutoModelForCausalLM.from_pretrained(folder)
    assert ours.dtype == torch.float32
    assert not hasattr(ours.config, "quantization_config")
    assert direct.state_dict().keys() == ours.state_dict().keys()
    for name, weight in direct.state_dict().items():
        assert torch.equal(weight, ours.state_dict()[name]), name
    ids = torch.arange(1, 9)[None]
    torch.testing.assert_close(ours(ids).logits, direct(ids).logits)


def test_tokenizer_is_kept(gguf: Path, cache: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted((gguf,), "tiny", cache))
    text = "hello world, 42 naïve cafés"
    ids = tokenizer(text).input_ids
    assert ids == tiny_files.tokenizer()(text).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == 0


def test_second_call_reads_nothing(
    gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("edgewise.models.convert._convert", fail)
    folder = converted((gguf,), "tiny", cache)
    assert folder.parent == cache_folder(cache)
    assert transformers.__version__ in folder.name
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_parts_make_the_same_folder(gguf: Path, cache: Path, tmp_path: Path) -> None:
    content = gguf.read_bytes()
    parts = []
    for i, piece in enumerate((content[:5000], content[5000:5001], content[5001:])):
        parts.append(tmp_path / f"tiny.gguf.part{i:02}")
        parts[-1].write_bytes(piece)
    assert converted(tuple(parts), "tiny", cache) == converted((gguf,), "tiny", cache)
    apart = converted(tuple(parts), "tiny", tmp_path / "cache")
    whole = converted((gguf,), "tiny", cache)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (apart / name).read_bytes() == (whole / name).read_bytes()


def test_failed_conversion_leaves_nothing(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = LlamaForCausalLM.save_pretrained

    def die(self: LlamaForCausalLM, folder: Path, **options: object) -> None:
        save(self, folder, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", die)
    with pytest.raises(KeyboardInterrupt):
        converted((gguf,), "tiny", tmp_path)
    assert list(cache_folder(tmp_path).iterdir()) == []
    monkeypatch.undo()
    assert (converted((gguf,), "tiny", tmp_path) / "model.safetensors").is_file()


def test_leftovers_of_a_killed_conversion_are_swept(gguf: Path, tmp_path: Path) -> None:
    old = cache_folder(tmp_path) / f"{PARTIAL}old"
    new = cache_folder(tmp_path) / f"{PARTIAL}new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    os.utime(old, (time.time() - 2 * STALE,) * 2)
    converted((gguf,), "tiny", tmp_path)
    assert not old.exists()
    assert new.exists()


def test_the_slower_of_two_processes_uses_the_faster_ones_folder(
    gguf: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = converted((gguf,), "tiny", cache).name
    theirs = cache_folder(tmp_path) / name

    def convert(_: Path, folder: Path, __: str) -> None:
        for place in (folder, theirs):
            place.mkdir(parents=True)
            (place / "config.json").write_text("{}")
        (theirs / "theirs").touch()

    monkeypatch.setattr("edgewise.models.convert._convert", convert)
    assert converted((gguf,), "tiny", tmp_path) == theirs
    assert (theirs / "theirs").exists()
    assert list(cache_folder(tmp_path).iterdir()) == [theirs]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("not one")
    with pytest.raises(ModelError, match="not a GGUF file"):
        converted((path,), "notes", tmp_path)


def test_a_file_without_all_weights_is_refused(tmp_path: Path) -> None:
    path = tiny_files.gguf_file(tmp_path / "lacking.gguf", without="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match=r"lacks .*layers\.1\.mlp\.up_proj"):
        converted((path,), "lacking", tmp_path)
    assert list(cache_folder(tmp_path).iterdir()) == []


def test_missing_reader_says_what_to_type(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'edgewise\[gguf\]'"):
        converted((gguf,), "tiny", tmp_path)


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgewise" / "converted"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "edgewise" / "converted"
