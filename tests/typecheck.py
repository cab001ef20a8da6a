"""The type checker that watches shapes and types while the tests run; an int is a float, as in Python's typing."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
