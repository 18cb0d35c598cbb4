"""Label files on many machines with Ray: shards, and the workers that label them."""
