"""The eight emotions in their one order, and the columns of FER2013 and FERPlus mapped to it by name."""

from typing import Final

LABELS: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Class order of every probability vector in this project (FERPlus' own order)."""

FERPLUS_COLUMNS: Final = (*LABELS, "unknown", "NF")
"""Vote columns of FERPlus: the eight emotions, "unknown", and "NF" (not a face)."""

FER2013_LABELS: Final = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""FER2013's integer labels 0..6, under the names used here."""
