"""The classifier: bundle, tokenizer, batches, inference, decision."""
