"""Metrics: what the test of a task measures, by name, with its title."""

# What the test of a task measures, with its title.
METRICS = {
    "tagging": {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"},
    "genre": {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"},
}
