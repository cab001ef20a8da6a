"""Labels read off tokens, whatever they are tokens of: one query and one linear head for each axis of the film set.

label of an axis = argmax of head(sum over tokens of softmax(query . token) token)
"""

import torch
from torch import Tensor, nn

from wan22.stage.labels import AXES


class LabelHeads(nn.Module):
    """Queries and heads; what makes the tokens (b, l, dim) is a subclass's. `more` classes follow an axis's values."""

    def __init__(self, dim: int, more: int = 0) -> None:
        super().__init__()
        self.query_embedding = nn.Embedding(len(AXES), dim)
        self.heads = nn.ModuleList(nn.Linear(dim, len(values) + more) for values in AXES.values())

    def init_weights(self) -> None:
        """Let the queries start with even attention."""
        nn.init.zeros_(self.query_embedding.weight)

    def read(self, tokens: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Logits (b, values + more) for each axis in the order of `AXES`; a mask (b, l) of 0 hides a token."""
        scores = self.query_embedding.weight @ tokens.mT * tokens.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, None] == 0, -torch.inf)
        pooled = scores.softmax(dim=-1) @ tokens
        return [head(pooled[:, i]) for i, head in enumerate(self.heads)]
