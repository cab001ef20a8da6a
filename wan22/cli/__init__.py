"""The command line: it builds a Request, consumes Events and writes with media. It knows no tensor.

Heavy libraries (torch, numpy, PIL, PyAV) are imported inside the commands, so that `wan22 --help` answers at once.
"""
