"""Data, tokenizer and published weights, fetched and checked."""
