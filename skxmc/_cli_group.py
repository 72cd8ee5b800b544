"""How commands report errors and warnings, and how they are given a model."""

import re
import warnings
from pathlib import Path

import click

# Errors in data, models or parameters. Libraries raise RuntimeError for them (hnswlib,
# torch), or its subclass NotImplementedError (pyarrow).
_USER_ERRORS = ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError


class CommandGroup(click.Group):
    """Commands that print errors and warnings as messages, without a traceback.

    The exit code is 1 for an error in data or a model; click's is 2 for wrong usage.
    """

    def invoke(self, context):
        def print_warning(message, *place, **_):
            click.echo(f"Warning: {_name_options(str(message))}", err=True)

        try:
            with warnings.catch_warnings():
                warnings.showwarning = print_warning
                return super().invoke(context)
        # click ends without a message for these: a closed pipe is how head stops us.
        except (BrokenPipeError, click.Abort, click.exceptions.Exit):
            raise
        except _USER_ERRORS as error:
            message = _name_options(str(error)) or repr(error)
            raise click.ClickException(message) from error


def _name_options(message):
    """Write arguments of Python as options: separator=';' as --separator ';'."""
    return re.sub(r"\b(labels|language|separator|text)=(?=['\"])", r"--\1 ", message)


class Model(click.ParamType):
    """A folder on this machine, or the name of a repository on the hub."""

    name = "model"

    def convert(self, value, parameter, context):
        from skxmc.persistence._hub import is_on_hub

        if not is_on_hub(value):
            return click.Path(exists=True, path_type=Path)(value, parameter, context)
        return value
