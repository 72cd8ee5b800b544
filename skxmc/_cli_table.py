"""The command line's options for the columns of tables."""

import click
from click.core import ParameterSource

unquoted_option = click.option(
    "--unquoted",
    "quoted",
    flag_value=False,
    default=True,
    help="Treat quotes in a .csv or .tsv file as part of its texts: they do not "
    "enclose cells.",
)
_OPTIONS = (
    click.option(
        "--text", default="text", show_default=True, help="Column that holds the texts."
    ),
    click.option(
        "--labels",
        default="labels",
        show_default=True,
        help="Column that holds the labels.",
    ),
    click.option(
        "--separator",
        default="|",
        show_default=True,
        # Most shells have no short way to type a tab.
        callback=lambda context, option, value: "\t" if value == r"\t" else value,
        help=r"Text between two labels of a cell; \t is a tab.",
    ),
    unquoted_option,
)


def table_options(command):
    """Give a command the options that say how to read a table."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_unused_options(data):
    """Refuse options of the running command that have no effect on its DATA.

    Without an error, a wrong path of DATA could pass unseen.

    Parameters
    ----------
    data : Path
    """
    from skxmc._cli_data import describe_data

    context = click.get_current_context()
    kind, has_columns, fills_store = describe_data(data)
    unused = set()
    if not has_columns:
        unused |= {"text", "labels", "separator", "quoted"}
    if not fills_store:
        unused |= {"store"}
    for option in context.command.params:
        source = context.get_parameter_source(option.name)
        if option.name in unused and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{option.opts[0]} has no effect, since {data} is {kind}: leave it out."
            )
