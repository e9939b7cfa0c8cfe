"""Tiny models as files: a folder as `save_pretrained` leaves it, and a 4-bit GGUF file."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = ("h e", "he l", "hel l", "hell o", "Ġ w")
VOCABULARY = ("<eos>", *BYTES, *(merge.replace(" ", "") for merge in MERGES))
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def llama(seed: int = 0, **overrides: object) -> LlamaForCausalLM:
    """A random Llama of a few thousand weights."""
    torch.manual_seed(seed)
    settings = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64, **SIZES}
    return LlamaForCausalLM(LlamaConfig(**{**settings, **overrides})).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and a few merges; no special tokens are added to a text."""
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    pairs = [tuple(merge.split(" ")) for merge in MERGES]
    made = Tokenizer(models.BPE(vocab=ids, merges=pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", pad_token="<eos>")


def folder(path: Path, with_tokenizer: bool = True, **overrides: object) -> Path:
    """What `save_pretrained` leaves."""
    llama(**overrides).save_pretrained(path)
    if with_tokenizer:
        tokenizer().save_pretrained(path)
    return path


def gguf_file(path: Path, seed: int = 0, without: str | None = None) -> Path:
    """A random Llama as a GGUF file, its matrices in 4-bit blocks."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    random = np.random.default_rng(seed)
    width, inner, heads, groups = 32, 64, 4, 2
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(list(VOCABULARY))
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * len(VOCABULARY[1:]))
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_add_bos_token(False)

    def add(name: str, *shape: int) -> None:
        if name == without:
            return
        values = random.normal(0, 0.3, shape).astype(np.float32)
        if len(shape) == 2:
            packed = gguf.quants.quantize(values, kinds.Q4_1)
            writer.add_tensor(name, packed, raw_dtype=kinds.Q4_1)
        else:
            writer.add_tensor(name, 1 + values)

    kv_width = width * groups // heads
    add("token_embd.weight", len(VOCABULARY), width)
    for layer in range(2):
        add(f"blk.{layer}.attn_norm.weight", width)
        add(f"blk.{layer}.attn_q.weight", width, width)
        add(f"blk.{layer}.attn_k.weight", kv_width, width)
        add(f"blk.{layer}.attn_v.weight", kv_width, width)
        add(f"blk.{layer}.attn_output.weight", width, width)
        add(f"blk.{layer}.ffn_norm.weight", width)
        add(f"blk.{layer}.ffn_gate.weight", inner, width)
        add(f"blk.{layer}.ffn_up.weight", inner, width)
        add(f"blk.{layer}.ffn_down.weight", width, inner)
    add("output_norm.weight", width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
