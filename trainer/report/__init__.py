"""The report of a training run, and the notebook's plots."""
