# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nox sessions, as antsibull-nox makes them from antsibull-nox.toml."""

import antsibull_nox

antsibull_nox.load_antsibull_nox_toml()
