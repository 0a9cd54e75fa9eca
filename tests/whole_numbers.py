"""The type checker of the tests: beartype, with Python's own rule that an int will do where a float is asked for."""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
