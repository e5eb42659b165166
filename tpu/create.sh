#!/usr/bin/env bash
# Ask for a TPU slice as a queued resource and wait until it is there. Running it again goes on waiting.
# shellcheck disable=SC2034  # USAGE, SUMMARY, OPTIONS are read by common.sh
USAGE=
SUMMARY='Create a queued resource with one TPU VM, and wait until it is ACTIVE. One that is there already is waited for;
one that was preempted (SUSPENDED) or FAILED is deleted and asked for anew.

exit codes: 0 ACTIVE, 2 wrong arguments, 3 gcloud failed, 4 the request failed, 5 still waiting after --timeout.'
OPTIONS='  --spot           spot capacity: cheaper, and may be taken away at any time
  --no-wait        do not wait until it is ACTIVE
  --timeout SEC    wait at most so long (86400)
'
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SPOT=${SEAL_TPU_SPOT:-0} WAIT=1 TIMEOUT=${SEAL_TPU_TIMEOUT:-86400}

parse_own() {
  while (($#)); do
    case $1 in
      --spot) SPOT=1 ;;
      --no-wait) WAIT=0 ;;
      --timeout)
        [[ ${2:-} =~ ^[0-9]+$ ]] || die 2 "--timeout needs a number of seconds"
        TIMEOUT=$2
        shift
        ;;
      *) no_more "$@" ;;
    esac
    shift
  done
}

request() {
  local spot=()
  if ((SPOT)); then spot=(--spot); fi
  run "${TPUS[@]}" queued-resources create "$NAME" --node-id="$NAME" "${WHERE[@]}" \
    --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME_VERSION" "${spot[@]}" ||
    die 3 "the request for $ACCELERATOR_TYPE in $ZONE was refused"
}

remove() {
  run "${TPUS[@]}" queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet || die 3 "$NAME could not be deleted"
}

# wait_for STATE...: poll until the resource is in one of the states.
wait_for() {
  local now before='' start=$SECONDS failures=0
  while :; do
    if ! now=$(state); then # a wait of hours outlives a network that fails for minutes
      ((++failures < 10)) || exit 3
      sleep "$POLL"
      continue
    fi
    failures=0
    [[ $now == "$before" ]] || say "$NAME: $now"
    before=$now
    [[ " $* " != *" $now "* ]] || return 0
    case $now in
      FAILED | SUSPENDED | NONE)
        die 4 "the request ended as $now; \`gcloud compute tpus queued-resources describe $NAME $(quoted "${WHERE[@]}")\` says why"
        ;;
    esac
    ((SECONDS - start < TIMEOUT)) || die 5 "$NAME is $now after $TIMEOUT s; run this again to go on waiting"
    sleep "$POLL"
  done
}

main() {
  parse_common "$@"
  parse_own "${REST[@]}"
  if ((DRY_RUN)); then
    run "${TPUS[@]}" queued-resources describe "$NAME" "${WHERE[@]}" --format='value(state.state)'
    echo "# if it is SUSPENDED or FAILED:"
    remove
    echo "# if there is none:"
    request
    if ((WAIT)); then echo "# then the first command every $POLL s until it says ACTIVE"; fi
    return
  fi
  local now
  now=$(state)
  case $now in
    SUSPENDING | DELETING)
      wait_for SUSPENDED NONE FAILED
      now=$(state)
      ;;
  esac
  case $now in
    SUSPENDED | FAILED)
      say "$NAME: $now, asking anew"
      remove
      request
      ;;
    NONE) request ;;
    *) say "$NAME exists" ;;
  esac
  if ((WAIT)); then wait_for ACTIVE; fi
}

main "$@"
