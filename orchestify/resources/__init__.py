"""What a process uses and bounds: threads, memory, files."""
