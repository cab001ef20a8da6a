"""A recipe that asks for the least."""

SMALL = """
output = "out"
[model]
name = "nano"
[data]
sources = "clips"
size = [96, 64]
frames = 17
fps = 8
[optimiser]
steps = 400
"""
