"""Distill a model into adapters that need few steps and no guidance: trajectories.py, student.py, run.py."""

from wan22.train.distill.run import STAGES, distill, ship
from wan22.train.distill.student import DistillRecipe
from wan22.train.distill.trajectories import Recording

__all__ = ["STAGES", "DistillRecipe", "Recording", "distill", "ship"]
