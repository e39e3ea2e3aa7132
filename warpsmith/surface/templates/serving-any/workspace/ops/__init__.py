"""The workspace's own operations: what each needs, how one is chosen (``choice``), what runs everywhere (``plain``)."""


class Unusable(Exception):
    """An implementation cannot run here; the message says why."""


class Absent(Unusable):
    """It cannot, because a compiler, a package or a device is not there: nothing is wrong with its source."""
