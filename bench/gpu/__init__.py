"""How fast and how large everything is on the GPU of this machine, within a few minutes; nothing is downloaded.

    python -m bench.gpu --minutes 8                     all that fits into the time, the most telling first
    python -m bench.gpu --only attention forward        some of it
    python -m bench.gpu --device cpu --tiny             the script itself, on small networks, in seconds

Weights are random and made on the device, so numbers say nothing of pictures. Results are written after every item, as
`gpu-NAME.json` and `gpu-NAME.md`: seconds, the share of the roof (the arithmetic alone at the card's rate), the highest
memory use beside what `memory/workload.py` counts, and errors against references.

`cases.py` says at which sizes, `items.py` what is measured, `networks.py` makes networks, `video.py` a whole video,
`machine.py` finds the rates of the card.
"""
