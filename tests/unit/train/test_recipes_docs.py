"""The recipes of docs/training.md are recipes, and fit into the cards that they are said to fit."""

import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from wan22.catalog import VARIANTS
from wan22.train.experts import prepare
from wan22.train.losses import count, trainable
from wan22.train.memory import estimate
from wan22.train.noise_ranges import noise_ranges, steps_of
from wan22.train.recipe import Recipe, parse_recipe, read_recipe
from wan22.train.world import portions, shares_of
from wan22.weights.load import meta_module

DOCS = Path(__file__).parents[3] / "docs"
SPARE = 0.95
"""Of a card's memory, the rest being the driver's and the desktop's."""


@pytest.mark.parametrize("path", sorted((DOCS / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_of_the_docs_fits_its_card(path):
    recipe = read_recipe(path)
    variant = VARIANTS[recipe.model.name]
    assert noise_ranges(recipe, variant).keys() == steps_of(recipe, variant).keys()
    (width, height), (frames,) = recipe.data.size, recipe.data.frames
    side, stride = variant.grid
    assert width % side == height % side == 0 and frames % stride == 1
    network = meta_module(variant.dit)
    prepare(recipe, network)
    need = estimate(
        variant,
        batch=recipe.optimiser.batch_size,
        tokens=((frames - 1) // stride + 1) * (width // side) * (height // side),
        trainable=count(trainable(network).values()),
        dtype=recipe.memory.dtype,
        base=recipe.base_dtype,
        checkpointing=recipe.memory.gradient_checkpointing,
    )
    card = int(re.search(r"-(\d+)gb$", path.stem)[1]) * 2**30
    said = float(re.search(r"\(estimated: ([\d.]+) GB\)", path.read_text())[1])
    assert need.total < SPARE * card
    assert need.total / 1e9 == pytest.approx(said, abs=0.6)
    assert f"docs/recipes/{path.name}" in (DOCS / "training.md").read_text()


def test_the_recipes_in_the_text_are_recipes():
    """Each block is whole, or it is a section that a recipe may have."""
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "training.md").read_text(), re.S)
    assert blocks
    for block in blocks:
        parse_recipe(tomllib.loads(block))


def test_every_setting_of_a_recipe_and_no_other_is_in_the_table():
    section, named = "", set()
    text = (DOCS / "training.md").read_text()
    for line in text[text.index("## Every setting") : text.index("## The noise range")].splitlines():
        cell = line.split("|")[1] if line.startswith("| ") else ""
        if found := re.search(r"`\[(\w+)\]`", cell):
            section = f"{found[1]}."
        else:
            named |= {section + name for name in re.findall(r"`(\w+)`", cell)}
    settings = set()
    for name, hint in get_type_hints(Recipe).items():
        kinds = [kind for kind in get_args(hint) or (hint,) if is_dataclass(kind)]
        settings |= {f"{name}.{each.name}" for kind in kinds for each in fields(kind)} if kinds else {name}
    assert named == settings - {"folder"}


def test_the_stages_of_the_docs_begin_from_one_another_and_divide_over_eight_devices():
    before = None
    for path in sorted((DOCS / "recipes" / "stages").glob("*.toml")):
        recipe = read_recipe(path)
        variant = VARIANTS[recipe.model.name]
        assert recipe.begin_from == before and steps_of(recipe, variant)
        shares = shares_of(8, recipe.parallel.context, variant.dit.heads)
        portions(shares, 0, recipe.optimiser.batch_size, recipe.optimiser.gradient_accumulation)
        assert recipe.data.size[0] % 16 == recipe.data.size[1] % 16 == 0
        before = path.name
    assert before == "4-speech.toml"
