"""Rows with <predict> spans: what becomes of good ones, and what is said of bad ones."""

import json

import pytest
import torch

from edgewise import metrics
from edgewise.errors import DataError
from edgewise.tasks import Example, Task
from unchecked import unchecked

TEXT = "The capital of France is Paris Spain Madrid New Zealand Lyon city"
# word-level ids: 0-2 special, then in order of first appearance
THE, CAPITAL, OF, FRANCE, IS, PARIS, SPAIN, MADRID, NEW, ZEALAND, LYON, CITY = range(3, 15)
ROW = {
    "clean": "The capital of France is<predict> Paris</predict> city",
    "corrupted": "The capital of Spain is<predict> Madrid</predict>",
}


@pytest.fixture(scope="module")
def tokenizer(tokenizers):
    return tokenizers.word_level(TEXT)


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def test_a_row_is_cut_after_its_predicting_position(write, tokenizer):
    row = ROW | {"split": "train", "distractor": " Lyon"}
    task = Task.from_jsonl(write(row), tokenizer)
    expected = Example(
        clean=(THE, CAPITAL, OF, FRANCE, IS),
        corrupted=(THE, CAPITAL, OF, SPAIN, IS),
        positions=(4,),
        answers=(PARIS,),
        distractor=LYON,
    )
    assert list(task.splits) == ["train"]
    assert list(task.splits["train"]) == [expected]
    assert task.name == "rows"
    assert task.pad_id == 1
    assert task.description["bos"] is False


def test_several_answer_tokens_are_predicted_each_from_the_one_before(tokenizer):
    clean = "France is<predict> New Zealand city</predict>"
    corrupted = "Spain is<predict> Paris The Lyon</predict>"
    with pytest.warns(UserWarning, match="no row has"):
        task = Task.from_pairs([(clean, corrupted)], tokenizer)
    expected = Example(
        clean=(FRANCE, IS, NEW, ZEALAND),
        corrupted=(SPAIN, IS, PARIS, THE),
        positions=(1, 2, 3),
        answers=(NEW, ZEALAND, CITY),
    )
    assert list(task.splits["test"]) == [expected]


def test_lists_of_answers_become_sets_of_first_tokens(write, tokenizer):
    """The marked answer comes first in its set, and each token once."""
    row = ROW | {"split": "test", "distractor": " Spain", "distractors": [" Madrid", " Zealand"]}
    row |= {"answers": [" Lyon", " New Zealand", " Paris", " New city"]}
    (example,) = Task.from_jsonl(write(row), tokenizer).splits["test"]
    assert example.answers == (PARIS,)
    assert example.distractor == SPAIN
    assert example.good == (PARIS, LYON, NEW)
    assert example.bad == (MADRID, ZEALAND)


@pytest.mark.parametrize(
    ("given", "good", "bad"),
    [
        ({}, (), ()),
        ({"answers": None, "distractors": []}, (), ()),  # a column has a value in every row
        ({"answers": (" Lyon",)}, (PARIS, LYON), ()),
        ({"distractors": [" Madrid"]}, (PARIS,), (MADRID,)),
    ],
)
def test_one_list_will_do(tokenizer, given, good, bad):
    (example,) = Task.from_pairs([ROW | given | {"split": "test"}], tokenizer).splits["test"]
    assert (example.good, example.bad) == (good, bad)


def test_answer_sets_reach_the_metrics(tokenizer):
    """P(Paris, Lyon) - P(Madrid) = .1 + .5 - .2, and Lyon, the likeliest, is right."""
    listed = ROW | {"answers": [" Lyon"], "distractors": [" Madrid"], "split": "test"}
    batch = Task.from_pairs([listed, ROW | {"split": "test"}], tokenizer).batch("test", [0, 1])
    p = torch.zeros(2, CITY + 1)
    p[:, [PARIS, LYON, MADRID, CITY]] = torch.tensor([0.1, 0.5, 0.2, 0.2])
    assert metrics.probability_difference(p.log(), batch).tolist() == pytest.approx([0.4])
    assert metrics.accuracy(p.log(), batch).tolist() == [1, 0]


def test_a_bos_token_is_one_more_position(tokenizers):
    tokenizer = tokenizers.word_level(TEXT, bos=True)
    task = Task.from_pairs([ROW | {"split": "test"}], tokenizer)
    (example,) = task.splits["test"]
    assert example.clean == (2, THE, CAPITAL, OF, FRANCE, IS)
    assert example.positions == (5,)
    assert task.description["bos"] is True


def test_rows_go_to_their_splits(write, tokenizer):
    rows = [ROW | {"split": split} for split in ("test", "train", "test", "validation")]
    task = Task.from_jsonl(write(*rows), tokenizer, name="mine")
    assert {split: len(found) for split, found in task.splits.items()} == {
        "train": 1,
        "validation": 1,
        "test": 2,
    }
    assert task.name == "mine"


def test_without_splits_all_rows_serve_everywhere_with_a_warning(write, tokenizer):
    with pytest.warns(UserWarning, match="all 2 are used for training, validation and test"):
        task = Task.from_jsonl(write(ROW, "", ROW), tokenizer)
    assert [len(task.splits[split]) for split in ("train", "validation", "test")] == [2, 2, 2]


def refused(path, tokenizer):
    with pytest.raises(DataError) as error:
        Task.from_jsonl(path, tokenizer)
    return str(error.value)


def test_unequal_lengths_show_both_tokenisations_side_by_side(write, tokenizer):
    longer = ROW | {"corrupted": "The capital of New Zealand is<predict> Paris</predict>"}
    message = refused(write(ROW, "", longer), tokenizer)
    assert "rows.jsonl, line 3: the prompts must have equally many tokens" in message
    assert "they have 5 + 1 (clean) and 6 + 1 (corrupted)" in message
    table = [line.strip() for line in message.splitlines() if line.startswith("    ")]
    assert table == [
        "clean   | corrupted",
        "The     | The",
        "capital | capital",
        "of      | of",
        "France  | New",
        "is      | Zealand",
        "Paris   | is",
        "| Paris",
    ]


@pytest.mark.parametrize(
    ("same", "rest", "before", "after"), [(0, 24, 0, 11), (9, 24, 7, 13), (24, 0, 11, 0)]
)
def test_a_long_table_is_cut_and_says_so(tokenizer, same, rest, before, after):
    """16 of its same + rest + 3 rows are shown, from two before the first difference on."""
    clean = "city " * same + "The " * rest + "is<predict> Paris</predict>"
    corrupted = "city " * same + "of " + "The " * rest + "is<predict> Paris</predict>"
    with pytest.raises(DataError) as error:
        Task.from_pairs([(clean, corrupted)], tokenizer)
    table = [line.strip() for line in str(error.value).splitlines() if line.startswith("    ")]
    assert table[0].split() == ["clean", "|", "corrupted"]
    above, below = ([f"... {n} more"] if n else [] for n in (before, after))
    shown = table[1 + len(above) : len(table) - len(below)]
    assert table[1:] == [*above, *shown, *below]
    assert len(shown) == 16


def test_a_corrupted_answer_too_short_for_the_clean_one_is_unequal(write, tokenizer):
    row = ROW | {"clean": "The capital of France is<predict> New Zealand city</predict>"}
    assert "5 + 3 (clean) and 5 + 1 (corrupted)" in refused(write(row), tokenizer)


def test_a_corrupted_answer_need_only_have_the_tokens_that_are_read(write, tokenizer):
    """All of the clean one's but the last."""
    clean = ROW | {"clean": "The capital of France is<predict> New Zealand</predict>"}
    for answer in (" Paris", " Lyon city", " New Zealand city"):
        corrupted = f"The capital of Spain is<predict>{answer}</predict>"
        row = clean | {"corrupted": corrupted, "split": "test"}
        (one,) = Task.from_jsonl(write(row), tokenizer).splits["test"]
        assert len(one.clean) == len(one.corrupted) == 6
        assert len(one.answers) == 2


def test_a_merge_across_the_border_is_refused(write, tokenizers):
    row = {"clean": "is Ly<predict>on</predict>", "corrupted": "is Ly<predict>on</predict>"}
    message = refused(write(row), tokenizers.bpe(TEXT))
    assert "line 1: the tokenizer merges ' Lyon' into one token" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"clean": ROW["clean"]}, '"corrupted" is missing (there are: clean)'),
        (ROW | {"clean": 7}, '"clean" is 7'),
        (ROW | {"clean": "The capital"}, '"clean" must hold one <predict>answer</predict>'),
        (ROW | {"clean": ROW["clean"] * 2}, "it has 2"),
        (ROW | {"corrupted": "The<predict> </predict>"}, "with some text in it"),
        (ROW | {"clean": "<predict>The</predict>"}, "nothing comes before the answer 'The'"),
        (ROW | {"split": "dev"}, "\"split\" is 'dev'"),
        (ROW | {"distractor": " Paris"}, "same token as the answer"),
        (ROW | {"distractor": 3}, '"distractor" is 3'),
        (ROW | {"distractor": " Rome"}, "\"distractor\" is ' Rome', which the tokenizer doesn't"),
        (ROW | {"answers": " Lyon"}, "\"answers\" is ' Lyon'; it must be a list, such as ["),
        (ROW | {"answers": [" Lyon", 3]}, '"answers" holds 3; it must be text'),
        (ROW | {"distractors": [" Rome"]}, "\"distractors\" holds ' Rome', which the tokenizer"),
        (ROW | {"distractors": [" Paris"]}, "right and a wrong answer begin with the same token"),
        (ROW | {"answers": [" Lyon"], "distractors": [" Lyon city"]}, "same token ('Lyon')"),
        (ROW | {"answers": [" Lyon"], "distractor": " Lyon"}, "same token ('Lyon')"),
        (ROW | {"corrupted": ROW["clean"]}, "same tokens as the clean one, 'The capital of France"),
        (ROW | {"clean": ROW["clean"].replace("Paris", "Rome")}, "know all of the answer ' Rome'"),
        ([ROW], "this is a JSON list. Write one JSON object a line"),
    ],
)
def test_a_bad_row_is_named_by_its_line(write, tokenizer, row, said):
    message = refused(write("", json.dumps(row)), tokenizer)
    assert "rows.jsonl, line 2: " in message
    assert said in message


@pytest.mark.parametrize(
    ("clean", "corrupted"),
    [
        ("France is<predict> Paris</predict>", "France  is<predict> Madrid</predict>"),
        ("Rome is<predict> Paris</predict>", "Berlin is<predict> Madrid</predict>"),
        ("France is<predict> New Zealand</predict>", "France is<predict> Paris Lyon</predict>"),
    ],
)
def test_prompts_that_are_the_same_tokens_are_refused(tokenizer, clean, corrupted):
    """White space that the tokenizer drops, words it doesn't know, answers that differ later."""
    with pytest.raises(DataError, match=r"^row 1: the corrupted prompt has the same tokens"):
        Task.from_pairs([(clean, corrupted)], tokenizer)


def test_a_row_without_the_split_that_others_have_is_refused(write, tokenizer):
    message = refused(write(ROW | {"split": "train"}, ROW), tokenizer)
    assert 'line 2: "split" is missing; the rows before have one of train' in message
    message = refused(write(ROW, ROW | {"split": "train"}), tokenizer)
    assert "line 2: \"split\" is 'train', and the rows before have none" in message


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("distractr", "distractor"), ("splt", "split"), ("Split", "split"), ("answer", "answers")],
)
def test_a_misspelt_field_is_refused(write, tokenizer, wrong, meant):
    message = refused(write(ROW | {"note": 1}, ROW | {wrong: "train"}), tokenizer)
    assert f'rows.jsonl, line 2: "{wrong}" is no field of a row; did you mean "{meant}"?' in message
    assert "The fields are clean, corrupted, distractor, answers, distractors, split." in message


def test_other_fields_are_ignored_with_one_warning(write, tokenizer):
    rows = [ROW | {"split": "test"} | more for more in ({"id": 1}, {}, {"id": 2, "source": "x"})]
    with pytest.warns(UserWarning, match=r"rows.jsonl: ignored id, source; the fields") as warned:
        task = Task.from_jsonl(write(*rows), tokenizer)
    assert len(warned) == 1
    assert list(task.splits["test"]) == [task.splits["test"][0]] * 3


def test_json_over_several_lines_is_explained(write, tokenizer):
    message = refused(write(json.dumps(ROW, indent=2)), tokenizer)
    assert "line 1: '{' is not JSON" in message
    assert "one JSON object a line, none spread over several lines" in message


def test_a_bad_pair_is_named_by_its_number(tokenizer):
    with pytest.raises(DataError, match=r'^row 2: "clean" must hold one'):
        Task.from_pairs([ROW, ("The", "capital")], tokenizer)


@pytest.mark.parametrize("row", [("The", "capital", "of"), "ab", None, [ROW]])
def test_what_is_no_row_is_refused(tokenizer, row):
    said = r"^row 1: .* a row is a mapping or a pair"
    with unchecked(), pytest.raises(DataError, match=said):
        Task.from_pairs([row], tokenizer)


def test_an_empty_file_is_refused(write, tokenizer):
    message = refused(path := write("", ""), tokenizer)
    assert message.startswith(f"{path}: no rows; write at least one: {{")
    with pytest.raises(DataError, match=r"^pairs: no rows"):
        Task.from_pairs([], tokenizer)


def test_a_missing_file_is_refused(tmp_path, tokenizer):
    assert "No such file" in refused(tmp_path / "none.jsonl", tokenizer)


def test_a_file_in_another_encoding_is_refused(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"clean": "café"}'.encode("latin-1"))
    assert "is not UTF-8" in refused(path, tokenizer)


def test_a_line_separator_inside_a_string_does_not_end_the_row(write, tokenizer):
    row = ROW | {"split": "test", "clean": f"The capital\u2028{ROW['clean'][12:]}"}
    path = write(json.dumps(row, ensure_ascii=False))
    assert len(Task.from_jsonl(path, tokenizer).splits["test"]) == 1
