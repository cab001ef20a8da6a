"""From a request to a file: latents kept safe, long videos, takes, rendering again, shots of a storyboard.

It knows no terminal. It says what happens to an EventSink and raises the errors of `wan22.errors`; the command line,
and whatever else makes files, calls it.
"""
