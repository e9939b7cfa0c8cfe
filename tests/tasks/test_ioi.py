"""IOI: aligned pairs, unseen frames, distinct prompts, and no list of them."""

import re
import subprocess
import sys
import tracemalloc

import pytest

from edgewise import tasks
from edgewise.errors import ConfigError, DataError, TokenizerError
from edgewise.tasks.encoder import Encoder
from edgewise.tasks.ioi import FRAMES, ORDERS, Sentences
from edgewise.tasks.words import NAMES

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def task(smollm2):
    return tasks.ioi(smollm2, train=150, validation=150, test=50, seed=3)


def words_of(tokenizer, example):
    """Clean words, corrupted words, answer and distractor; a name is one token."""
    show = [tokenizer.decode([token]).strip() for token in (*example.clean, *example.corrupted)]
    half = len(example.clean)
    answer, distractor = (tokenizer.decode([i]) for i in (example.answers[0], example.distractor))
    return show[:half], show[half:], answer, distractor


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_is_who_did_not_act(smollm2, task, split):
    for example in task.splits[split]:
        clean, _, answer, distractor = words_of(smollm2, example)
        named = [word for word in clean if word in NAMES]
        assert len(named) == 3
        assert len(set(named)) == 2
        assert answer == f" {min(named, key=named.count)}"
        assert distractor == f" {max(named, key=named.count)}"


@pytest.mark.parametrize("split", SPLITS)
def test_clean_and_corrupted_differ_exactly_at_the_names(smollm2, task, split):
    for example in task.splits[split]:
        clean, corrupted, *_ = words_of(smollm2, example)
        names = [i for i, word in enumerate(clean) if word in NAMES]
        differing = [i for i in range(len(clean)) if clean[i] != corrupted[i]]
        assert differing == names
        others = {corrupted[i] for i in names}
        assert len(others) == 3
        assert others.isdisjoint(clean)


def pattern(frame, order):
    """The frame as a regular expression; the giver's first mention and second must agree."""
    both = ORDERS[order].format(a=r"\w+", b=r"(?P<b>\w+)")
    return re.compile(frame.replace(".", r"\.").format(S=both, B="(?P=b)", P=r"\w+", O=r"\w+"))


PATTERNS = {(frame, order): pattern(frame, order) for frame in FRAMES for order in ORDERS}


def frame_of(tokenizer, ids):
    """The frame a prompt was made from, and the order of its names."""
    text = tokenizer.decode(ids)
    (found,) = [key for key, frame in PATTERNS.items() if frame.fullmatch(text)]
    return found


def test_test_frames_are_unseen_in_training_and_validation(smollm2, task):
    held = {tuple(frame) for frame in task.description["held_out"]}
    assert sorted(order for _, order in held) == ["ABBA", "ABBA", "BABA", "BABA"]
    used = {
        split: {frame_of(smollm2, example.clean) for example in task.splits[split]}
        for split in SPLITS
    }
    assert used["test"] == held
    assert used["train"] == used["validation"] == set(PATTERNS) - held


def test_frames_come_equally_often(smollm2):
    task = tasks.ioi(smollm2, train=0, validation=52, test=0)
    used = [frame_of(smollm2, example.clean) for example in task.splits["validation"]]
    assert {used.count(frame) for frame in used} == {2}


def test_no_clean_prompt_comes_twice(task):
    prompts = [example.clean for split in SPLITS for example in task.splits[split]]
    assert len(set(prompts)) == len(prompts) == 350


def test_a_small_space_is_used_up_exactly(tokenizers):
    """Six names, one frame without place or object: 6 * 5 prompts, each once."""
    encoder = Encoder.of(tokenizers.word_level("Mary John Paul Alice Peter Emma"))
    names = ("Mary", "John", "Paul", "Alice", "Peter", "Emma")
    make = Sentences(encoder, names, ((FRAMES[4], "ABBA"),), "key")
    assert make.total == 30
    assert len({(e.answers, e.distractor) for e in map(make, range(30))}) == 30


def test_names_of_several_tokens_are_predicted_piece_by_piece(tokenizers):
    tokenizer = tokenizers.bpe(" ".join(f" {c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    task = tasks.ioi(tokenizer, train=30, validation=0, test=0)
    for example in task.splits["train"]:
        n = len(example.answers)
        assert n > 1
        assert example.positions == tuple(range(len(example.clean) - n, len(example.clean)))
        assert example.clean[-n + 1 :] == example.answers[:-1]
        assert example.distractor != example.answers[0]


def test_a_bos_token_is_kept_where_the_tokenizer_adds_it(tokenizers):
    text = " ".join(NAMES)
    plain, with_bos = (tokenizers.word_level(text, bos=bos) for bos in (False, True))
    without, added = (tasks.ioi(t, train=5, validation=0, test=0) for t in (plain, with_bos))
    for one, other in zip(without.splits["train"], added.splits["train"], strict=True):
        assert other.clean == (2, *one.clean)
        assert other.positions == (one.positions[0] + 1,)
    assert (without.description["bos"], added.description["bos"]) == (False, True)


def test_seeds_differ_and_growing_training_leaves_the_rest(known_names):
    first, again, other = (tasks.ioi(known_names, 20, 20, 20, seed=s) for s in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    large = tasks.ioi(known_names, 100, 20, 20, seed=0)
    assert list(large.splits["test"]) == list(first.splits["test"])
    assert list(large.splits["validation"]) == list(first.splits["validation"])
    assert list(large.splits["train"])[:20] == list(first.splits["train"])


def test_another_process_makes_the_same_task(tmp_path, known_names):
    known_names.save_pretrained(tmp_path)
    program = (
        "import sys; from transformers import AutoTokenizer; from edgewise import tasks;"
        "print(tasks.ioi(AutoTokenizer.from_pretrained(sys.argv[1]), 40, 40, 40).fingerprint())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found == tasks.ioi(known_names, 40, 40, 40).fingerprint()


def test_a_hundred_thousand_examples_cost_no_more_than_ten(known_names):
    def cost(train):
        tracemalloc.start()
        task = tasks.ioi(known_names, train=train, validation=0, test=0)
        for i in range(0, train, train // 10):
            assert task.splits["train"][i]
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size

    cost(10)  # what is made once
    assert cost(100_000) < cost(10) + 10_000  # bytes


def test_making_a_task_makes_no_examples(monkeypatch, known_names):
    made, make = [], Sentences.__call__
    monkeypatch.setattr(Sentences, "__call__", lambda self, i: made.append(i) or make(self, i))
    assert len(tasks.ioi(known_names, train=100_000).splits["train"]) == 100_000
    assert len(made) < 20  # the run-time type checker looks at one item of a sequence


def test_too_few_names_are_refused(tokenizers):
    with pytest.raises(TokenizerError, match="at least 6 first names"):
        tasks.ioi(tokenizers.word_level("Mary and John went to the store"))


def test_more_prompts_than_there_are_is_refused(tokenizers):
    tokenizer = tokenizers.word_level("Mary John Paul Alice Peter Emma")
    with pytest.raises(DataError, match="only 780 different ones"):  # 26 frames, 6 * 5 pairs
        tasks.ioi(tokenizer, train=581, validation=200)


def test_one_template(smollm2):
    task = tasks.ioi_t1(smollm2)
    assert [len(task.splits[split]) for split in SPLITS] == [50, 50, 50]
    prompts = [example.clean for split in SPLITS for example in task.splits[split]]
    assert len(set(prompts)) == 150
    assert {len(prompt) for prompt in prompts} == {len(prompts[0])}
    clean, _, answer, _ = words_of(smollm2, task.splits["test"][0])
    a, b, place, thing = clean[1], clean[3], clean[7], clean[12]
    assert " ".join(clean) == f"When {a} and {b} went to the {place} , {b} gave a {thing} to"
    assert answer == f" {a}"


def test_tasks_are_made_by_name(known_names):
    assert {"ioi", "ioi-t1"} <= set(tasks.names())
    made = tasks.make("ioi", known_names, train=5, seed=2)
    assert [len(made.splits[split]) for split in SPLITS] == [5, 200, 500]
    assert made.splits["train"][0] == tasks.ioi(known_names, train=5, seed=2).splits["train"][0]
    with pytest.raises(ConfigError, match="no task 'iou'; there are ioi, "):
        tasks.make("iou", known_names)
