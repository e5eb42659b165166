#!/usr/bin/env bash
# Put this checkout on every worker and install it there. Running it again brings the workers up to date.
# shellcheck disable=SC2034
USAGE=
SUMMARY='Copy the committed files of this checkout to every worker, and install them with the extra tpu in an environment of
its own. What was installed before stays, so that a second time takes seconds.'
OPTIONS='  --python VERSION of the environment (3.11)
'
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PYTHON=${SEAL_TPU_PYTHON:-3.11}

# The image's own Python is too old, so uv brings one.
remote() {
  cat <<EOF
set -euo pipefail
export PATH=\$HOME/.local/bin:\$PATH
mkdir -p $CHECKOUT
tar -xzf $CHECKOUT.tar.gz -C $CHECKOUT
command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
cd $CHECKOUT
[ -x .venv/bin/python ] || uv venv --quiet --python $PYTHON .venv
uv pip install --quiet --python .venv/bin/python -e '.[tpu]'
.venv/bin/python -c 'import jax; print(jax.__version__, jax.device_count(), "devices,", jax.local_device_count(), "here")'
EOF
}

warn_of_changes() { # what is not committed does not go to the workers
  local changed
  changed=$(git -C "$HERE/.." status --porcelain | wc -l) || return 0
  ((changed == 0)) || say "setup.sh: warning: $changed files with changes that are not committed; the workers get HEAD"
}

main() {
  parse_common "$@"
  set -- "${REST[@]}"
  if [[ ${1:-} == --python ]]; then
    [[ ${2:-} =~ ^3\.[0-9]+$ ]] || die 2 "--python needs a version such as 3.11"
    PYTHON=$2
    shift 2
  fi
  no_more "$@"
  local folder archive
  if ((DRY_RUN)); then folder=/tmp; else
    folder=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$folder'" EXIT
  fi
  archive=$folder/$CHECKOUT.tar.gz
  warn_of_changes
  run git -C "$HERE/.." archive --format=tar.gz --output="$archive" HEAD
  copy "$archive" "$NAME:$CHECKOUT.tar.gz" --worker=all || die 3 "copying failed"
  on_workers all "$(remote)" || die 3 "setting up failed on a worker; what it said is above"
}

main "$@"
