"""Drift: do the rows look like the training data?"""
