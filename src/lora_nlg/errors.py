"""The one exception a user's mistake raises: commands print it as a single line, without a traceback."""


class InputError(ValueError):
    """Something given from outside (a flag, a file, a checkpoint) cannot be used.

    The message says what was got, what is allowed and what to do next, on one line.
    """


def first_line(error: BaseException) -> str:
    """The first line of another library's message, or the kind of error where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
