"""Labelled files, splits, and their tensors."""
