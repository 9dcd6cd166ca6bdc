"""Process resources and their bounds: threads, memory, files, metric series.

Each module stands alone: thread pools with a limit for each owner, mappings of bounded size,
files only their owner may read, label values of metrics.

Other rooms import from: bounded, file_permissions, series_labels, thread_pools.
"""
