# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for the pip bootstrap script that ansible-test would download: installs pip with Python's own ensurepip.

Called as `python get_pip.py [pip options] pip==VERSION`, as the script it replaces.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> int:
    """Makes pip available, then installs what the arguments name the ordinary way."""
    environment = {name: value for name, value in os.environ.items() if name != "GET_PIP"}
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], env=environment, stdout=subprocess.DEVNULL, check=True)
    return subprocess.run([sys.executable, "-m", "pip", "install", *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
