"""Extend a prompt with an instruct model on this machine, through transformers: the Qwen family, or any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22.director.brief import Brief, answer, instructions, user_message
from wan22.errors import CheckpointError, ExtendError, OptionError


@dataclass(frozen=True)
class LocalExtender:
    """A causal language model in a folder, or in the cache under its hub name; nothing is downloaded.

    It reads text only. The same seed gives the same answer on the same machine. Raises OptionError without
    transformers, CheckpointError for a folder or name that holds no instruct model.
    """

    model: str
    most_tokens: int = 512

    sees = False

    def __post_init__(self) -> None:
        if (folder := Path(self.model)).is_dir():
            if not (folder / "config.json").is_file():
                raise CheckpointError(f"{folder} holds no language model: it has no config.json")
        elif self.model.count("/") != 1 or self.model.startswith((".", "/", "~")):
            raise OptionError(
                f"unknown engine {self.model!r}. Known: rules, the http(s) address of a chat server, a model's folder, "
                "or its hub name such as Qwen/Qwen2.5-3B-Instruct"
            )

    def extend(self, brief: Brief) -> str:
        """Return the longer prompt. Raises CheckpointError for the model, ExtendError for its answer."""
        import torch

        if not brief.prompt.strip():
            raise OptionError("a local model does not see the image; write a prompt, or name a chat server")
        tokenizer, network = self._load()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        turns = [
            {"role": "system", "content": instructions(brief, sees=False)},
            {"role": "user", "content": user_message(brief)},
        ]
        asked = tokenizer.apply_chat_template(
            turns,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            enable_thinking=False,  # a variable of Qwen3's template; others ignore it
        ).to(device)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(brief.seed)
            made = network.to(device).generate(**asked, max_new_tokens=self.most_tokens)
        tokens = made[0, asked["input_ids"].shape[1] :]
        if len(tokens) >= self.most_tokens:
            raise ExtendError(
                f"{self.model} did not end within {self.most_tokens} tokens; try another seed or model"
            )
        return answer(tokenizer.decode(tokens, skip_special_tokens=True), self.model)

    def describe(self) -> dict[str, Any]:
        """Return what the recipe keeps: of a folder its name alone, for where it lies is private."""
        name = Path(self.model).name if Path(self.model).is_dir() else self.model
        return {"engine": "transformers", "model": name}

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model, local_files_only=True)
            if tokenizer.chat_template is None:
                raise CheckpointError(
                    f"{self.model} is no instruct model: its tokenizer has no chat template"
                )
            network = AutoModelForCausalLM.from_pretrained(self.model, local_files_only=True, dtype="auto")
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            here = "" if Path(self.model).is_dir() else f" Download it first: hf download {self.model}."
            raise CheckpointError(
                f"{self.model} cannot be loaded as a language model: {reason}{here}"
            ) from error
        return tokenizer, network.eval()
