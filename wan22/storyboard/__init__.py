"""A video as shots: the script, how well its shots go together, and the board that shows them.

It knows words and pixels, not networks; what makes the shots is `cli/storyboard.py` and `production/shots.py`.
"""
