"""Outputs that are whole or not there: part files, checkpoints, locks."""
