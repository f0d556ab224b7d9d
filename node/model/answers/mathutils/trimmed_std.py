from trimmed_variance import trimmed_variance


def trimmed_std(lst: list, threshold: float = 2.0) -> float:
    """Return the standard deviation of what is left when outliers are removed."""
    return trimmed_variance(lst, threshold) ** 0.5
