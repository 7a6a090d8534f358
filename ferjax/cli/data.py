"""Look at datasets of faces, and prepare them.

example:
  ferjax data info emotion-detection-fer.zip --sheet faces.png
"""

from __future__ import annotations

import argparse

from ferjax.cli import data_info, data_prepare
from ferjax.cli.options import add_command

_COMMANDS = {"info": data_info, "prepare": data_prepare}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = add_command(commands, name, module)
        command.set_defaults(run_data=module.run)


def run(args: argparse.Namespace) -> int:
    code: int = args.run_data(args)
    return code
