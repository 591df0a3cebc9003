"""What clients and remote Python code have in common: data, its attributes and content types, errors."""

from . import attributes, content_type
from .data_instance import DataInstance
from .errors import (
    CancelledException,
    ConnectionLost,
    LabelException,
    RainException,
    RainTimeout,
    RainWarning,
    SessionException,
    TaskException,
)
from .ids import ID, DataType
from .labeled_list import LabeledList

__all__ = [
    "ID",
    "CancelledException",
    "ConnectionLost",
    "DataInstance",
    "DataType",
    "LabelException",
    "LabeledList",
    "RainException",
    "RainTimeout",
    "RainWarning",
    "SessionException",
    "TaskException",
    "attributes",
    "content_type",
]
