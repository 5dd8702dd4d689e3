"""The command, its subcommands, exit codes and error messages."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from skvgg._command_line import check, extract, predict
from skvgg._command_line.say import FATAL, OK, say
from skvgg._version import __version__

_DESCRIPTION = "Compute VGG19 features and predictions for folders of images."

_EPILOG = """\
examples:
  skvgg extract photos/ -o rows.npy --layer fc1 --memory cache
  skvgg predict model.joblib photos/ -o predictions.csv
  skvgg check rows.npy

exit codes:
  0    success
  1    done, but some images could not be used
  2    wrong usage, or an error that ended the run
  130  interrupted; run the same command again to resume

'skvgg COMMAND --help' describes each command.
"""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            return options.run(options)
        except BrokenPipeError:  # standard output is a closed pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK
        except Exception as error:
            if options.debug:
                raise
            say("error", _message_of(error), error)
            return FATAL


def _message_of(error: Exception) -> str:
    text = str(error)
    if isinstance(error, ValueError | OSError | RuntimeError | ImportError) and text:
        return text
    return f"{type(error).__name__}: {text} (--debug shows the traceback.)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "skvgg",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"skvgg {__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (extract, predict, check):
        one = commands.add_parser(
            command.__name__.rpartition(".")[2],
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(one)
        one.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
        one.set_defaults(run=command.run)
    return parser
