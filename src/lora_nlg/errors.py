"""The one exception a user's mistake raises: commands print it as a single line, without a traceback."""


class InputError(ValueError):
    """Something given from outside (a flag, a file, a checkpoint) cannot be used.

    The message says what was got, what is allowed and what to do next, on one line.
    """
