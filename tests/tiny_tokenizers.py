"""Tiny tokenizers whose every token is known."""

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


@cache
def word_level(text: str, bos: bool = False) -> PreTrainedTokenizerFast:
    """A token a word or punctuation mark: 0 unknown, 1 pad, 2 BOS, then words as first met."""
    splitter = pre_tokenizers.Whitespace()
    found = [word for word, _ in splitter.pre_tokenize_str(text)]
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys(["<unk>", "<pad>", "<s>", *found]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    return _finished(tokenizer, bos)


@cache
def bpe(text: str, number: str = r"\d", bos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE that knows each word of `text` as one token; `number` matches whole tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(number), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        special_tokens=["<unk>", "<pad>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return _finished(tokenizer, bos)


@cache
def metaspace(text: str) -> PreTrainedTokenizerFast:
    """Llama's way with spaces: each word, the first too, is one token that begins with a bar."""
    words = dict.fromkeys(["<unk>", "<pad>", "<s>", *("\u2581" + word for word in text.split())])
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    return _finished(tokenizer, bos=True)


def _finished(tokenizer: Tokenizer, bos: bool) -> PreTrainedTokenizerFast:
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>"
    )
