"""The executor: the process in which a governor runs remote Python functions (``python -m rain.executor``)."""
