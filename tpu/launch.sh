#!/usr/bin/env bash
# Run a seal-jax command on every worker, in the background. After a preemption, running this again resumes the run.
# shellcheck disable=SC2034
USAGE=' -- COMMAND [arguments]'
SUMMARY='Run "seal-jax COMMAND ... --out runs/NAME" on every worker at once, in the background: it outlives this script and
its connections. If the slice is not ACTIVE it is created and set up first. If the command is running already, nothing
happens. Results of an earlier launch (those in --bucket, else those that tpu/sync.sh fetched) are put back before, so
that the command goes on from there.'
OPTIONS='  --bucket URL     gs://BUCKET/FOLDER to which worker 0 copies the results every five minutes and at the end
  --results DIR    where tpu/sync.sh puts them on this machine (results)
  --spot           if the slice has to be created: spot capacity
'
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SPOT=()

# The script that every worker runs; the command's words arrive as they were given here.
remote() {
  local words out="runs/$NAME"
  printf -v words '%q ' "${COMMAND[@]}"
  cat <<EOF
set -euo pipefail
cd $CHECKOUT 2>/dev/null && [ -x .venv/bin/seal-jax ] || { echo 'not set up: run tpu/setup.sh' >&2; exit 3; }
mkdir -p runs
if $(alive "$out.pid"); then echo 'running already'; exit 0; fi
EOF
  if [[ -n $BUCKET ]]; then
    cat <<EOF
mkdir -p $out
if said=\$(gcloud storage ls $(quoted "$BUCKET/$NAME/") 2>&1); then
  gcloud storage rsync --recursive $(quoted "$BUCKET/$NAME") $out || { echo 'the results in the bucket cannot be read' >&2; exit 3; }
elif grep -qi 'matched no objects' <<<"\$said"; then
  echo 'nothing in the bucket yet'
else # starting from nothing would later replace what is there
  printf 'the bucket cannot be read: %s\n' "\$said" >&2; exit 3
fi
cat >$out.sync <<'SYNC'
worker=\$(curl -sf -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number || echo 0)
[ "\$worker" = 0 ] || exit 0
copy() { gcloud storage rsync --recursive $out $(quoted "$BUCKET/$NAME"); }
while $(alive "$out.pid"); do sleep 300; copy; done
copy
SYNC
EOF
  fi
  cat <<EOF
nohup setsid .venv/bin/seal-jax ${words}--out $out >>$out.log 2>&1 </dev/null &
echo \$! >$out.pid
EOF
  if [[ -n $BUCKET ]]; then echo "nohup setsid bash $out.sync >>$out.sync.log 2>&1 </dev/null &"; fi
  echo "echo \"started, process \$(cat $out.pid), log $CHECKOUT/$out.log\""
}

options() { # those that create.sh and setup.sh take as well
  printf '%s\n' --config "$CONFIG" --name "$NAME" --zone "$ZONE"
  if [[ -n $PROJECT ]]; then printf '%s\n' --project "$PROJECT"; fi
}

make_ready() {
  local shared
  mapfile -t shared < <(options)
  if ((DRY_RUN)); then
    run "${TPUS[@]}" queued-resources describe "$NAME" "${WHERE[@]}" --format='value(state.state)'
    echo "# if that does not say ACTIVE:"
    quoted "$HERE/create.sh" "${shared[@]}" "${SPOT[@]}"
    quoted "$HERE/setup.sh" "${shared[@]}"
    return
  fi
  [[ $(state) != ACTIVE ]] || return 0
  "$HERE/create.sh" "${shared[@]}" "${SPOT[@]}"
  "$HERE/setup.sh" "${shared[@]}"
}

put_back() { # what was fetched to this machine, if the workers have nothing
  [[ -z $BUCKET && -d $RESULTS/$NAME ]] || return 0
  on_workers all "[ -e $CHECKOUT/runs/$NAME ] || mkdir -p $CHECKOUT/runs/.$NAME"
  copy "$RESULTS/$NAME" "$NAME:$CHECKOUT/runs/.$NAME" --recurse --worker=all
  on_workers all "cd $CHECKOUT/runs && { [ -e $NAME ] || mv .$NAME/$NAME $NAME; } && rm -rf .$NAME"
}

main() {
  parse_common "$@"
  set -- "${REST[@]}"
  if [[ ${1:-} == --spot ]]; then
    SPOT=(--spot)
    shift
  fi
  no_more "$@"
  ((${#COMMAND[@]})) || die 2 "there is no command; give it after --, as in: tpu/launch.sh -- seal train --model ..."
  [[ " ${COMMAND[*]} " != *" --out "* ]] || die 2 "--out is runs/$NAME on the workers: leave it to this script"
  make_ready
  put_back
  on_workers all "$(remote)" || die 3 "starting failed on a worker; what it said is above"
}

main "$@"
