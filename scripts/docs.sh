#!/usr/bin/env bash
# Builds the site of the documents in target/site, with what scripts/docs-requirements.txt lists. A link that leads nowhere,
# a page that is not in the navigation, and a docstring that cannot be read are errors.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/tool-environment.sh

make_environment target/docs-tools scripts/docs-requirements.txt
# The theme's note about the future of MkDocs is not about these documents.
NO_MKDOCS_2_WARNING=1 target/docs-tools/bin/mkdocs build --quiet --strict
echo "docs: target/site/index.html"
