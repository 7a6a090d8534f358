"""Look at datasets of faces, and prepare them.

example:
  ferjax data info emotion-detection-fer.zip --sheet faces.png
"""

from __future__ import annotations

import argparse

from ferjax.cli import data_info, data_prepare

_COMMANDS = {"info": data_info, "prepare": data_prepare}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=(module.__doc__ or "").splitlines()[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run_data=module.run)


def run(args: argparse.Namespace) -> int:
    code: int = args.run_data(args)
    return code
