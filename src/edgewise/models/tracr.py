"""The transformer that Tracr compiles RASP programs to (Lindner et al., arXiv 2301.05062).

Learned positions, no norm anywhere, attention that looks both ways unless it is `causal`, an MLP of
two layers with ReLU, and an unembedding with as many outputs as the program has answers. It is
Tracr's own model as a `transformers` class, so that it is adapted, proven and pruned like any other
model. Weights come from a compiled program: `edgewise.tracr`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput


class TracrConfig(PreTrainedConfig):
    """Sizes of a compiled program.

    head_dim     channels of a head, whatever the width
    n_outputs    answers: columns of the unembedding
    causal       whether a token sees only itself and those before it
    """

    model_type = "tracr"

    def __init__(
        self,
        vocab_size: int = 5,
        hidden_size: int = 8,
        num_hidden_layers: int = 1,
        num_attention_heads: int = 1,
        head_dim: int = 4,
        intermediate_size: int = 4,
        max_position_embeddings: int = 6,
        n_outputs: int = 3,
        causal: bool = False,
        **rest: Any,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.head_dim = head_dim
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.n_outputs = n_outputs
        self.causal = causal
        super().__init__(**{"tie_word_embeddings": False, **rest})


class _Attention(nn.Module):
    def __init__(self, config: TracrConfig):
        super().__init__()
        self.head_dim = config.head_dim
        inner = config.num_attention_heads * config.head_dim
        self.query = nn.Linear(config.hidden_size, inner)
        self.key = nn.Linear(config.hidden_size, inner)
        self.value = nn.Linear(config.hidden_size, inner)
        self.linear = nn.Linear(inner, config.hidden_size)

    def forward(self, hidden_states: Tensor, seen: Tensor) -> tuple[Tensor, None]:
        """`seen` (B, 1, T, T): which tokens each token sees."""
        projections = (self.query, self.key, self.value)
        q, k, v = (
            project(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for project in projections
        )
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.linear(mixed.transpose(1, 2).flatten(2)), None


class _Block(nn.Module):
    def __init__(self, config: TracrConfig):
        super().__init__()
        self.attention = _Attention(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, config.intermediate_size),
            nn.ReLU(),
            nn.Linear(config.intermediate_size, config.hidden_size),
        )

    def forward(self, hidden_states: Tensor, seen: Tensor) -> Tensor:
        hidden_states = hidden_states + self.attention(hidden_states, seen)[0]
        return hidden_states + self.mlp(hidden_states)


class _Pretrained(PreTrainedModel):
    config_class = TracrConfig
    base_model_prefix = "transformer"


class TracrModel(_Pretrained):
    """Embeddings and blocks; `final_norm` is where other models have one."""

    def __init__(self, config: TracrConfig):
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))
        self.final_norm = nn.Identity()
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.tokens

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutput:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden_states = self.tokens(input_ids) + self.positions(places)
        seen = self._seen(input_ids, attention_mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, seen)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))

    def _seen(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        n, length = input_ids.shape
        seen = torch.ones(n, 1, length, length, dtype=torch.bool, device=input_ids.device)
        if attention_mask is not None:
            seen &= attention_mask.bool()[:, None, None]
        return seen.tril() if self.config.causal else seen


class TracrForCausalLM(_Pretrained):
    """A program's answers as logits, (B, T, n_outputs)."""

    def __init__(self, config: TracrConfig):
        super().__init__(config)
        self.transformer = TracrModel(config)
        self.unembed = nn.Linear(config.hidden_size, config.n_outputs)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.unembed

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> CausalLMOutput:
        hidden_states = self.transformer(input_ids, attention_mask=attention_mask)[0]
        return CausalLMOutput(logits=self.unembed(hidden_states))
