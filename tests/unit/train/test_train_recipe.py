import tomllib
from dataclasses import replace

import pytest
from unit.train.small import SMALL

from wan22.errors import OptionError
from wan22.train.recipe import OLD_NAMES, OptimiserPart, parse_recipe, read_recipe


def parse(more="", **_):
    return parse_recipe(tomllib.loads(SMALL + more))


def test_a_small_recipe_is_whole_and_says_what_is_left_open(tmp_path):
    (tmp_path / "r.toml").write_text(SMALL)
    recipe = read_recipe(tmp_path / "r.toml")
    assert recipe.data.sources == ("clips",) and recipe.data.frames == (17,) and recipe.data.fps == 8.0
    assert recipe.model.task is None and recipe.model.experts is None and recipe.adapter is None
    assert recipe.base_dtype == "fp32" and recipe.memory.dtype == "bf16" and recipe.noise.shift is None
    assert recipe.path(recipe.output) == tmp_path / "out"
    assert recipe.path("/elsewhere").as_posix() == "/elsewhere"


def test_an_adapter_lets_the_base_be_held_in_half():
    recipe = parse("[adapter]\nrank = 8\n")
    assert recipe.base_dtype == "bf16" and recipe.adapter.rank == 8 and recipe.adapter.alpha is None
    assert parse('[adapter]\n[memory]\nbase_dtype = "int8"\n').base_dtype == "int8"


def test_compiling_is_left_to_the_run_or_said():
    assert parse().memory.compile == "auto"
    assert parse("[memory]\ncompile = true").memory.compile is True
    assert parse("[memory]\ncompile = false").as_table()["memory.compile"] is False


def test_images_are_told_half_the_time_if_nothing_is_said():
    plain, said = parse().images, parse("[image]\nfirst = 0.3\nlast = 0.05\nboth = 0.05\n").images
    assert (plain.first, plain.last, plain.both, plain.ends) == (0.5, 0, 0, False)
    assert (said.first, said.last, said.both, said.ends) == (0.3, 0.05, 0.05, True)


def test_every_setting_has_a_dotted_name_and_a_value_that_json_knows():
    table = parse('[adapter]\ntargets = ["q", "k"]\n[noise]\nhigh = [0.9, 1]\n').as_table()
    assert table["optimiser.steps"] == 400 and table["data.size"] == [96, 64]
    assert table["adapter.targets"] == ["q", "k"] and table["noise.high"] == [0.9, 1.0]
    assert table["model.name"] == "nano" and "folder" not in table


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("learning_rte = 1e-4", r"unknown setting optimiser\.learning_rte\. Did you mean optimiser\.learning_rate\?"),
        ("[optimizer]\nsteps = 1", r"unknown setting optimizer\. Did you mean optimiser\?"),
        ("[memory]\noffload_inactive = 'host'", r"Did you mean memory\.offload_inactive_expert\?"),
        ("learning_rate = 'fast'", r"optimiser\.learning_rate = 'fast' should be a number"),
        ("learning_rate = true", r"optimiser\.learning_rate = true should be a number"),
        ("learning_rate = nan", r"optimiser\.learning_rate = nan should be a number"),
        ("batch_size = 1.5", r"optimiser\.batch_size = 1\.5 should be a whole number"),
        ("batch_size = 0", r"optimiser\.batch_size = 0 should be at least 1"),
        ("learning_rate = 0", r"optimiser\.learning_rate = 0\.0 should be more than 0"),
        ("ema_decay = 1.0", r"optimiser\.ema_decay = 1\.0 should be less than 1"),
        ("name = 'adam'", r"optimiser\.name = 'adam' is not known\. Did you mean 'adamw'\? Known: adamw, muon"),
        ("warmup = 400", r"optimiser\.warmup = 400 leaves nothing of optimiser\.steps = 400"),
        ("[model2]\nx = 1", r"unknown setting model2\. Did you mean model\?"),
        ("[adapter]\nrank = 0", r"adapter\.rank = 0 should be at least 1"),
        ("[adapter]\ntargets = []", r"adapter\.targets names nothing"),
        ("[adapter]\ndialect = 'peft'", r"adapter\.dialect = 'peft' is not known"),
        ("[noise]\nhigh = [0.9]", r"noise\.high = \[0\.9\] should be a list of 2"),
        ("[noise]\nhigh = [0.9, 1.5]", r"noise\.high = 1\.5 should be at most 1"),
        ("[memory]\nbase_dtype = 'bf16'", r"base_dtype = \"bf16\" is for adapters: full training needs \"fp32\""),
        ("[adapter]\n[memory]\ndtype = 'fp32'\nbase_dtype = 'bf16'", r".fp32. needs memory\.base_dtype = .fp32."),
        ("[memory]\ngradient_checkpointing = 1", r"memory\.gradient_checkpointing = 1 should be true or false"),
        ("[image]\nfirst = 0.6\nlast = 0.5", r"last \+ both = 0\.6 \+ 0\.5 \+ 0 are shares: together at most 1"),
        ("[speech]\nmotion_weight_max = 0.5", r"speech\.motion_weight_max = 0\.5 should be at least 1"),
        ("[speech]\nmotion_weight_threshold = 0", r"speech\.motion_weight_threshold = 0\.0 should be more than 0"),
        ("[memory]\ncompile = 'yes'", r"memory\.compile = 'yes' is not known\. Known: auto, true, false"),
        ("[memory]\ncompile = 1", r"memory\.compile = 1 should be true or false"),
        ("[image]\nmiddle = 0.1", r"unknown setting image\.middle\..* Known here: first, last, both"),
        ("[validation]\nevery = 5", r"validation\.every = 5 and validation\.prompts is empty"),
        ("[validation]\nprompts = ['a', 'b']\nimages = ['x.png']", r"validation\.images has 1 files for 2 prompts"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_names_it(more, said):
    with pytest.raises(OptionError, match=said):
        parse(more)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 400", "learning_rate = 1e-3", r"there is no optimiser\.steps, which is needed"),
        (
            'name = "nano"',
            'vae = "x"',
            r"there is no model\.name, .*or files: model\.high and low, or model\.dit",
        ),
        ('[model]\nname = "nano"', "", r"there is no section \[model\], which is needed"),
        ("[96, 64]", "[96, 8]", r"data\.size = \[96, 8\] is \[width, height\] in pixels, each at least 16"),
        ("[96, 64]", '"96x64"', r"data\.size = '96x64' should be a list of 2: a whole number each"),
        ('"clips"', "[]", r"data\.sources names nothing"),
        ("frames = 17", "frames = [17, 0]", r"data\.frames = 0 should be at least 1"),
        (
            'name = "nano"',
            'name = "nano"\ntask = "v2v"',
            r"model\.task = 'v2v' is not known.*t2v, i2v, ti2v, s2v",
        ),
        ('[model]\nname = "nano"', "model = 'nano'", r"model = 'nano' should be a section: \[model\]"),
    ],
)
def test_what_is_missing_or_misshapen_is_named(old, new, said):
    assert old in SMALL
    text = SMALL.replace(old, new)
    if new.startswith("model ="):  # a top-level key stands before the sections
        text = new + "\n" + SMALL.replace(old, "")
    with pytest.raises(OptionError, match=said):
        parse_recipe(tomllib.loads(text))


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"none\.toml does not exist"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("output = 1\noutput = 2\n")
    with pytest.raises(OptionError, match=r"bad\.toml is no TOML: Cannot overwrite a value .at line 2"):
        read_recipe(tmp_path / "bad.toml")
    (tmp_path / "wrong.toml").write_text(SMALL + "stepz = 1")
    with pytest.raises(
        OptionError, match=r"wrong\.toml: unknown setting optimiser\.stepz\. Did you mean optimiser\.steps"
    ):
        read_recipe(tmp_path / "wrong.toml")


def test_each_expert_may_have_steps_of_its_own():
    recipe = parse_recipe(tomllib.loads(SMALL.replace("400", "{high = 900, low = 300}")))
    assert recipe.optimiser.of("high").steps == 900 and recipe.optimiser.of("low").steps == 300
    table = recipe.as_table()
    assert (table["optimiser.steps.high"], table["optimiser.steps.low"]) == (900, 300)
    high, low = (recipe.optimiser.of(name).learning_rate_at(299) for name in ("high", "low"))
    assert low < 0.01 * high
    assert parse().optimiser.of("low").steps == 400


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("{hihg = 900, low = 300}", r"unknown setting optimiser\.steps\.hihg\. Did you mean optimiser\.steps\.high\?"),
        ("{high = 900, low = 0}", r"optimiser\.steps\.low = 0 should be at least 1"),
        ("{high = 900, low = 1.5}", r"optimiser\.steps\.low = 1\.5 should be a whole number"),
        ("{high = 900, low = 90}", r"optimiser\.warmup = 100 leaves nothing of optimiser\.steps\.low = 90"),
        ("{}", r"optimiser\.steps names no expert; say \{high = 900, low = 300\}"),
        ("0", r"optimiser\.steps = 0 should be at least 1"),
        ("[900, 300]", r"optimiser\.steps = \[900, 300\] should be a whole number"),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_are_refused(steps, said):
    with pytest.raises(OptionError, match=said):
        parse_recipe(tomllib.loads(SMALL.replace("400", steps)))


def test_the_rate_rises_and_falls_as_asked():
    part = OptimiserPart(steps=110, learning_rate=2.0e-3, warmup=10, decay="cosine")
    assert part.learning_rate_at(0) == pytest.approx(2e-4) and part.learning_rate_at(9) == pytest.approx(2e-3)
    assert part.learning_rate_at(60) == pytest.approx(1e-3) and part.learning_rate_at(110) == pytest.approx(
        0, abs=1e-12
    )
    linear = replace(part, decay="linear", floor=0.5)
    assert linear.learning_rate_at(60) == pytest.approx(1.5e-3) and linear.learning_rate_at(
        110
    ) == pytest.approx(1e-3)
    assert replace(part, decay="constant").learning_rate_at(109) == 2e-3
    assert replace(part, warmup=0, decay="constant").learning_rate_at(0) == 2e-3


OLD = """
rate = 2e-3
batch = 2
accumulate = 3
clip = 0.5
ema = 0.9
[adapter]
[memory]
checkpointing = true
base = "int8"
rest = "disk"
stretch = 7
[speech]
worn = 0.1
moving = 0.2
most = 3.0
[picture]
first = 0.1
last = 0.2
both = 0.3
[validation]
prompts = ["a"]
sounds = ["a.wav"]
"""


def test_settings_are_read_by_their_old_names_with_a_notice_each():
    notices = []
    read = parse_recipe(tomllib.loads(SMALL + OLD), log=notices.append)
    text = OLD.replace("[picture]", "[image]")
    for old, now in OLD_NAMES.items():
        text = text.replace(f"\n{old.rpartition('.')[2]} = ", f"\n{now.rpartition('.')[2]} = ")
    assert read == parse_recipe(tomllib.loads(SMALL + text), log=pytest.fail)
    assert read.optimiser.learning_rate == 2e-3 and read.memory.steps_per_expert_turn == 7
    assert len(notices) == len(OLD_NAMES) == 16
    for line, (old, now) in zip(notices, OLD_NAMES.items(), strict=True):
        assert line.startswith(f"notice: {old} is now called {now}")


@pytest.mark.parametrize(("old", "now"), OLD_NAMES.items())
def test_a_setting_by_both_names_is_refused(old, now):
    table = tomllib.loads(SMALL)
    section, _, name = old.partition(".")
    table.setdefault(section, {})[name] = 1
    table.setdefault(now.partition(".")[0], {})[now.partition(".")[2]] = 1
    with pytest.raises(OptionError, match=rf"^{old} is the old name of {now}, and both are given"):
        parse_recipe(table)


def test_no_setting_has_an_old_name_and_every_new_name_exists():
    names = set(parse("[adapter]\n[speech]\n[image]\n").as_table())
    assert not names & OLD_NAMES.keys() and set(OLD_NAMES.values()) <= names


@pytest.mark.parametrize(
    ("said", "where"),
    [("true", "host"), ("false", "device"), ('"device"', "device"), ('"host"', "host"), ('"disk"', "disk")],
)
def test_where_the_inactive_expert_is_kept(said, where):
    assert parse(f"[memory]\noffload_inactive_expert = {said}").memory.inactive_expert == where
