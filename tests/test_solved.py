"""How many prompts a model answers itself, against the Hugging Face model asked one by one."""

from dataclasses import replace

import pytest
import torch

import tiny
import toy
from edgewise import solved
from edgewise.errors import ConfigError, DataError
from edgewise.solved import FEW, Solved
from edgewise.tasks import Task


def predicted(model, example, among=None):
    """The model's own answers at an example's positions."""
    logits = model.hf(torch.tensor([example.clean])).logits[0, list(example.positions)]
    if among is None:
        return tuple(logits.argmax(-1).tolist())
    return tuple(among[i] for i in logits[:, list(among)].argmax(-1).tolist())


def task_with(model, right, among=None, **sets):
    """Toy prompts with the model's own answers where `right`, and with others elsewhere."""
    examples = []
    for number, is_right in enumerate(right):
        example = toy.example(number, distractor=False)
        answers = predicted(model, example, among)
        if not is_right:
            wrong = next(token for token in among or range(9) if token != answers[-1])
            answers = (*answers[:-1], wrong)
        examples.append(replace(example, answers=answers))
    return Task("toy", {"test": tuple(examples)}, pad_id=0, token_set=among)


RIGHT = [True, False, True, True, False, False, True, True, True]


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "post-norm"])
@pytest.mark.parametrize("among", [None, (3, 7, 11, 20)])
def test_right_is_what_the_model_itself_would_say(name, among):
    model = tiny.model(name)
    found = solved(model, task_with(model, RIGHT, among), batch_size=4)
    assert found == Solved("test", right=6, asked=9, total=9)
    assert found.share == pytest.approx(2 / 3)


def test_any_good_answer_will_do():
    model = tiny.model("gpt2")
    example = toy.example(0, answers=1, distractor=False)
    (best,) = predicted(model, example)
    other = (best + 1) % tiny.VOCABULARY
    for good, right in (((other, best), 1), ((other,), 0)):
        asked = replace(example, answers=(other,), good=good)
        assert solved(model, Task("toy", {"test": (asked,)}, pad_id=0)).right == right


def test_a_sample_is_evenly_spaced():
    model = tiny.model("gpt2")
    task = task_with(model, [number % 3 == 0 for number in range(12)])
    assert solved(model, task, prompts=4) == Solved("test", right=4, asked=4, total=12)
    assert solved(model, task, prompts=5) == Solved("test", right=4, asked=4, total=12)
    assert solved(model, task, prompts=1).asked == 1
    assert solved(model, task, prompts=100).asked == 12


def test_what_is_said():
    assert str(Solved("test", 184, 200, 200)) == (
        "the model answers 184 of 200 test prompts as the task expects (92%)"
    )
    assert str(Solved("train", 59, 64, 500)) == (
        "the model answers 59 of 64 sampled train prompts as the task expects (92%)"
    )
    few = [Solved("test", right, 10, 10).few for right in range(11)]
    assert few == [right < 10 * FEW for right in range(11)]


def test_what_is_refused():
    model, task = tiny.model("gpt2"), toy.task()
    with pytest.raises(DataError, match=r"split 'test' does not exist; there are: train \(12\)"):
        solved(model, task)
    foreign = replace(toy.example(0), clean=(5, tiny.VOCABULARY, 7))
    other = Task("toy", {"test": (replace(foreign, corrupted=(5, 6, 7), positions=(2,)),)}, 0)
    with pytest.raises(DataError, match=r"token 41 is none of the model's 41: .*its own tokenizer"):
        solved(model, other)
    negative = replace(foreign, clean=(5, -100, 7), corrupted=(5, 6, 7), positions=(2,))
    with pytest.raises(DataError, match="token -100 is none of the model's 41"):
        solved(model, Task("toy", {"test": (negative,)}, 0))
    most = model.config.max_position_embeddings
    long = (5,) * (most + 1)
    too_long = replace(foreign, clean=long, corrupted=long, positions=(most,))
    with pytest.raises(DataError, match=f"prompts of {most + 1} tokens: .* {most} learned pos"):
        solved(model, Task("toy", {"test": (too_long,)}, 0))
    with pytest.raises(ConfigError, match="prompts=0: it must be at least 1"):
        solved(model, task, "train", prompts=0)
    with pytest.raises(ConfigError, match="batch_size=0"):
        solved(model, task, "train", batch_size=0)
