"""The files of a folder of transformers, and what its GPT-2 classifier computes."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
VOCAB, MERGES = "vocab.json", "merges.txt"
TOKENIZER = "tokenizer.json"  # both of them in one file
TOKENIZER_CONFIG = "tokenizer_config.json"
CARD = "README.md"
ARCHITECTURE = "GPT2ForSequenceClassification"
KIND = "transformers"  # of a run's weights
TOLERANCE = 1e-4  # between a logit of transformers and ours; times the largest logit above 1
