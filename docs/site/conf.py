# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the documentation site; dev/docs.sh lays the sources beside this file and calls Sphinx."""

project = "vmops.external_dhcp"
copyright = "vmops maintainers"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "furo"
html_title = project

# The reference names things of ansible-core, which only a site with a network could link to; antsibull-docs checks our own.
suppress_warnings = ["ref.ref"]

myst_heading_anchors = 3
exclude_patterns = ["docs/site"]
