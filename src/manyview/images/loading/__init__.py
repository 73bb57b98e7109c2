"""Loading of batches in worker processes."""

from manyview.images.loading.loader import load_in_workers, worker_count
from manyview.images.loading.workers import Loading

__all__ = ["Loading", "load_in_workers", "worker_count"]
