"""The loops: submit, dispatch, reconcile, recover, prune, listen."""
