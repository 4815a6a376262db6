"""One run or many as one HTML page."""
