"""A clean and a corrupted prompt become one Example, or an error that shows where they part.

The corrupted run is patched into the clean one position by position, so both prompts must have
the same number of tokens before the answer, and the corrupted one all that the clean answer puts
in: its tokens but the last. What a longer corrupted answer has beyond them is cut off.
"""

from __future__ import annotations

from itertools import zip_longest

from edgewise.errors import DataError
from edgewise.tasks.encoder import Encoder, Located, Marked
from edgewise.tasks.example import Example

SHOWN = 16  # rows of the side-by-side table


def align(
    encoder: Encoder,
    clean: Marked,
    corrupted: Marked,
    distractor: int | None = None,
    good: tuple[int, ...] = (),
    bad: tuple[int, ...] = (),
    most: int | None = None,
) -> Example:
    """Tokenise both prompts, check that they align, and cut after the last predicting position.

    Of a longer answer only the first `most` tokens are predicted.

    Raises DataError if the answer is empty, comes first, is the distractor itself or is unknown to
    the tokenizer, if tokens before the answer differ in number or the corrupted answer is more than
    one token shorter, and if the prompts differ in no token.
    """
    ids, first, last = encoder.locate(clean)
    other = encoder.locate(corrupted)
    if first == last:
        raise DataError("the clean prompt's answer is empty; put the expected text there")
    if first == 0:
        raise DataError(
            f"nothing comes before the answer {clean.text[: clean.stop]!r}; "
            "a prediction needs at least one token before it (bos=True would put one there)"
        )
    last = last if most is None else min(last, first + most)
    # The answer's own tokens but the last are part of the input.
    if first != other.first or other.last < last - 1:
        raise DataError(_unequal(encoder, Located(ids, first, last), other))
    if ids[:first] == other.ids[:first]:
        raise DataError(
            f"the corrupted prompt has the same tokens as the clean one, {clean.prompt!r}, so that "
            "patching it in changes nothing and every circuit passes for faithful. Change a word "
            "of it on which the answer depends"
        )
    answers = ids[first:last]
    if encoder.tokenizer.unk_token_id in answers:  # None is in no answer
        raise DataError(
            f"the tokenizer doesn't know all of the answer "
            f"{clean.text[clean.start : clean.stop]!r}: it makes {encoder.show(answers)} of it. "
            "Choose an answer in its vocabulary"
        )
    if distractor == answers[0]:
        raise DataError(
            f"the distractor begins with the same token as the answer "
            f"({encoder.show(answers[:1])!r}), so the two can't be told apart; choose another"
        )
    return Example(
        clean=ids[: last - 1],
        corrupted=other.ids[: last - 1],
        positions=tuple(range(first - 1, last - 1)),
        answers=answers,
        distractor=distractor,
        good=good,
        bad=bad,
    )


def _unequal(encoder: Encoder, clean: Located, corrupted: Located) -> str:
    def split(prompt: Located) -> list[str]:
        return [repr(encoder.show((token,)))[1:-1] for token in prompt.ids[: prompt.last]]

    def count(prompt: Located) -> str:
        return f"{prompt.first} + {prompt.last - prompt.first}"

    rows = list(zip_longest(split(clean), split(corrupted), fillvalue=""))
    parting = next((i for i, (left, right) in enumerate(rows) if left != right), 0)
    start = max(0, min(parting - 2, len(rows) - SHOWN))
    shown = [("clean", "corrupted"), *rows[start : start + SHOWN]]
    width = max(len(left) for left, _ in shown)
    table = [f"    {left:<{width}} | {right}".rstrip() for left, right in shown]
    if start:
        table.insert(1, f"    ... {start:,} more")
    if (below := len(rows) - start - SHOWN) > 0:
        table.append(f"    ... {below:,} more")
    listed = "\n".join(table)
    return (
        "the prompts must have equally many tokens before and in the answer, because the corrupted "
        f"run is patched in position by position; they have {count(clean)} (clean) and "
        f"{count(corrupted)} (corrupted):\n{listed}\n"
        "Reword one of them until the columns are equally long."
    )
