class StackError(Exception):
    """The stack cannot go on. The message is for the operator."""


class StopRequested(Exception):
    """The operator wants the stack to end."""
