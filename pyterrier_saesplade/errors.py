"""An error that is told from bugs: the commands report it in one line."""


class EngineError(RuntimeError):
    """A search engine failed, or lost documents: for want of memory or of files, say; the message is for the user."""
