"""The one exception that is written for the person at the command line."""


class UserError(Exception):
    """Bad input, said in one line: what was found, where, what was expected, what to do next.

    The command line prints the message alone and exits with :attr:`exit_code`; in Python it is an
    ordinary exception. Anything else that escapes is a bug of pointssl, and keeps its traceback.
    """

    exit_code = 1


class UsageError(UserError):
    """A wrong option, name or combination of options: nothing was read or written yet."""

    exit_code = 2


class DataError(UserError):
    """A dataset that is missing, incomplete, damaged or laid out otherwise than expected."""
