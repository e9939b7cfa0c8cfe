"""Text to token ids, with the answer found among them.

Prompt and answer are tokenised together, as the model would meet them, and the answer's tokens are
found by their character offsets. A token that holds both a character of the prompt and one of the
answer has no place to be predicted from, and is refused; white space between the two may belong to
either side, since it doesn't change what is predicted.

Special tokens: none, except a beginning-of-sequence token where the tokenizer itself puts one
before plain text (Llama, Gemma; not GPT-2, as in the paper). `bos=True | False` overrides that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgewise.errors import DataError, TokenizerError


class Marked(NamedTuple):
    """A text whose characters start..stop are the answer."""

    text: str
    start: int
    stop: int

    @classmethod
    def of(cls, prompt: str, answer: str) -> Marked:
        return cls(prompt + answer, len(prompt), len(prompt) + len(answer))

    @property
    def prompt(self) -> str:
        return self.text[: self.start]


class Located(NamedTuple):
    """Token ids of a text, of which first..last are the answer's."""

    ids: tuple[int, ...]
    first: int
    last: int


@dataclass(frozen=True)
class Encoder:
    """A fast Hugging Face tokenizer and the choice whether a BOS token goes first."""

    tokenizer: Any
    bos: bool

    @classmethod
    def of(cls, tokenizer: Any, bos: bool | None = None) -> Encoder:
        """Settle `bos`: what the tokenizer does with plain text, unless it is given.

        Raises TokenizerError for what is no tokenizer or one without offsets, and for `bos=True`
        without a BOS token.
        """
        if not hasattr(tokenizer, "is_fast"):
            raise TokenizerError(
                f"a {type(tokenizer).__name__} is no tokenizer: give a model's own, model.tokenizer"
            )
        if not tokenizer.is_fast:
            raise TokenizerError(
                f"{type(tokenizer).__name__} does not report character offsets, by which answers "
                "are found. Load a fast tokenizer (one with a tokenizer.json)."
            )
        if bos and tokenizer.bos_token_id is None:
            raise TokenizerError(
                "bos=True, but the tokenizer has no BOS token. "
                "Leave bos out, or set tokenizer.bos_token."
            )
        if bos is None:
            with_special = tokenizer("a").input_ids
            without = tokenizer("a", add_special_tokens=False).input_ids
            bos = with_special != without and with_special[0] == tokenizer.bos_token_id
        return cls(tokenizer, bool(bos))

    @property
    def pad_id(self) -> int:
        """The padding token, else the end-of-sequence token, else 0: it is always masked out."""
        choices = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(token for token in choices if token is not None)

    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer: vocabulary, merges and rules."""
        # The serialisation opens with "truncation" and "padding", which earlier calls may have set.
        rules = self.tokenizer.backend_tokenizer.to_str().partition('"added_tokens"')[2]
        return hashlib.sha256(rules.encode()).hexdigest()

    def ids(self, text: str) -> tuple[int, ...]:
        """All tokens of a text, BOS included if this encoder puts one."""
        return self.locate(Marked(text, len(text), len(text))).ids

    def counts(self, texts: list[str]) -> list[int]:
        """How many tokens each text has, BOS aside."""
        return [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False).input_ids]

    def locate(self, marked: Marked) -> Located:
        """Token ids of the whole text and which of them are the answer's.

        Raises DataError if a token straddles the border of prompt and answer, or of the answer
        and what follows it.
        """
        text, start, stop = marked
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
        inside = [
            i
            for i, (a, b) in enumerate(offsets)
            # an empty stretch is a white-space token whose offsets were trimmed
            if (a < stop and b > start) or (a == b and start <= a < stop)
        ]
        for i in inside:
            a, b = offsets[i]
            if text[a:start].strip() or text[stop:b].strip():
                raise DataError(
                    f"the tokenizer merges {text[a:b]!r} into one token, across the border of the "
                    f"answer {text[start:stop]!r}. Move the border to a token boundary: an answer "
                    "usually begins with the space before its word."
                )
        first, last = (inside[0], inside[-1] + 1) if inside else (len(ids), len(ids))
        # A chat template may have written the BOS token out.
        if self.bos and ids[:1] != [self.tokenizer.bos_token_id]:
            return Located((self.tokenizer.bos_token_id, *ids), first + 1, last + 1)
        return Located(tuple(ids), first, last)

    def word(self, text: str, after: str = "so") -> tuple[int, ...]:
        """The tokens of `text` where it follows `after`; usually it begins with a space."""
        ids, first, last = self.locate(Marked.of(after, text))
        return ids[first:last]

    def single(self, text: str, after: str = "so") -> int:
        """The one token of `text` where it follows `after`.

        TokenizerError if it has several, or is unknown.
        """
        tokens = self.word(text, after)
        if len(tokens) != 1 or tokens[0] == self.tokenizer.unk_token_id:
            raise TokenizerError(
                f"this task needs {text!r} to be one token; the tokenizer makes {len(tokens)}: "
                f"{self.show(tokens)}. Use another tokenizer, or write the prompts as JSONL."
            )
        return tokens[0]

    def show(self, ids: tuple[int, ...]) -> str:
        """Tokens as a person can read them: `Then| Mary| and`."""
        decode = self.tokenizer.decode
        return "|".join(decode([i], clean_up_tokenization_spaces=False) for i in ids)
