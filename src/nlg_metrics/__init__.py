"""The scorers of E2E, WebNLG and DART in pure Python and numpy; usable alone, without torch or lora_nlg."""
