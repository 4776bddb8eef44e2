"""Technical parts that know nothing of jobs."""
