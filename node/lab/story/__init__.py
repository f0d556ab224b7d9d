"""The story of one task: what its nodes wrote down, in causal order and in plain words."""
