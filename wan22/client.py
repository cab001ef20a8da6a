"""A client of our own server, for the command line and for Python."""
