from z_score import z_score


def normalize(lst: list) -> list:
    """Return the z-score of every element of a list."""
    if not lst:
        raise ValueError("an empty list cannot be normalized")
    return [z_score(x, lst) for x in lst]
