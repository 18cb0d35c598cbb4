"""A cascade: a fast model labels what it is sure of, and a slow one the rest."""
