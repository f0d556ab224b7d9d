from trimmed_mean import trimmed_mean
from trimmed_std import trimmed_std


def trimmed_z_score(x: float, lst: list, threshold: float = 2.0) -> float:
    """Return the z-score of x by the mean and spread of the list without its outliers."""
    spread = trimmed_std(lst, threshold)
    if spread == 0:
        raise ValueError("the values without outliers are equal: there is no spread")
    return (x - trimmed_mean(lst, threshold)) / spread
