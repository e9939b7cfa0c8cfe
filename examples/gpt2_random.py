"""The same command on GPT-2 small: its exact config, random weights, a run of a few steps.

GPT-2's weights need the hub (`--model gpt2`). Without it, this saves its config with random weights
and SmolLM2's tokenizer to a folder, and shows that the whole path runs there and hits its density;
what it finds means nothing.

    python examples/gpt2_random.py
"""

import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import edgewise
from edgewise.cli import main

FOLDER = Path("runs/gpt2-random/model")
OUT = Path("runs/gpt2-random/ioi")
DENSITY = 0.02


def save_random_gpt2() -> None:
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(FOLDER)
    edgewise.load("smollm2-135m").tokenizer.save_pretrained(FOLDER)


def run() -> None:
    if not FOLDER.exists():
        save_random_gpt2()
    words = f"discover --model {FOLDER} --task ioi --density {DENSITY} --steps 8 --out {OUT}"
    sizes = "--train 64 --validation 16 --test 32 --init-prompts 16"
    main([*words.split(), *sizes.split()])
    circuit = edgewise.Circuit.load(OUT)
    assert circuit.graph.n_edges == 32_491
    assert len(circuit) == round(DENSITY * 32_491)
    print(f"{len(circuit)} of {circuit.graph.n_edges:,} edges")


if __name__ == "__main__":
    sys.exit(run())
