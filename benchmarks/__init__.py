"""The benchmark: diffeo beside its peers, on the same shapes, interleaved, one process each."""
