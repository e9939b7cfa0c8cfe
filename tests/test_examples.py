"""The scripts of examples/ run on tiny models."""

import json
import runpy
from pathlib import Path

import pytest

import tiny_files
import tiny_tokenizers
from edgewise.circuit import Circuit
from edgewise.errors import ConfigError
from edgewise.report import Report

EXAMPLES = Path(__file__).parent.parent / "examples"
WORDS = "True False and or not is either as following expression boolean Evaluate the"
CHAT = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
FORMS = ("boolean", "boolean-instruct")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A random Llama that knows the words of Boolean expressions, and a chat template."""
    path = tmp_path_factory.mktemp("llama")
    tokenizer = tiny_tokenizers.word_level(WORDS + " ( ) ' . : [ ] / INST")
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 256}
    tiny_files.llama(initializer_range=0.5, **sizes).save_pretrained(path)
    tokenizer.save_pretrained(path)
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": CHAT}))
    return path


def study(llama, *flags):
    script = runpy.run_path(str(EXAMPLES / "prompting_styles.py"))
    sizes = "--task boolean --density 0.4 --steps 3 --train 8 --test 6".split()
    script["main"](["--model", str(llama), *sizes, *map(str, flags)])


def test_prompting_styles(llama, tmp_path, capsys):
    out, page = tmp_path / "study", tmp_path / "page.md"
    marks = [f"<!-- {llama} boolean: {which} -->" for which in ("begin", "end")]
    page.write_text("\n".join(["# Study", *marks, "the end"]))
    study(llama, "--out", out, "--page", page)
    said = capsys.readouterr().out
    text = (out / "table.md").read_text()
    assert said.endswith(f"\n{text}")
    assert page.read_text() == f"# Study\n{marks[0]}\n\n{text}\n{marks[1]}\nthe end"

    first, second = (Circuit.load(out / form) for form in FORMS)
    circuits = {"boolean": first, "boolean-instruct": second}
    circuits |= {"both": first & second, "either": first | second}
    circuits |= {"only boolean": first - second, "only boolean-instruct": second - first}
    reports = {form: Report.load(out / f"{form}.json") for form in FORMS}
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
    rows = {cells[0]: cells[1:] for cells in lines}
    for name, circuit in circuits.items():
        assert rows[name][:2] == [str(len(circuit)), str(int(circuit.alive.sum()))]
        for place, form in enumerate(FORMS):
            report = reports[form]
            row = "circuit" if name == form else name
            assert rows[name][2 + place] == f"{report.metric('accuracy', row):.3f}"
            assert rows[name][6 + place] == f"{report.metric('kl', row):z.3f}"
    assert rows["full"][4:6] == ["1.000", "1.000"]
    found = json.loads((out / "results.json").read_text())
    assert found["overlap"]["intersection"] == len(first & second)
    assert Report.from_json(found["boolean"]) == reports["boolean"]

    before = {file: file.stat().st_mtime_ns for form in FORMS for file in (out / form).iterdir()}
    study(llama, "--out", out)
    assert capsys.readouterr().out.endswith(f"\n{text}")
    after = {file: file.stat().st_mtime_ns for file in before}
    assert {f: t for f, t in after.items() if f.suffix} == {
        f: t for f, t in before.items() if f.suffix
    }


def test_a_page_without_its_marks_is_refused_before_work(llama, tmp_path):
    (tmp_path / "page.md").write_text("# Study\n")
    with pytest.raises(ConfigError, match=r"the page has no <!-- .* boolean: begin -->"):
        study(llama, "--out", tmp_path / "study", "--page", tmp_path / "page.md")
    assert not (tmp_path / "study").exists()
