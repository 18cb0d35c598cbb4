"""Rejected records that were mended by hand, put into the output where they belong."""
