"""Settings that may change when a run is resumed, because the weights do not depend on them."""

MAY_CHANGE = (
    *("data.images", "data.list", "data.labels", "data.workers", "data.max_bad_fraction"),
    # The labels themselves are compared.
    *("data.label_separator", "data.image_column", "data.label_column", "data.class_columns"),
    "data.class_names",
    *("monitor.on_collapse", "monitor.patience", "monitor.loggers", "training.checkpoint_minutes"),
    *("monitor.eval_labels", "monitor.eval_val_labels"),  # moved, as data.labels; their content is compared
)
