#!/usr/bin/env bash
# The page for browsers, whose sources are in dashboard/web: `build` makes dashboard/static, `check` compares with it,
# `test` shows every page to a headless Chromium. Node.js is needed for these only; Rain is built without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

web=dashboard/web

has() { command -v "$1" >/dev/null 2>&1; }

has_node() {
    has node && has npm && [ "$(node -p 'process.versions.node.split(".")[0] >= 20')" = true ]
}

# The packages of package-lock.json, installed once for each version of it.
install_packages() {
    local stamp=$web/node_modules/.rain-stamp
    cmp -s "$web/package-lock.json" "$stamp" && return
    (cd "$web" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || return
    cp "$web/package-lock.json" "$stamp"
}

need_packages() {
    if ! has_node; then
        echo "dashboard: Node.js 20 or newer with npm is needed for this" >&2
        exit 1
    fi
    install_packages
}

has_chromium() { [ -n "${CHROMIUM:-}" ] || [ -x /usr/bin/chromium ]; }

case "${1:-}" in
build)
    need_packages
    (cd $web && node_modules/.bin/tsc && node build.mjs)
    ;;
check)
    if ! has_node; then
        echo "dashboard: skipped, there is no Node.js 20: whether dashboard/static fits dashboard/web is not known"
    elif ! install_packages; then
        echo "dashboard: skipped, its npm packages cannot be installed: whether dashboard/static fits dashboard/web is not known"
    else
        (cd $web && node_modules/.bin/tsc && node build.mjs --check)
        echo "dashboard: dashboard/static is what dashboard/web makes"
    fi
    ;;
test)
    need_packages
    if ! has_chromium && has apt-get && [ "$(id -u)" = 0 ]; then
        echo "dashboard: installing Debian's chromium, for this test only"
        apt-get install -y --no-install-recommends chromium >/dev/null
    fi
    has_chromium || { echo "dashboard: install Chromium (Debian: chromium), or name it in CHROMIUM" >&2; exit 1; }
    (cd $web && node --test --test-timeout=600000 tests/)
    ;;
*)
    echo "usage: scripts/dashboard.sh build|check|test" >&2
    exit 2
    ;;
esac
