"""Exceptions with messages for the person at the command line."""


class UserError(Exception):
    """Bad input. The message is one line: what was found, where, what was expected, what to do.

    The command line prints only the message and exits with :attr:`exit_code`; in Python it is an
    ordinary exception. Any other exception is a bug of pointssl, and is shown with its traceback.
    """

    exit_code = 1


class UsageError(UserError):
    """A wrong option, name or combination of options. Nothing has been read or written yet."""

    exit_code = 2


class DataError(UserError):
    """A dataset that is missing, incomplete, damaged or in an unexpected layout."""
