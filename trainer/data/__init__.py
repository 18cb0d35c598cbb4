"""Labelled files, splits, and tensors of them."""
