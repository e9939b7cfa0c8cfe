"""Command lines for tests: a tiny model and tasks in a folder, runs there, refusals."""

import json

from tokenizers import decoders

import tiny_files
from edgewise import cli

STEPS = 12
SPLITS = ("train", "train", "train", "train", "validation", "test", "test", "test")


def rows(split=SPLITS, offset=0):
    """ "a and b: b to a": the letter that is named once is asked for; a byte is a token."""
    letters = "abcdefghijklmnopqrstuvxyz"  # " w" is one token of the tiny tokenizer
    for i, name in enumerate(split):
        a, b, c, d, e = (letters[(5 * i + j + offset) % 25] for j in range(5))
        yield {
            "clean": f"{a} and {b}: {b} to <predict>{a}</predict>",
            "corrupted": f"{c} and {d}: {e} to <predict>{c}</predict>",
            "distractor": b,
            "split": name,
        }


def write_task(path, **given):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(**given)), encoding="utf-8")
    return path


def save_model(path, seed=0):
    """Random weights large enough to matter, and a tokenizer that can spell."""
    tiny_files.folder(path, with_tokenizer=False, initializer_range=0.5, seed=seed)
    tokenizer = tiny_files.tokenizer()
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save_pretrained(path)


def make_home(folder):
    """A folder with a model, two tasks, and a finished run of each method."""
    save_model(folder / "model")
    write_task(folder / "letters.jsonl")
    write_task(folder / "others.jsonl", split=("train", "test", "test"), offset=3)
    for method in ("edge-pruning", "eap"):
        assert cli.main(discover(folder, folder / method, method=method)) == 0
    return folder


def discover(home, out, *flags, method="edge-pruning", task="letters.jsonl"):
    size = ("--edges", "30", "--batch-size", "2")
    steps = ("--steps", str(STEPS), "--checkpoint-every", "4") if method == "edge-pruning" else ()
    named = ("--model", str(home / "model"), "--task", str(home / task), "--method", method)
    return ["discover", *named, *size, *steps, "--out", str(out), "--quiet", *flags]


def without(argv, flags):
    """A command without what `flags` say anew: what is typed twice is an error of its own."""
    for flag in set(flags) & set(argv):
        at = argv.index(flag)
        argv = argv[:at] + argv[at + 2 :]
    return argv


def listing(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def refused(capsys, argv):
    """What is said of a command line that can't be meant."""
    assert cli.main([str(word) for word in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("edgewise: ")
    assert "Traceback" not in said.err
    return said.err
