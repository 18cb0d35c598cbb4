"""Fetch data and weights, finetune GPT-2 into a text classifier, evaluate it."""
