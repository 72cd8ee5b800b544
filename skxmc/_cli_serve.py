"""``skxmc serve``: the command, which needs the extra ``serve`` only when it runs."""

import click


@click.command(
    epilog="Example: skxmc serve model --log tagged.jsonl, then open "
    "http://127.0.0.1:8000/ in a browser."
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to use.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to use; 0 takes a free one.",
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False),
    help="File (.jsonl) to which tagged texts are appended, in the form that train "
    "reads. Without it, the page exports what was tagged and the server keeps nothing.",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False),
    help="File that holds a token, which requests must send. The environment variable "
    "SKXMC_TOKEN does the same.",
)
@click.option(
    "--no-token",
    is_flag=True,
    help="Let every machine that reaches HOST send requests, without a token.",
)
@click.option(
    "--batch",
    "batch_size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Texts that are read together, at most.",
)
@click.option(
    "--queue",
    "max_waiting",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Texts that may wait. Further requests are refused (429).",
)
@click.option(
    "--max-texts",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Texts in one request.",
)
@click.option(
    "--max-characters",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="Characters in one text.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="Seconds until a request that waits is refused (503).",
)
def serve(models, host, port, token_file, no_token, **options):
    """Serve models over HTTP, with a page where people tag texts.

    MODEL is a folder that train writes, or NAME=FOLDER. Several models are served by
    name. /docs documents the API, and / is the page. Without further options, only
    this machine can connect. SIGTERM and Ctrl-C end the server after it has answered
    the requests that wait.
    """
    import skxmc
    from skxmc.serve import make_app  # first: it says what to install
    from skxmc.serve._models import parse_models
    from skxmc.serve._server import is_loopback, open_socket, read_token, run

    folders = parse_models(models)
    token = None if no_token else read_token(token_file)
    with open_socket(host, port) as opened:
        if token is None and not no_token and not is_loopback(opened):
            raise click.UsageError(
                f"Other machines can connect to {host}. Set a token by --token-file or "
                "SKXMC_TOKEN, or let everybody in by --no-token."
            )
        loaded = {name: skxmc.load(folder) for name, folder in folders.items()}
        app = make_app(loaded, token=token, host=host, **options)
        opened.listen()  # from now on, requests wait for the server to start
        place, port = opened.getsockname()[:2]
        place = f"[{place}]" if ":" in place else place
        click.echo(
            f"Serving {', '.join(loaded)} at http://{place}:{port}/ (Ctrl-C to stop)",
            err=True,
        )
        run(app, opened, options["time_limit"])
