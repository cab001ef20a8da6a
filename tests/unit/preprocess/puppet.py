"""The puppet of the film set as a driving video whose landmarks and outline are known exactly."""

from functools import cache
from itertools import count

import numpy as np

from wan22.preprocess import Preprocessor
from wan22.preprocess.body import COUNT, GROUPS, index_of
from wan22.stage import puppet_render as stage
from wan22.stage.backdrop import draw_backdrop
from wan22.stage.puppet import PuppetShot, perform
from wan22.types import Clip

FRAMES, FPS = 12, 15.0
SHOT = PuppetShot("blue", "blond", "meadow", "day", "left", "warm", "static")


@cache
def puppet(height=128, width=160):
    """(frames, points (T, 133, 3), masks (T, H, W) bool)."""
    samples = (np.sin(np.arange(16_000) * 0.2) * np.linspace(0, 1, 16_000)).astype(np.float32)
    motion = perform(samples, 16_000, FRAMES, FPS, seed=1)
    frames = stage.render_puppet([SHOT], [motion], height=height, width=width, frames=FRAMES, fps=FPS)[
        0
    ].numpy()
    scene = stage._scene(SHOT, height, width, FRAMES, 0)
    rays, _ = draw_backdrop(scene, height, width)
    sheet = stage._sheet(scene, rays, height, width)
    xs, ys = (np.broadcast_to(part[0, 0].numpy(), (FRAMES, height, width)) for part in (sheet.x, sheet.y))
    points = np.stack([_points(motion, t, xs[t], ys[t]) for t in range(FRAMES)])
    masks = ((xs / 0.46) ** 2 + ((ys + 0.8) / 0.46) ** 2 < 1) | (
        (xs / 0.325) ** 2 + ((ys - 0.07) / 0.36) ** 2 < 1
    )
    return frames, points, masks


def _points(motion, t, xs, ys):
    tilt, drop = float(motion.tilt[t]), -0.1 * float(motion.nod[t])
    cos, sin, neck = np.cos(tilt), np.sin(tilt), -0.36

    def place(x, y, head=True):
        if head:  # from the head's own axes to the sheet
            x, y = x * cos + (y - neck) * sin, -x * sin + (y - neck) * cos + neck
        row, column = np.unravel_index(((xs - x) ** 2 + (ys - y) ** 2).argmin(), xs.shape)
        return column, row, 1.0

    points = np.zeros((COUNT, 3), np.float32)
    points[0] = place(0, -0.035 + drop)
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points[GROUPS["face"]] = [place(0.285 * np.cos(a), -0.01 + 0.345 * np.sin(a)) for a in angles]
    for side, sign in (("left", 1), ("right", -1)):  # its left hand is at the right of the image
        hand = -0.56 + 0.22 * float(motion.hands[t, (sign + 1) // 2])
        points[index_of(f"{side}_eye")] = place(sign * 0.115, 0.075 + drop)
        points[index_of(f"{side}_ear")] = place(sign * 0.285, 0)
        points[index_of(f"{side}_shoulder")] = place(sign * 0.3, -0.5, False)
        points[index_of(f"{side}_elbow")] = place(sign * 0.4, -0.62, False)
        points[index_of(f"{side}_wrist")] = place(sign * 0.44, hand, False)
        around = np.linspace(0, 2 * np.pi, 21)
        points[GROUPS[f"{side}_hand"]] = [
            place(sign * 0.44 + 0.07 * np.cos(a), hand + 0.07 * np.sin(a), False) for a in around
        ]
    return points


def clip(frames=None):
    return Clip(puppet()[0] if frames is None else frames, FPS)


def box_of(points):
    seen = points[points[:, 2] > 0]
    return np.array([*seen[:, :2].min(0), *seen[:, :2].max(0), 0.9], np.float32)


def models(unseen=(), others=(), scale=1.0):
    """Networks that know the puppet: the frame is told from the number of calls.

    `unseen`: frames in which nobody is found; `others`: boxes of more people in every frame; `scale` of the frames.
    """
    _, points, masks = puppet()
    detected = count()

    def detect(frame):
        t = next(detected)
        own = [] if t in unseen else [box_of(points[t]) * np.array([scale] * 4 + [1])]
        return np.array([*others, *own], np.float32).reshape(-1, 5)

    seen = [t for t in range(FRAMES) if t not in unseen]
    looked = iter(range(seen[0], seen[-1] + 1) if seen else ())
    outlined = iter([t for t in range(FRAMES) if t not in unseen])

    def landmarks(frame, box):
        t = next(looked)
        return points[t] * np.array([scale, scale, t not in unseen], np.float32)

    def mask(frame, points):
        at = masks[next(outlined)]
        rows = (np.arange(frame.shape[0]) / scale).astype(int).clip(0, at.shape[0] - 1)
        columns = (np.arange(frame.shape[1]) / scale).astype(int).clip(0, at.shape[1] - 1)
        return at[rows][:, columns].astype(np.float32)

    return Preprocessor(detect, landmarks, mask, {"landmarks": "puppet"})
