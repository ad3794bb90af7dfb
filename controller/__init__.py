"""What decides, assimilates, remembers and acts: the nouns, the mind and the hands."""
