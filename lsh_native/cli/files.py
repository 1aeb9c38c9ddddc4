"""Names of the files by which a search or a training goes on."""

__all__ = ["CONFIGURATION", "OPTIONS", "STORE"]

# Of a study.
STORE = "study.db"
CONFIGURATION = "configuration.json"
# Of a training.
OPTIONS = "training.json"
