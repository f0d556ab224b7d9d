from trimmed_z_score import trimmed_z_score


def trimmed_normalize(lst: list, threshold: float = 2.0) -> list:
    """Return the trimmed z-score of every element of a list, outliers included."""
    if not lst:
        raise ValueError("an empty list cannot be normalized")
    return [trimmed_z_score(x, lst, threshold) for x in lst]
