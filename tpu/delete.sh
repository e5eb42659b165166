#!/usr/bin/env bash
# Give the slice back. Its disks go with it.
# shellcheck disable=SC2034
USAGE=
SUMMARY='Delete the queued resource and its TPU VM, with everything on their disks. Without one there is nothing to do.'
OPTIONS='  --sync           fetch the results first, as tpu/sync.sh does, and delete only if that succeeds
  --bucket URL, --results DIR   for --sync
'
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

fetch() {
  local options=(--config "$CONFIG" --name "$NAME" --zone "$ZONE" --results "$RESULTS")
  if [[ -n $PROJECT ]]; then options+=(--project "$PROJECT"); fi
  if [[ -n $BUCKET ]]; then options+=(--bucket "$BUCKET"); fi
  if ((DRY_RUN)); then options+=(--dry-run); fi
  "$HERE/sync.sh" "${options[@]}" || die 3 "nothing was deleted"
}

main() {
  local sync=0
  parse_common "$@"
  set -- "${REST[@]}"
  if [[ ${1:-} == --sync ]]; then
    sync=1
    shift
  fi
  no_more "$@"
  if ! ((DRY_RUN)); then
    local now
    now=$(state)
    if [[ $now == NONE ]]; then
      say "$NAME: there is none"
      return
    fi
  fi
  if ((sync)); then fetch; fi
  run "${TPUS[@]}" queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet || die 3 "$NAME could not be deleted"
}

main "$@"
