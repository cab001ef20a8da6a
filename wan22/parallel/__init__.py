"""One video on several devices: every rank runs the same program, and a few objects divide the work.

A rank is a process with one device. With one device none of these objects exist. This package and `train/` are the only
ones that import torch.distributed.
"""
