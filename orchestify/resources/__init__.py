"""Process resources and their bounds: threads, memory, files, metric series.

Each module stands alone: thread pools with a limit for each owner, mappings of bounded size,
files only their owner may read, label values of metrics, texts that are fit for a terminal, and
the error of an optional part that is not installed, log lines of fields, JSON of values, and JSON
written in steps.

Other rooms import from: bounded, extras, file_permissions, json_steps, log_fields, plain_json,
series_labels, terminal_text, thread_pools.
"""
