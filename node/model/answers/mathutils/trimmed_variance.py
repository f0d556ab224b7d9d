from filter_outliers import filter_outliers
from trimmed_mean import trimmed_mean


def trimmed_variance(lst: list, threshold: float = 2.0) -> float:
    """Return the population variance of what is left when outliers are removed."""
    kept = filter_outliers(lst, threshold)
    if not kept:
        raise ValueError("every value is an outlier")
    middle = trimmed_mean(lst, threshold)
    return sum((x - middle) ** 2 for x in kept) / len(kept)
