"""Folders of Hugging Face's transformers: ``GPT2ForSequenceClassification`` in and out."""
