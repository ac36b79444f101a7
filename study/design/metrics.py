"""Metrics: what the test of a task measures."""

# Task -> metric -> title.
METRICS = {
    "tagging": {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"},
    "genre": {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"},
}
