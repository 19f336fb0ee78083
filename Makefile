# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the scripts in dev/, which say what they do; this file only names it.
# Variables: PYTHON=interpreter for `make venv`; VENV=a virtual environment to use instead of .venv;
#            ARGS="words for the tool" (make unit ARGS="-k policy", make sanity ARGS="--test pep8");
#            SKIP="steps that make test leaves out" (make test SKIP="sanity integration").

SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

export PYTHON VENV SKIP

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: venv
venv: ## .venv with everything a developer or a test needs (PYTHON=, VENV=)
	@dev/venv.sh

.PHONY: demo
demo: venv ## three VMs on the KVM rig: config drives, addresses from an external DHCP server, proved
	@dev/demo.sh up

.PHONY: demo-down
demo-down: ## removes everything that make demo started
	@dev/demo.sh down

.PHONY: test
test: ## everything from lint to integration, with the seconds of each step (SKIP=)
	@dev/test.sh

.PHONY: lint
lint: venv ## style, ansible-lint (production), changelog, documentation (ARGS= for some of them, such as mypy)
	@dev/lint.sh $(ARGS)

.PHONY: docs
docs: venv ## the documentation site in .build/site/html, from guides, roles, plugins and changelog fragments
	@dev/docs.sh

.PHONY: format
format: venv ## brings the Python files into the style that lint asks for
	@dev/format.sh

.PHONY: unit
unit: venv ## unit tests (ARGS= for pytest)
	@dev/pytest.sh unit $(ARGS)

.PHONY: unit-oldest
unit-oldest: venv ## unit tests on the oldest supported ansible-core and Python
	@dev/unit-oldest.sh $(ARGS)

.PHONY: coverage
coverage: venv ## branch coverage of the pure rooms by their unit tests; fails under 95 % (ARGS= for pytest)
	@dev/coverage.sh $(ARGS)

.PHONY: mutation
mutation: venv ## small changes of the code that no unit test notices, in what decides most (ARGS= for mutmut)
	@dev/mutation.sh $(ARGS)

.PHONY: sanity
sanity: venv ## all of ansible-test sanity, without an ignore file (ARGS= for ansible-test)
	@dev/sanity.sh $(ARGS)

.PHONY: build
build: venv ## the collection's tarball in dist/, and a proof that it installs offline
	@dev/build.sh

.PHONY: release
release: venv ## what a release consists of, in dist/; publishes nothing
	@dev/release.sh

.PHONY: ee-check
ee-check: venv ## the Python parts of the execution environments in empty environments of each supported Python found here
	@dev/ee_check.sh

.PHONY: integration
integration: venv ## playbooks and modules against the rigs (ARGS= for pytest)
	@dev/pytest.sh integration $(ARGS)

.PHONY: matrix
matrix: venv ## docs/matrix.md: which guest on which hypervisor was shown to work, from the tests that show it
	@dev/matrix.sh

.PHONY: bench
bench: venv ## measurements, a table each
	@dev/bench.sh $(ARGS)

.PHONY: fresh
fresh: ## make demo and make test in new, bare Debian systems (ARGS="bookworm/user", SKIP=)
	@dev/fresh.sh $(ARGS)

.PHONY: clean
clean: ## removes what these targets made inside the checkout
	@dev/clean.sh
