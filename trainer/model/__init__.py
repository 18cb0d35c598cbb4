"""GPT-2 with a classification head, and its initial weights."""
