"""Speed and memory beside Diffusers and transformers: the same weights, the same inputs, in the same run.

    python -m bench                      all cases, as a table
    python -m bench --only vae --json out.json

`cases.py` says what is compared, `measure.py` how, `__main__.py` prints it. The peers are development dependencies.
Commands of their own: `bench.clips` (what a clip of a long video costs), `bench.long` (memory and sync of ten minutes),
`bench.quality` and `bench.speech` (what the embedded models draw), `bench.gpu` (a GPU in a few minutes) and
`bench.kernels` (Triton, without a GPU).
"""
