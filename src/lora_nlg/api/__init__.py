"""The Python entry and what it shares with the commands: settings → what is trained → a run to ask.

`lora_nlg.train` and `lora_nlg.load` are its public names (docs/python.md). A field has its flag's name; commands turn
`field` in a message into `--field`.
"""
