"""Every error edgewise raises on purpose.

    EdgewiseError(Exception)
    ├── UserError(ValueError)    what was given can't be used; who gave it can correct it
    │   ├── ModelError           unknown type, unhandled setting, failed identity proof, quantised
    │   ├── DataError            malformed rows, unequal lengths, no <predict>, empty split
    │   ├── TokenizerError       the tokenizer lacks single tokens that a task needs
    │   ├── ConfigError          a bad method or command-line value: density outside (0, 1], ...
    │   ├── GraphError           an edge or node that doesn't exist, graphs that differ
    │   └── RunError             a folder that holds another run, or a corrupt one
    ├── NonFiniteError(ArithmeticError)    a loss or score became NaN or infinite
    ├── LostProcessError(RuntimeError)     another process of the same run ended or hangs
    └── DiskError(OSError)       no space left

A message says what came, what is allowed, and what to type. Our own broken invariants: `assert`.
"""


class EdgewiseError(Exception):
    """The root: `except EdgewiseError` catches whatever edgewise raises on purpose."""


class UserError(EdgewiseError, ValueError):
    """What was given can't be used; the message says what can."""


class ModelError(UserError):
    """A model that edgewise can't adapt: unknown type, unhandled setting, failed identity proof."""


class DataError(UserError):
    """Task data that can't be used: malformed rows, unequal lengths, an empty split."""


class TokenizerError(UserError):
    """A tokenizer that lacks the single tokens a task needs."""


class ConfigError(UserError):
    """A method or command-line value outside what is allowed."""


class GraphError(UserError):
    """An edge or node that doesn't exist, or two graphs that differ where they must be one."""


class RunError(UserError):
    """A run folder or saved file that holds something else, or is corrupt."""


class NonFiniteError(EdgewiseError, ArithmeticError):
    """A loss or score became NaN or infinite."""


class LostProcessError(EdgewiseError, RuntimeError):
    """Another process of the same run ended, or doesn't answer."""


class DiskError(EdgewiseError, OSError):
    """No space left for what must be written."""
