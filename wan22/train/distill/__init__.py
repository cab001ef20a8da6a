"""Distill a model into adapters that need few steps and no guidance: trajectories.py, student.py, run.py."""

from wan22.train.distill.run import STAGES, distil, ship
from wan22.train.distill.student import DistilRecipe
from wan22.train.distill.trajectories import Recording

__all__ = ["STAGES", "DistilRecipe", "Recording", "distil", "ship"]
