#!/usr/bin/env bash
# What there is: the queued resource, its TPU VM, the run on worker 0 and the end of its log.
# shellcheck disable=SC2034
USAGE=
SUMMARY='Print the state of the queued resource and, if it is ACTIVE, of its TPU VM and of the run on it.

exit codes: 0 there is one, 1 there is none, 3 gcloud failed.'
OPTIONS='  --lines N        of the log (10)
'
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

LINES_SHOWN=10

remote() {
  cat <<EOF
cd $CHECKOUT/runs 2>/dev/null || { echo 'run:   none was launched'; exit 0; }
if [ -f $NAME/result.json ]; then echo 'run:   finished';
elif $(alive "$NAME.pid"); then echo "run:   process \$(cat $NAME.pid)";
else echo 'run:   not running'; fi
[ ! -f $NAME.log ] || tail -n $LINES_SHOWN $NAME.log
EOF
}

main() {
  parse_common "$@"
  set -- "${REST[@]}"
  if [[ ${1:-} == --lines ]]; then
    [[ ${2:-} =~ ^[0-9]+$ ]] || die 2 "--lines needs a number"
    LINES_SHOWN=$2
    shift 2
  fi
  no_more "$@"
  local now=ACTIVE
  if ((DRY_RUN)); then
    run "${TPUS[@]}" queued-resources describe "$NAME" "${WHERE[@]}" --format='value(state.state)'
    echo "# if that says ACTIVE:"
  else
    now=$(state)
    echo "queue: $now"
  fi
  [[ $now != NONE ]] || exit 1
  [[ $now == ACTIVE ]] || exit 0
  run "${TPUS[@]}" tpu-vm describe "$NAME" "${WHERE[@]}" --format='value[separator=" "](acceleratorType,state,health)'
  on_workers 0 "$(remote)"
}

main "$@"
