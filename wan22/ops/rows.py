"""What all tokens of a noise level share: shifts, scales and gates."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Rows(NamedTuple):
    """A vector for every token, kept once for each distinct one: `index` says which is whose (None: all the first).

    `values` float32 (b, k, d). Only where it is used is it spread over the tokens, by a kernel never.
    """

    values: Float[Tensor, "b k d"]
    index: Int[Tensor, " l"] | None = None

    def spread(self) -> Float[Tensor, " b #l d"]:
        """One row for every token, or one for all."""
        return self.values if self.index is None else self.values[:, self.index]
