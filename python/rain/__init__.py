"""Rain: a task-graph engine. Graphs are made with :mod:`rain.client`; :mod:`rain.common` has what both sides share."""

__version__ = "0.1.0"
