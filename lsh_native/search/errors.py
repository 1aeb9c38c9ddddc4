"""What can go wrong with a study, each with a name of its own."""


class StoreError(RuntimeError):
    """The file of a study cannot be used; the message says why in one sentence."""


class NotAStoreError(StoreError):
    """The file is not SQLite, or it is SQLite of another program."""


class CorruptStoreError(StoreError):
    """The file is damaged."""


class NewerStoreError(StoreError):
    """The file was written by a newer version of the library."""


class OlderStoreError(StoreError):
    """The file was written by an older version and is only read; a writer brings it up to date."""


class LockedStoreError(StoreError):
    """Another coordinator works on the study."""


class ReadOnlyStoreError(StoreError):
    """The file or its folder cannot be written."""


class DiskFullError(StoreError):
    """There is no room for another record; what was stored before is safe."""


class ConfigurationError(StoreError):
    """The study in the file was made with another configuration."""


class StudyError(RuntimeError):
    """A study ended without a result; all that it measured is in the store."""


class ReferenceLostError(StudyError):
    """The dense reference did not train, so no candidate can be compared with it."""


class NothingFinishedError(StudyError):
    """No candidate reached the end of the schedule."""


class ScoreFailedError(StudyError):
    """The score that decides raised, or said something else than one number a trial."""


class LimitReached(Exception):  # noqa: N818 - the end of a budget, not an error
    """What the study may spend is spent."""
