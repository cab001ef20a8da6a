"""LoRAs in every common dialect: read (`file.py`), fitted to a model (`fitting.py`), written (`write.py`)."""

from wan22.weights.lora.file import Adapter, open_adapters
from wan22.weights.lora.fitting import Fitted, LoRA, fit, merging

__all__ = ["Adapter", "Fitted", "LoRA", "fit", "merging", "open_adapters"]
