# shellcheck shell=bash disable=SC2034  # much of this is read by the scripts
# What the scripts of this folder share. Sourced by them, after they have set SUMMARY and OPTIONS (their own help).
#
# Defaults come from topologies/CONFIG.env, then from the environment (SEAL_TPU_*), then from flags.

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKOUT=seal_jax # the library's folder in the home of every worker

DRY_RUN=${SEAL_TPU_DRY_RUN:-0}
CONFIG=${SEAL_TPU_CONFIG:-v5e-8}
NAME=${SEAL_TPU_NAME:-seal}
ZONE=${SEAL_TPU_ZONE:-}
PROJECT=${SEAL_TPU_PROJECT:-}
BUCKET=${SEAL_TPU_BUCKET:-}
RESULTS=${SEAL_TPU_RESULTS:-results}
POLL=${SEAL_TPU_POLL:-30}

say() { printf '%s\n' "$*" >&2; }

die() { # die CODE MESSAGE...
  local code=$1
  shift
  say "$(basename "$0"): error: $*"
  exit "$code"
}

help() {
  cat <<EOF
usage: tpu/$(basename "$0") [options]$USAGE

$SUMMARY

options:
  --config NAME    slice, a file of tpu/topologies (v5e-8): $(configs)
  --name NAME      of the queued resource and of its TPU VM (seal)
  --zone ZONE      (that of the config)
  --project ID     (that of gcloud)
  --dry-run        print every command and run none of them
$OPTIONS  -h, --help

Every option but the last two can be set by the environment as well: SEAL_TPU_CONFIG, SEAL_TPU_NAME, ...
EOF
}

configs() {
  local file names=()
  for file in "$HERE"/topologies/*.env; do names+=("$(basename "$file" .env)"); done
  printf '%s' "${names[*]}"
}

# parse_common ARGS...: takes the common options and leaves the others in REST, with what follows "--" in COMMAND.
parse_common() {
  REST=() COMMAND=()
  while (($#)); do
    case $1 in
      --config | --name | --zone | --project | --bucket | --results)
        (($# > 1)) || die 2 "$1 needs a value"
        printf -v "$(tr 'a-z-' 'A-Z_' <<<"${1#--}")" '%s' "$2"
        shift
        ;;
      --dry-run) DRY_RUN=1 ;;
      -h | --help)
        help
        exit 0
        ;;
      --)
        shift
        COMMAND=("$@")
        break
        ;;
      *) REST+=("$1") ;;
    esac
    shift
  done
  load_config
}

load_config() {
  local file=$HERE/topologies/$CONFIG.env
  [[ -f $file ]] || die 2 "--config $CONFIG: there is no such slice; the configs are $(configs)"
  # shellcheck source=topologies/v5e-8.env
  source "$file"
  ZONE=${ZONE:-$DEFAULT_ZONE}
  [[ $NAME =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
    die 2 "--name $NAME: use lower-case letters, digits and hyphens, a letter first"
  [[ -z $BUCKET || $BUCKET == gs://?* ]] || die 2 "--bucket $BUCKET: use gs://BUCKET or gs://BUCKET/FOLDER"
  WHERE=(--zone="$ZONE")
  if [[ -n $PROJECT ]]; then WHERE+=(--project="$PROJECT"); fi
}

no_more() { # no_more ARGS...: what is left over is a mistake
  (($# == 0)) || die 2 "unknown argument $1; --help lists them"
}

# quoted WORDS...: as one would type them.
quoted() {
  local word shown=()
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=@%+,~-]+$ ]]; then shown+=("$word"); else shown+=("'${word//\'/\'\\\'\'}'"); fi
  done
  printf '%s\n' "${shown[*]}"
}

run() { # run COMMAND...: with --dry-run only print it
  if ((DRY_RUN)); then quoted "$@"; else "$@"; fi
}

TPUS=(gcloud compute tpus)

# state: that of the queued resource, or NONE where there is no such resource. Dies if gcloud cannot tell.
state() {
  local found errors
  errors=$(mktemp)
  if found=$("${TPUS[@]}" queued-resources describe "$NAME" "${WHERE[@]}" --format='value(state.state)' 2>"$errors"); then
    rm -f "$errors"
    printf '%s\n' "${found:-UNKNOWN}"
  elif grep -qiE 'not_found|not found' "$errors"; then
    rm -f "$errors"
    printf 'NONE\n'
  else
    found=$(tail -n 3 "$errors")
    rm -f "$errors"
    die 3 "gcloud cannot tell the state of $NAME: $found"
  fi
}

# alive FILE: a shell condition, on a worker, that the process whose number is in FILE is a run and is alive. A number
# alone would not do: after a restart of the machine it may be anybody's.
alive() { printf '%s' "grep -qas seal-jax /proc/\$(cat $1 2>/dev/null || echo none)/cmdline"; }

on_workers() { # on_workers WHICH SCRIPT: run a bash script on worker WHICH, or on "all" of them
  run "${TPUS[@]}" tpu-vm ssh "$NAME" "${WHERE[@]}" --quiet --worker="$1" --command="$2"
}

copy() { # copy FROM TO OPTIONS...: between this machine and workers
  run "${TPUS[@]}" tpu-vm scp "$1" "$2" "${WHERE[@]}" --quiet "${@:3}"
}
