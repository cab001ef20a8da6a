"""`wan22 image`: a picture, which is a film of one frame."""

from __future__ import annotations

from wan22.cli import direct, report
from wan22.cli import options as o
from wan22.production.direction import Direction
from wan22.production.work import Machine, Work, make, present


def image(
    prompt: o.Prompt = None,
    output: o.PictureOutput = None,
    model: o.Model = None,
    shot_size: direct.ShotSize = None,
    angle: direct.Angle = None,
    lens: direct.Lens = None,
    composition: direct.Composition = None,
    light: direct.Light = None,
    time: direct.Time = None,
    tone: direct.Tone = None,
    camera: direct.Camera = None,
    style: direct.Style = None,
    extend: direct.Extend = None,
    fast: o.Fast = False,
    size: o.Size = None,
    negative: o.Negative = None,
    source: o.From = None,
    steps: o.Steps = None,
    solver: o.SolverName = None,
    shift: o.Shift = None,
    guidance: o.Guidance = None,
    guidance_rescale: o.GuidanceRescale = None,
    seed: o.Seed = None,
    count: o.Count = 1,
    lora: o.Lora = None,
    overwrite: o.Overwrite = True,
    device: o.Device = None,
    dtype: o.Dtype = None,
    memory: o.Memory = None,
    json: o.Json = False,
) -> None:
    """Make a picture: a film of one frame.

    Prints the path of the file.
    """
    asked = {
        "prompt": prompt, "negative": negative, "size": o.parse_size(size), "frames": 1, "steps": steps,
        "solver": solver, "shift": shift, "guidance": o.parse_guidance(guidance),
        "guidance_rescale": guidance_rescale, "seed": seed,
        "fast": fast or None,
    }  # fmt: skip
    work = Work(
        given=present(asked),
        files={},
        source=source,
        output=output,
        suffix=".png",
        machine=Machine(model, device, dtype, memory),
        count=count,
        overwrite=overwrite,
        loras=o.parse_loras(lora),
        direction=Direction(shot_size, angle, lens, composition, light, time, tone, camera, style, extend),
    )
    with report.choose(json) as show:
        make(work, show)
