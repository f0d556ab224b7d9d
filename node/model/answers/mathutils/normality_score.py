from trimmed_normalize import trimmed_normalize


def normality_score(lst: list, threshold: float = 2.0) -> float:
    """Return how far the normalized data are from mean 0 and deviation 1; 0 is best."""
    if not lst:
        raise ValueError("an empty list has no score")
    scores = trimmed_normalize(lst, threshold)
    middle = sum(scores) / len(scores)
    spread = (sum((z - middle) ** 2 for z in scores) / len(scores)) ** 0.5
    return abs(middle) + abs(spread - 1.0)
