"""The one error that a person is meant to read."""


class InputError(ValueError):
    """Bad input: its message names the file or option, what is wrong, and what to do about it."""
