"""``spam-train check``: what is odd in labelled files, before a model learns it."""
