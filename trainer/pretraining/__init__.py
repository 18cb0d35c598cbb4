"""Language from unlabelled text: a small GPT-2 that a classifier is finetuned from."""
