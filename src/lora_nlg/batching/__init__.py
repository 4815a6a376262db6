"""Records to flat, unpadded batches, in an order the sampler owns."""

from lora_nlg.batching.batch import Batch, make_batch
from lora_nlg.batching.examples import OBJECTIVES, Example, make_example, make_examples, prompt_tokens

__all__ = ["OBJECTIVES", "Batch", "Example", "make_batch", "make_example", "make_examples", "prompt_tokens"]
