# Sourced by deploy/up, deploy/install, deploy/lock, tests/run and .ci/run: keeps .venv, at the top of the
# checkout, in step with a lock file. Expects the top as the working directory.
#
#   prepare_venv deploy/requirements.lock   what runs
#   prepare_venv deploy/requirements-dev.lock   the same, and what tests it
# shellcheck shell=bash

# Where packages are installed to; deploy/install has another place.
venv=.venv

find_python() {
    # Sets $python; ends the script, saying what is missing, if there is none.
    local candidate lacking complaint=''
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        # A name may stand for nothing: pyenv's, for one, exist for versions that are not switched on.
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        lacking=$("$candidate" -I -c '
from importlib.util import find_spec
wanted = ("venv", "ensurepip", "ssl", "sqlite3", "_ctypes")
print(*(name for name in wanted if find_spec(name) is None))')
        if [ -z "$lacking" ]; then
            python=$(command -v "$candidate")
            return
        fi
        complaint="$complaint
  $(command -v "$candidate") lacks: $lacking"
    done
    if [ -n "$complaint" ]; then
        echo "The Python that is here lacks modules of the standard library:$complaint" >&2
        echo 'On Debian and Ubuntu: apt install python3-venv' >&2
    else
        echo 'Python 3.11 or later is needed, and none is in PATH (looked for python3, python3.13, python3.12,' >&2
        echo 'python3.11, python3.14). Install one, or put its directory first in PATH.' >&2
    fi
    exit 1
}

prepare_venv() {
    # The quick way: nothing has changed since the last time.
    local lock=$1
    is_current "$lock" && return
    find_python
    # Of several at once, one sets up and the others wait; the lock goes when its last holder ends.
    exec 9<deploy
    "$python" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    is_current "$lock" || set_up "$lock"
    exec 9<&-
}

stamp_of() {
    # What an installation depends on: the lock, the project's own entry points, and where it lies.
    local place
    place=$(pwd -P)
    echo "$(cat "$1" pyproject.toml | cksum) $place"
}

stamp_file() {
    echo ".venv/.$(basename "$1")-installed"
}

is_current() {
    [ -x .venv/bin/siem ] && [ -x .venv/bin/python ] &&
        [ "$(cat "$(stamp_file "$1")" 2>/dev/null)" = "$(stamp_of "$1")" ]
}

set_up() {
    local lock=$1
    if [ -e .venv ]; then
        echo 'Bringing .venv up to date…' >&2
    else
        echo 'Setting up .venv (first run, about a minute)…' >&2
    fi
    if ! run_with_progress "$lock" install "$lock"; then
        echo 'Setting up .venv failed, for the reason above; the next run tries again from scratch.' >&2
        exit 1
    fi
}

run_with_progress() {
    # Runs a command; its whole output goes to a log, which is shown if it fails. People see the steps.
    local lock=$1 log
    shift
    log=$(mktemp)
    if ! (set -o pipefail && "$@" 2>&1 | tee "$log" | show_progress "$(count_pins "$lock")" >&2); then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

count_pins() {
    grep -c '^[a-z]' "$1"
}

show_progress() {
    # Reads pip's output; says which step is under way, and how many of the pins are there.
    local pins=$1 line count=0
    while IFS= read -r line; do
        case $line in
        '== '*) echo "  ${line#== }…" ;;
        Collecting\ * | Processing\ * | Requirement\ already\ satisfied:*)
            count=$((count + 1))
            [ $((count % 10)) -ne 0 ] || [ "$count" -gt "$pins" ] || echo "  packages: $count of $pins"
            ;;
        Installing\ collected\ packages:*,*) echo '  installing them…' ;;
        esac
    done
}

install() {
    # Called where `set -e` is off, hence the chain.
    local lock=$1
    echo '== making the virtual environment' &&
        renew_venv &&
        touch .venv/.unfinished &&
        rm -f .venv/.*-installed &&
        echo '== fetching the locked packages' &&
        install_pins "$lock" &&
        echo '== installing the project itself' &&
        pip_install --no-deps --no-build-isolation -e . &&
        leave_stamps "$lock" &&
        rm -f .venv/.unfinished
}

install_pins() {
    # The lock is complete, so pip resolves nothing: what was released since cannot matter. The check then
    # says what a lock lacks that is not complete.
    pip_install --no-deps --require-hashes -r "$1" &&
        "$venv/bin/python" -I -m pip --disable-pip-version-check check
}

renew_venv() {
    # Keeps an environment that works; makes it anew where it is half-made, too old, or has been moved.
    if [ -e .venv ] && [ ! -e .venv/.unfinished ] &&
        [ "$(cat .venv/.place 2>/dev/null || pwd -P)" = "$(pwd -P)" ] &&
        .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        return
    fi
    "$python" -m venv --clear .venv && pwd -P >.venv/.place
}

pip_install() {
    # A person's own pip settings (mirror, certificates) hold, except those that lead elsewhere.
    PIP_USER=0 PIP_TARGET='' PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore \
        "$venv/bin/python" -I -m pip install --progress-bar off "$@"
}

leave_stamps() {
    # The dev lock holds everything that the other holds, at the same versions.
    local lock
    for lock in "$1" deploy/requirements.lock; do
        stamp_of "$lock" >"$(stamp_file "$lock")"
    done
}
