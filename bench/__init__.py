"""Speed and memory beside Diffusers: the same weights, the same inputs, in the same run.

    python -m bench                      all cases, as a table
    python -m bench --only vae --json out.json

`cases.py` says what is compared, `measure.py` how, `__main__.py` prints it. Diffusers is a development dependency.
"""
