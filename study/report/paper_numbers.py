"""The numbers that the paper prints, in percent: Garoufis, Zlatintsi and Maragos, EUSIPCO 2024, tables 1 and 2."""

from statistics import fmean
from typing import NamedTuple


class Published(NamedTuple):
    mean: float
    sd: float
    star: bool = False


# Rows by what the U-Net was pre-trained on; "-": no U-Net.
TITLES = {
    "-": "bare backend",
    "none": "none (random U-Net)",
    "bass": "bass",
    "drums": "drums",
    "other": "other",
    "vocals": "vocals",
    "multiple": "multiple",
}
ROWS = tuple(TITLES)
COLUMNS = (
    ("cnn", "tagging", "roc_auc"),
    ("cnn", "tagging", "pr_auc"),
    ("cnn", "genre", "accuracy"),
    ("ast", "tagging", "roc_auc"),
    ("ast", "tagging", "pr_auc"),
    ("ast", "genre", "accuracy"),
)
PAPER_SCHEME = {"cnn": "three-stage", "ast": "two-stage"}
_TEXT = {
    "-": "91.47±0.03 46.50±0.11 66.30±0.31 91.65±0.05 46.82±0.20 67.22±0.25",
    "none": "91.38±0.08 46.32±0.35 66.53±0.13 91.58±0.04 46.77±0.12 67.10±0.61",
    "bass": "91.45±0.08 46.48±0.18 66.58±0.24 91.69±0.08 47.00±0.24 67.89±0.31",
    "drums": "91.47±0.07 46.68±0.20 66.80±0.19 91.57±0.03 46.57±0.20 66.11±0.46",
    "other": "91.59±0.07 46.98±0.13* 67.14±0.12* 91.78±0.12 47.49±0.23 67.09±0.33",
    "vocals": "91.85±0.03* 47.16±0.17* 66.10±0.41 91.89±0.08* 47.21±0.34 66.77±0.14",
    "multiple": "91.50±0.02 46.65±0.12 66.52±0.21 91.87±0.08* 47.31±0.13* 67.40±0.93",
}


def _parsed(text: str) -> Published:
    mean, sd = text.rstrip("*").split("±")
    return Published(float(mean), float(sd), text.endswith("*"))


TABLE = {row: dict(zip(COLUMNS, map(_parsed, text.split()), strict=True)) for row, text in _TEXT.items()}
# Source "other", CNN, tagging; of the transformer the paper says only that two-stage is the better one.
SCHEMES = {
    ("two-stage", "roc_auc"): Published(91.35, 0.15),
    ("two-stage", "pr_auc"): Published(46.15, 0.44),
    ("three-stage", "roc_auc"): Published(91.59, 0.07),
    ("three-stage", "pr_auc"): Published(46.98, 0.13),
}


# By (task, backend, metric): over a column's rows the root of the mean variance, as a share instead of percent.
SPREADS = {
    (task, backend, metric): fmean(row[backend, task, metric].sd ** 2 for row in TABLE.values()) ** 0.5 / 100
    for backend, task, metric in COLUMNS
}


def published(row: str, column: tuple[str, str, str]) -> Published:
    """The cell of the first table."""
    return TABLE[row][column]
