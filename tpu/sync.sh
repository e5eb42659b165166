#!/usr/bin/env bash
# Fetch the results of a run to this machine.
# shellcheck disable=SC2034
USAGE=
SUMMARY='Copy runs/NAME to RESULTS/NAME on this machine: from --bucket, where the run was launched with one (then the slice
may be gone), else from worker 0.'
OPTIONS='  --bucket URL     that of tpu/launch.sh
  --results DIR    (results)
'
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
  parse_common "$@"
  no_more "${REST[@]}"
  run mkdir -p "$RESULTS/$NAME"
  if [[ -n $BUCKET ]]; then
    run gcloud storage rsync --recursive "$BUCKET/$NAME" "$RESULTS/$NAME" || die 3 "copying from $BUCKET/$NAME failed"
  else
    copy "$NAME:$CHECKOUT/runs/$NAME" "$RESULTS/" --recurse --worker=0 ||
      die 3 "copying from worker 0 of $NAME failed"
  fi
  ((DRY_RUN)) || say "results are in $RESULTS/$NAME"
}

main "$@"
