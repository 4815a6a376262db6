"""The one exception unusable input raises; the scorers print it as a single line."""


class InputError(ValueError):
    """Hypotheses, references or files that cannot be scored; the message says what was got and what to do."""
