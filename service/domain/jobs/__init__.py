"""The job: values, transitions, results and its public form."""
