"""The metrics: each turns tokens into statistics a segment, which add up over any set of segments."""
