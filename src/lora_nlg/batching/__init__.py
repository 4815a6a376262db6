"""Records to flat, unpadded batches, in an order the sampler owns."""

from lora_nlg.batching.batch import Batch, make_batch
from lora_nlg.batching.examples import OBJECTIVES, Example, make_example, make_examples, prompt_tokens, read_examples
from lora_nlg.batching.filled import FilledBatch, Shape, fill_up, filled_size
from lora_nlg.batching.loader import Loader, StepData, validation_batches
from lora_nlg.batching.sampler import Sampler, share

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Example",
    "FilledBatch",
    "Loader",
    "Sampler",
    "Shape",
    "StepData",
    "fill_up",
    "filled_size",
    "make_batch",
    "make_example",
    "make_examples",
    "prompt_tokens",
    "read_examples",
    "share",
    "validation_batches",
]
