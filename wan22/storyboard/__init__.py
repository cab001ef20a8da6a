"""A video as shots: the script, how well its shots go together, and the board that shows them.

It knows words and pixels, not networks. What makes shots and board is `production/shots.py` and `production/boards.py`.
"""
