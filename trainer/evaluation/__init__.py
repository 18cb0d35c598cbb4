"""Scores, calibration, threshold, and the baseline."""
