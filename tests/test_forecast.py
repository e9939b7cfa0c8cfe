"""A forecast against the tensors of a real step, and its arithmetic against sums by hand."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, MixtralConfig

import tiny
from edgewise.cli import main
from edgewise.counting import Counter, storage_bytes
from edgewise.errors import ConfigError, ModelError
from edgewise.forecast import Amount, Forecast, empty, forecast
from edgewise.graph import Graph
from edgewise.loading import config_of
from edgewise.models.model import Model, build
from edgewise.models.shapes import SHAPES, shape
from edgewise.ops import gates
from edgewise.ops.kl import kl_rows
from edgewise.prepared import Prepared, prepare
from edgewise.stream import dense_mask, masked_read
from edgewise.tasks.example import Example, collate

PROMPTS, TOKENS = 9, 14
each_model = pytest.mark.parametrize("name", ["gpt2-eager", "llama-gqa-eager", "post-norm"])


@cache
def deep(name: str) -> Model:
    """A tiny model with so many blocks that a step keeps more than a block has in work."""
    family, make = tiny.MODELS[name]
    hf = make()
    hf.config.num_hidden_layers = 4
    if kinds := getattr(hf.config, "layer_types", None):
        hf.config.layer_types = kinds[:1] * 4
    return build(tiny.filled(type(hf)(hf.config)), None, name, family, "joint")


def prepared(name: str) -> Prepared:
    """Prompts of which no two begin alike, as a forecast counts them."""
    examples = [
        Example((first, *[3] * (TOKENS - 1)), (first + 1, *[4] * (TOKENS - 1)), (TOKENS - 1,), (0,))
        for first in range(0, 2 * PROMPTS, 2)
    ]
    return prepare(deep(name), collate(examples, 0))


@cache
def expected(name: str) -> Forecast:
    return forecast(deep(name).config, tokens=TOKENS, batch_size=PROMPTS)


def shallow(folder: Path) -> str:
    """A folder with the config of a tiny model of one block, which is soon counted."""
    config = deep("gpt2").config.to_dict() | {"n_layer": 1}
    GPT2Config(**config).save_pretrained(folder)
    return str(folder)


def tensors(*holders: object) -> list[torch.Tensor]:
    """The tensors that are fields of these."""
    return [t for held in holders for t in vars(held).values() if isinstance(t, torch.Tensor)]


def open_mask(ready: Prepared) -> torch.Tensor:
    log_alpha = torch.zeros(ready.model.graph.n_edges, requires_grad=True)
    return dense_mask(ready.model.graph, gates.gate(log_alpha))


# Against a step that happens


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "llama-mqa", "parallel"])
def test_what_a_step_keeps_is_what_its_tape_holds(name):
    """The run saved for the backward pass, tensor by tensor; blocks gone back through let go, and
    with the first of them the differences where the logits are read."""
    ready, parts = prepared(name), expected(name).parts
    read = masked_read(ready.model, open_mask(ready), ready.outer, ready.run, ready.index)
    (run, _), *_ = read.grad_fn.next_functions
    wide, narrow = (storage_bytes([each for _, each in held]) for held in run.differences)
    for which in ("difference buffer", "gradient buffer"):
        assert parts[which].of(PROMPTS) == wide
    shared = tensors(*ready.run.layers)
    kept = []
    for blocks in range(1, ready.model.graph.n_layers + 1):
        tapes = run.tapes[:blocks]
        reads = [each for tape in tapes for each in tape.reads]
        held = storage_bytes([*tensors(*tapes, *reads), *shared])
        kept.append(held - storage_bytes(shared))
    kept.append(kept[-1] + narrow)
    found = parts["kept projections"].of(PROMPTS)
    assert min(abs(found / size - 1) for size in kept) < 0.06
    cached = ready.n_bytes - storage_bytes([ready.full])
    cached += storage_bytes([*ready.outer.embeddings, *tensors(ready.batch)])
    assert parts["cached run"].of(PROMPTS) == pytest.approx(cached, rel=0.03)


@each_model
def test_the_peak_is_that_of_a_step(name):
    model = deep(name)
    masked_read(model, open_mask(ready := prepared(name)), ready.outer, ready.run)  # caches filled
    del ready
    with Counter("") as counter:
        ready = prepared(name)
        read = masked_read(model, open_mask(ready), ready.outer, ready.run, ready.index)
        kl_rows(ready.full, model.head(read)).sum().backward()
    found = expected(name)
    peak = found.peak(PROMPTS) - found.weights - found.parts["gates and optimiser"].of(PROMPTS)
    assert peak == pytest.approx(counter.peak[""], rel=0.04)
    assert found.flops.of(PROMPTS) == pytest.approx(counter.flops, rel=0.04)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_of_gpt2_takes_two_and_a_half_difference_buffers(dtype):
    """The weights and the ablated run, which a search may do without, apart."""
    found = forecast(GPT2Config(), tokens=20, batch_size=16, dtype=dtype)
    held = found.memory(16)
    above = sum(held.values()) - held["weights"] - held["cached run"]
    assert above < 2.5 * 157 * 16 * 20 * 768 * dtype.itemsize


@each_model
def test_weights_are_those_of_the_model(name):
    model, found = deep(name), expected(name)
    parameters = list(model.hf.parameters())
    assert found.parameters == sum(p.numel() for p in parameters)
    assert found.weights == storage_bytes([*parameters, *model.hf.buffers()])
    assert found.graph == model.graph
    blocks = [storage_bytes(block.module.parameters()) for block in model.blocks]
    assert (found.blocks, found.block) == (sum(blocks), max(blocks))


def test_other_batches_follow_from_two():
    """But for a block's own scratch, whose largest part may be another in a larger batch."""
    config = GPT2Config(n_layer=16, n_head=3, n_embd=24, vocab_size=50, n_positions=20)
    few, many = (forecast(config, tokens=16, batch_size=size) for size in (10, 60))
    assert few.peak(60) == pytest.approx(many.peak(60), rel=0.05)
    assert few.flops.of(60) == many.flops.of(60)


@pytest.mark.parametrize("batch_size", [8, 16])
def test_another_stage_may_be_the_fullest_in_a_larger_batch(batch_size, monkeypatch):
    """Of the 4 and 5 prompts that are counted, 4 need most for logits, 5 for the backward pass."""
    sizes = {"n_layer": 16, "n_head": 3, "n_embd": 96, "n_positions": 64, "vocab_size": 32000}
    config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    found = forecast(config, tokens=64, batch_size=batch_size)
    monkeypatch.setattr("edgewise.forecast.COUNTED", 64 * 16 * batch_size)
    counted = forecast(config, tokens=64, batch_size=batch_size)
    assert found.memory(batch_size) == counted.memory(batch_size)


def test_no_part_is_below_nothing():
    assert Amount(-20, 6).of(3) == 0
    assert Amount(-20, 6).of(4) == 4


def test_half_the_bytes_in_half_the_bits():
    sizes = {"tokens": TOKENS, "batch_size": PROMPTS}
    wide = expected("llama-gqa")
    half = forecast(deep("llama-gqa").config, dtype=torch.bfloat16, **sizes)
    assert wide.weights == pytest.approx(2 * half.weights, rel=1e-3)  # rotary angles stay float32
    for part in ("difference buffer", "gradient buffer"):
        sizes = [found.parts[part].of(PROMPTS) for found in (wide, half)]
        # 22 writers before the last block
        assert sizes == [22 * PROMPTS * TOKENS * 18 * size for size in (4, 2)]


# Arithmetic

MADE_UP = Forecast(
    name="made up",
    dtype="bfloat16",
    tokens=10,
    graph=Graph(2, 1, 1),
    parameters=500,
    weights=1000,
    blocks=800,
    block=400,
    parts={"buffer": Amount(0, 30), "gates": Amount(95, 0), "scratch": Amount(5, 20)},
    flops=Amount(7, 2),
)


def test_a_batch_of_any_size():
    assert MADE_UP.memory(4) == {"weights": 1000, "buffer": 120, "gates": 95, "scratch": 85}
    assert MADE_UP.peak(4) == 1300
    assert MADE_UP.flops.of(4) == 15


def test_ranks_share_blocks_and_prompts():
    """200 bytes are around the blocks; of 800, a rank has 800/n and two blocks gathered."""
    sharded = replace(MADE_UP, blocks=8000, block=400, weights=8200)
    assert sharded.memory(9, 4)["weights"] == 200 + 2000 + 800
    assert sharded.memory(9, 4)["buffer"] == 3 * 30  # the fullest rank has three prompts
    assert sharded.peak(9, 1) == 8200 + 9 * 50 + 100


def test_of_blocks_on_disk_two_are_in_memory():
    left = replace(MADE_UP, blocks=8000, block=400, weights=8200).on_disk()
    assert left.memory(3)["weights"] == left.memory(8, 4)["weights"] == 200 + 800
    assert left.largest_batch(1500) == 6  # 1100 + 6 x 50 of 1425
    assert left.ranks(1500, 10) == 2


def test_the_largest_batch_is_the_last_that_fits():
    # 0.95 c >= 1100 + 50 B
    assert MADE_UP.largest_batch(1e4) == 168
    assert MADE_UP.fits(1e4, 168)
    assert not MADE_UP.fits(1e4, 169)
    assert MADE_UP.largest_batch(1100) == 0
    # two ranks: 200 + 400 + 800 + 100 + 50 B/2
    assert MADE_UP.largest_batch(1e4, 2) == 2 * 160


def test_the_fewest_ranks():
    sharded = replace(MADE_UP, blocks=8000, block=400, weights=8200)  # 8300 + 50 B alone
    assert sharded.ranks(1e4, 20) == 1  # 9300 of 9500
    assert sharded.ranks(1e4, 40) == 2  # 10300; then 200 + 4000 + 800 + 100 + 1000
    assert sharded.ranks(1600 / 0.95, 1) == 18  # 1150 + 8000/n, one prompt each
    assert sharded.ranks(1150, 1) is None


# Which models


def test_counts_of_the_papers_large_model():
    """CodeLlama-13B: 3,877,661 edges with the input maskable, 13.02 billion parameters."""
    model = empty(shape("codellama-13b"), torch.bfloat16)
    graph = model.graph
    assert (graph.n_writers, graph.n_readers, graph.n_edges) == (1641, 4841, 3_877_661)
    assert sum(p.numel() for p in model.hf.parameters()) == 13_016_028_160
    assert empty(shape("codellama-13b"), torch.bfloat16, "free").graph.n_edges == 3_872_820


def test_known_shapes_are_read():
    counts = {"gpt2": 32491, "gpt2-medium": 231877, "gpt2-large": 810703, "gpt2-xl": 2235025}
    counts |= {"llama-3.2-1b": 195865, "llama-3.1-8b": 805681, "smollm2-135m": 70651}
    counts |= {"codellama-7b": 1592881}
    for name in SHAPES:
        graph = empty(shape(name), torch.float32).graph
        assert graph.n_edges == counts.get(name, graph.n_edges), name


def test_a_folder_needs_no_weights(tmp_path):
    deep("llama-gqa").config.save_pretrained(tmp_path)
    assert expected("llama-gqa") == replace(
        forecast(config_of(tmp_path), tokens=TOKENS, batch_size=PROMPTS), name="llama"
    )


def test_what_depends_on_values_is_refused():
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_attention_heads": 4}
    config = MixtralConfig(num_hidden_layers=1, num_key_value_heads=2, vocab_size=50, **sizes)
    assert forecast(config, tokens=4, batch_size=2, dtype=torch.bfloat16).peak(2) > 0
    config._experts_implementation = "eager"  # a loop over those that were chosen
    with pytest.raises(ModelError, match="which experts a router chooses"):
        forecast(config, tokens=4, batch_size=2, dtype=torch.bfloat16)


@pytest.mark.parametrize("given", [{"tokens": 0}, {"batch_size": 0}])
def test_numbers_below_one_are_refused(given):
    with pytest.raises(ConfigError, match="it must be at least 1"):
        forecast(shape("gpt2"), **given)


def test_no_more_tokens_than_learned_positions():
    config = deep("gpt2").config
    most = config.n_positions
    with pytest.raises(ConfigError, match=rf"tokens={most + 1}: .* {most} learned positions"):
        forecast(config, tokens=most + 1, batch_size=1)
    assert forecast(config, tokens=most, batch_size=1).tokens == most


@pytest.mark.slow
def test_the_papers_large_model_fits_one_gpu():
    """The paper took 32 GPUs of 80 GB; Llama-3.1-70B, 141 GB of weights, takes a few."""
    found = forecast(shape("codellama-13b"), tokens=64, batch_size=8, dtype=torch.bfloat16)
    before_the_last_block = 1641 - 41  # whose 40 heads and MLP are needed at the answers alone
    assert found.parts["difference buffer"].of(1) == before_the_last_block * 64 * 5120 * 2
    assert found.fits(80e9, 16)
    larger = forecast(shape("llama-3.1-70b"), tokens=64, batch_size=8, dtype=torch.bfloat16)
    assert larger.largest_batch(141e9) == 0
    assert 2 <= larger.ranks(80e9, 8) <= 8


# The command


def test_the_command_prints_the_forecast(tmp_path, capsys):
    given = ["plan", "--model", shallow(tmp_path), "--batch-size", "6", "--tokens", "8"]
    assert main([*given, "--world-size", "2", "--tflops", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    found = forecast(config_of(tmp_path), tokens=8, batch_size=6, dtype=torch.bfloat16)
    assert data["bytes"] == found.memory(6, 2)
    assert data["peak_bytes"] == found.peak(6, 2) == sum(data["bytes"].values())
    assert data["seconds"] == found.flops.of(6) / 2 / 2e12
    assert data["fits"]["24"] == {
        "this": True,
        "largest_batch": found.largest_batch(24e9, 2),
        "ranks": 1,
    }
    assert main([*given, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert main(given) == 0
    text = capsys.readouterr().out
    assert f"{data['edges']:,} edges" in text
    lines = [line.split() for line in text.splitlines()]
    for part in ("weights", "block activations"):
        assert [*part.split(), f"{data['bytes'][part] / 1e3:.3f}", "kB"] in lines
    assert ["together", f"{data['peak_bytes'] / 1e3:.3f}", "kB"] in lines
    assert "difference buffer" in text
    assert f"a step of 6 x 8 tokens: {data['flops'] / 1e6:.4g} MFLOP" in text


def test_as_many_ranks_as_the_forecast_names_can_be_asked_about(tmp_path, capsys, monkeypatch):
    given = ["plan", "--model", shallow(tmp_path), "--batch-size", "2", "--tokens", "8", "--json"]
    found = forecast(config_of(tmp_path), tokens=8, batch_size=2, dtype=torch.bfloat16)
    small = (found.peak(2, 5) + 1) / 0.95  # bytes
    monkeypatch.setattr("edgewise.cli.plan.DEVICES", (small / 1e9,))
    assert main(given) == 0
    ((_, fits),) = json.loads(capsys.readouterr().out)["fits"].items()
    assert fits["ranks"] == 5
    assert not fits["this"]
    assert main([*given, "--world-size", "5", "--tflops", "1"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert next(iter(data["fits"].values()))["this"]
    assert data["seconds"] == found.flops.of(2) / 2 / 1e12  # three ranks wait


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--dtype", "int8"], "choose float32"),
        (["--world-size", "0"], "--world-size 0: it must be at least 1"),
        (["--batch-size", "0"], "--batch-size 0: it must be at least 1"),
        (["--tokens", "0"], "--tokens 0: it must be at least 1"),
        (["--tokens", "1025"], "--tokens 1025: prompts of 1,025 tokens: the model has 1,024"),
        (["--tflops", "0"], "above 0"),
        (["--model", "no/such/model/here"], "no such folder"),
    ],
)
def test_the_command_says_what_is_wrong(given, message, capsys):
    assert main(["plan", "--model", "gpt2", *given]) == 2
    assert message in capsys.readouterr().err
