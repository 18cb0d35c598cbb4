"""GPT-2 with a classification head, and its first weights."""
