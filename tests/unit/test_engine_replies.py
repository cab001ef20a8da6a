"""What a caller may send back to the engine after a step, and tensors in the place of noise and of encoded prompts."""

from dataclasses import replace

import pytest
import torch
from tiny import TEXT_LEN, write_tiny

import wan22
from wan22.conditioning.text import Context
from wan22.errors import OptionError
from wan22.sampling import SOLVERS, draw_noise, levels
from wan22.types import Latents, Notice, Progress, Reply, Request

ASK = Request(prompt="a red ball rolls left", steps=4, seed=2)
SHAPE = (4, 2, 4, 6)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return wan22.load(write_tiny(tmp_path_factory.mktemp("tiny") / "m"), device="cpu")


def run(engine, request=ASK, reply=lambda event: None):
    """The latents of a request whose steps are answered by `reply`, and its steps."""
    events, back, steps = engine.generate(request), None, []
    while True:
        event = events.send(back)
        back = None
        if isinstance(event, Progress):
            steps.append(event)
            back = reply(event)
        if isinstance(event, Latents):
            return event.tensors["latents"], steps


def near(a, b):
    return float((a - b).norm() / b.norm()) < 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_goes_on_from_the_sample_that_is_sent_back(solver):
    video, start = draw_noise((3, 5), 1), draw_noise((3, 5), 2)
    seen = []

    def denoise(x, level):
        seen.append(x.clone())
        return video

    steps = SOLVERS[solver](denoise, start, levels(solver, 4, 5.0))
    next(steps)
    seen.clear()
    steps.send(video * 3)
    assert torch.equal(seen[0], video * 3)


def test_a_sample_that_is_sent_takes_the_place_of_the_steps(engine):
    other = draw_noise(SHAPE, 9)
    latents, steps = run(engine, reply=lambda e: Reply(x=other) if e.index == 2 else None)
    plain, before = run(engine)
    assert torch.equal(steps[1].x, before[1].x)
    assert not near(latents, plain)
    last, _ = run(engine, reply=lambda e: Reply(x=other) if e.index == 4 else None)
    assert torch.equal(last, other)


def test_an_empty_reply_changes_nothing(engine):
    assert torch.equal(run(engine, reply=lambda e: Reply())[0], run(engine)[0])


def test_a_sample_of_another_shape_is_refused(engine):
    with pytest.raises(OptionError, match=r"was \(4, 2, 4, 6\), and is to be replaced by \(1, 4, 2, 4, 6\)"):
        run(engine, reply=lambda e: Reply(x=e.x[None]))


def test_a_stop_leaves_the_sample_as_it_is(engine):
    latents, steps = run(engine, reply=lambda e: Reply(stop=e.index == 2))
    assert len(steps) == 2
    assert torch.equal(latents, steps[-1].x)


def test_prompts_and_guidance_can_change_between_steps(engine):
    new = Context(engine.encode_text(["a blue cube spins"])[0], TEXT_LEN).embeds
    switched, steps = run(engine, reply=lambda e: Reply(prompt_embeds=new) if e.index == 1 else None)
    assert torch.equal(steps[0].x, run(engine)[1][0].x)
    assert not near(switched, run(engine)[0])
    from_start, _ = run(engine, replace(ASK, prompt_embeds=new))
    assert near(from_start, run(engine, replace(ASK, prompt="a blue cube spins"))[0])

    euler = replace(ASK, solver="euler")  # it remembers nothing but the sample
    free, steps = run(engine, euler, lambda e: Reply(guided=False) if e.index == 2 else None)
    alone = replace(euler, guidance=1.0)
    assert near(free, run(engine, alone, lambda e: Reply(x=steps[1].x) if e.index == 2 else None)[0])
    assert not near(free, run(engine, euler)[0])


def test_noise_that_is_given_is_where_the_video_starts(engine):
    given = draw_noise(SHAPE, 2)
    assert torch.equal(run(engine, replace(ASK, seed=5, noise=given))[0], run(engine)[0])
    recipe = engine.recipe(replace(ASK, noise=given))
    assert recipe["given"].keys() == {"noise"} and recipe["given"]["noise"].startswith("sha256:")
    assert "given" not in engine.recipe(ASK)


def test_encoded_prompts_stand_in_the_place_of_texts(engine):
    texts = engine.encode_text(["a red ball rolls left", "a cube"])
    prompt, negative = (Context(rows, TEXT_LEN).embeds for rows in texts)
    plain = run(engine)[0]
    given = replace(ASK, prompt="", prompt_embeds=prompt, negative_prompt_embeds=negative)
    assert near(run(engine, given)[0], plain)
    with pytest.raises(OptionError, match="the prompt is empty"):
        engine.check(replace(ASK, prompt=""))


def test_fewer_tokens_are_read_and_padded_if_asked(engine):
    short = run(engine, replace(ASK, max_sequence_length=3))[0]
    assert not near(short, run(engine)[0])
    rows = engine.encode_text([ASK.prompt], 3)[0]
    assert rows.shape[0] == 3
    negative = Context(engine.encode_text(["a cube"], 3)[0], 3).embeds
    same = replace(ASK, prompt="", prompt_embeds=rows, negative_prompt_embeds=negative)
    assert near(run(engine, same)[0], short)
    notices = [e.text for e in engine.generate(replace(ASK, max_sequence_length=99)) if isinstance(e, Notice)]
    assert [n for n in notices if "reads at most 8 tokens of a prompt, not 99" in n]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": torch.zeros(1, *SHAPE)}, r"noise must be \(4, 2, 4, 6\) for this model and size"),
        ({"noise": torch.zeros(SHAPE, dtype=torch.int64)}, "noise must be a tensor of floats"),
        ({"noise": [1.0]}, "noise must be a tensor of floats .*, not list"),
        ({"noise": torch.full(SHAPE, torch.nan)}, "not finite"),
        (
            {"noise": torch.zeros(SHAPE), "frames": 40},
            "noise is that of one clip, and this video is made in 5",
        ),
        ({"prompt_embeds": torch.zeros(3, 9)}, r"prompt_embeds must be \(s, 8\)"),
        ({"prompt_embeds": torch.zeros(0, 8)}, r"prompt_embeds must be \(s, 8\)"),
        ({"max_sequence_length": 0}, "max_sequence_length must be a whole number from 1 to 8, not 0"),
        ({"max_sequence_length": 2.5}, "max_sequence_length must be a whole number"),
        ({"prompt": "@0s a @5s b", "prompt_embeds": torch.ones(3, 8)}, "prompt_embeds are one prompt"),
    ],
)
def test_tensors_that_cannot_be_are_one_clear_error(engine, change, message):
    with pytest.raises(OptionError, match=message):
        engine.check(replace(ASK, **change))
