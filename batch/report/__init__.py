"""A labelled file as one HTML page."""
