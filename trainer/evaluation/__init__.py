"""Scores, calibration, threshold, and the bar to clear."""
