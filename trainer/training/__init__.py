"""The training loop, its trunk cache and its checkpoint."""
