"""To and from other optimisers: a generator for their loops, and their studies as campaigns."""
